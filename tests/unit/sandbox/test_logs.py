from pathlib import Path

import pytest

from passerelle_sandbox import cache, logs, state


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the sandbox `unit`, with what its parts wrote."""
    monkeypatch.setenv(cache.ROOT, str(tmp_path))
    home = state.directory("unit")
    for name in (
        "operator.log",
        "state.json",
        "control-plane/logs/audit.log",
        "control-plane/logs/etcd.log",
        "sites/sid/log/slurmctld.log",
        "sites/trixie/log/slurmctld.log",
        "sites/sid/log/init.out",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("said\n")
    (home / "control-plane/logs/kube-apiserver.log").touch()
    return home


def test_the_logs_of_all_parts_are_found_and_empty_ones_are_none(home: Path) -> None:
    found = logs.log_files("unit")

    assert list(found) == [
        "operator",
        "control-plane/audit",
        "control-plane/etcd",
        "sid/init",
        "sid/slurmctld",
        "trixie/slurmctld",
    ]
    assert found["operator"] == home / "operator.log"


@pytest.mark.parametrize(
    "component, shown",
    [
        (None, ["operator", "control-plane/etcd", "sid/init", "sid/slurmctld", "trixie/slurmctld"]),
        ("operator", ["operator"]),
        ("audit", ["control-plane/audit"]),
        ("slurmctld", ["sid/slurmctld", "trixie/slurmctld"]),
        ("sid/slurmctld", ["sid/slurmctld"]),
        ("sid", []),
    ],
)
def test_the_audit_log_is_shown_to_who_asks_for_it(component: str | None, shown: list[str]) -> None:
    assert list(logs.chosen(logs.log_files("unit"), component)) == shown


def test_a_sandbox_that_is_not_there_has_no_logs() -> None:
    assert logs.log_files("elsewhere") == {}
