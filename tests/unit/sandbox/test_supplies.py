import pytest

from passerelle_sandbox import host, supplies
from passerelle_sandbox.errors import SandboxError


def test_every_supply_is_made_in_one_lane() -> None:
    made = [name for lane in supplies._lanes() for name, _ in lane]

    assert sorted(made) == sorted(supplies.EVERY)


def test_only_what_is_wanted_is_made_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    lane = [(name, lambda name=name: made.append(name)) for name in supplies.EVERY]
    monkeypatch.setattr(supplies, "_lanes", lambda: (lane,))
    monkeypatch.setattr(host, "ensure_host_tools", lambda _: None)

    supplies.prepare(("trainer-image", "control-plane"))

    assert made == ["control-plane", "trainer-image"]


def test_an_unknown_supply_is_refused_with_those_known() -> None:
    with pytest.raises(SandboxError, match=r"'forky' is no supply .*control-plane, helm"):
        supplies.prepare(("forky",))
