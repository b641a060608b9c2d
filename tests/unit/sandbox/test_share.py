"""The nodes' share of this machine's CPU: taken where the kernel offers a control group, left alone elsewhere."""

from __future__ import annotations

from pathlib import Path

from passerelle_sandbox.site import share


def place(root: Path, *, offered: bool) -> tuple[str, str, str]:
    """A hierarchy; of a real one the kernel fills each group that is made."""
    root.mkdir()
    if offered:
        group = root / share.NAME
        group.mkdir()
        (group / "cpu.weight").write_text("100")
        (group / "cgroup.procs").write_text("")
    return str(root), "cpu.weight", "50"


def test_the_nodes_get_the_weight_and_are_put_into_the_first_group_that_there_is(tmp_path: Path) -> None:
    places = [place(tmp_path / "one", offered=False), *(place(tmp_path / each, offered=True) for each in "ab")]

    share.give([7, 8], places)

    assert list((tmp_path / "one").iterdir()) == [], "no group is left where the kernel makes none of it"
    assert (tmp_path / "a" / share.NAME / "cpu.weight").read_text()[:2] == "50"
    assert (tmp_path / "a" / share.NAME / "cgroup.procs").read_text() == "8", "one at a time, as the kernel wants it"
    assert (tmp_path / "b" / share.NAME / "cgroup.procs").read_text() == ""


def test_where_there_is_no_such_group_nothing_happens(tmp_path: Path) -> None:
    share.give([7], [place(tmp_path / "one", offered=False), (str(tmp_path / "none"), "cpu.shares", "512")])

    assert list((tmp_path / "one").iterdir()) == []


def test_a_group_in_which_nobody_is_goes(tmp_path: Path) -> None:
    places = [place(tmp_path / "one", offered=False)]
    (tmp_path / "one" / share.NAME).mkdir()

    share.tidy(places)

    assert list((tmp_path / "one").iterdir()) == []
