from pathlib import Path

import pytest

from passerelle_sandbox import cache


def test_what_is_built_appears_whole_and_is_built_once(tmp_path: Path) -> None:
    places: list[Path] = []

    def build(place: Path) -> None:
        places.append(place)
        (place / "half").touch()
        assert not (tmp_path / "tools" / "thing-1").exists()
        (place / "other half").touch()

    found, again = (cache.build_once("tools/thing-1", build, root=tmp_path) for _ in range(2))

    assert found == again == tmp_path / "tools" / "thing-1"
    assert sorted(each.name for each in found.iterdir()) == ["half", "other half"]
    assert len(places) == 1
    assert found.stat().st_mode & 0o777 == 0o755


def test_a_failed_build_leaves_nothing_and_the_next_one_begins_afresh(tmp_path: Path) -> None:
    def fail(place: Path) -> None:
        (place / "half").touch()
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        cache.build_once("thing", fail, root=tmp_path)

    assert not (tmp_path / "thing").exists()
    assert list((tmp_path / ".building").iterdir()) == []
    assert list(cache.build_once("thing", lambda _: None, root=tmp_path).iterdir()) == []


def test_what_a_killed_build_left_is_removed_by_the_next_and_others_are_not(tmp_path: Path) -> None:
    for name in ("thing.abandoned", "thing-2.at-work"):
        (tmp_path / ".building" / name).mkdir(parents=True)

    cache.build_once("thing", lambda _: None, root=tmp_path)

    assert [each.name for each in (tmp_path / ".building").iterdir()] == ["thing-2.at-work"]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.ROOT, str(tmp_path))

    assert cache.cache_root() == tmp_path


def test_mounts_below_a_tree_are_seen_and_neighbours_are_not(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:5 / /cache/rootfs/dev rw - devtmpfs udev rw\n"
        "31 22 0:6 / /cache/rootfs-2/proc rw - proc proc rw\n"
        "32 22 0:7 / /cache/rootfs/a\\040b rw - tmpfs tmpfs rw\n"
    )

    found = cache.mounts_below(Path("/cache/rootfs"), mountinfo)

    assert found == [Path("/cache/rootfs/dev"), Path("/cache/rootfs/a b")]
