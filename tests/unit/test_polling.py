"""What a job's helpers ask of the parallel file system while it runs: little, however many ranks it has."""

import bisect
import builtins
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from passerelle.onsite import claim, deadline, notice, rank, relay, worker
from passerelle.script import _spec
from plans import SOURCE, job, planned, profile

HOUR = 3600.0


class Over(Exception):
    """The time of a test is over."""


class Clock:
    """Time that passes as it is slept away, and what is asked of a folder meanwhile."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.place = str(place)
        self.asked: list[tuple[float, str]] = []
        self.at: dict[float, Callable[[], object]] = {}
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        for owner, name in ((os, "stat"), (os, "listdir"), (os, "rename")):
            self._count(monkeypatch, owner, name)
        self._count(monkeypatch, builtins, "open")

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(path: Any, *args: Any, **named: Any) -> Any:
            if isinstance(path, str) and path.startswith(self.place):
                self.asked.append((self.now, name))
            return real(path, *args, **named)

        monkeypatch.setattr(owner, name, counted)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        for due in [each for each in self.at if each <= self.now]:
            self.at.pop(due)()
        if self.now >= HOUR:
            raise Over

    def an_hour_of(self, work: Callable[[], object]) -> int:
        """How often something was asked for in an hour of this."""
        with pytest.raises(Over):
            work()
        return len(self.asked)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("PASSERELLE_STOP_FILE", str(tmp_path / "stop"))
    return Clock(tmp_path, monkeypatch)


OWNER: claim.Owner = {"cluster": "c", "jobId": "7", "restartCount": 0, "submitTime": ""}


def test_the_clock_of_an_attempt_looks_for_the_stop_file_six_times_a_minute(clock: Clock, tmp_path: Path) -> None:
    asked = clock.an_hour_of(lambda: deadline.watch(str(tmp_path / "stop"), 300, os.getppid()))

    assert asked == HOUR / 10


@pytest.mark.parametrize("grace,requests", [(0, 0), (300, HOUR / 5)])
def test_the_watcher_of_a_claim_looks_for_a_request_only_where_one_may_come(
    clock: Clock, tmp_path: Path, grace: int, requests: float
) -> None:
    (tmp_path / "own").write_text(json.dumps(OWNER))
    claim.take(str(tmp_path), 1, OWNER)
    clock.asked.clear()

    clock.an_hour_of(lambda: claim._watch(str(tmp_path), 1, str(tmp_path / "own"), os.getppid(), grace, 30))

    names = [name for _, name in clock.asked]
    assert (names.count("stat"), names.count("listdir")) == (requests, HOUR / 30)


class Herd:
    """Jobs that begin in the same second: when each of them did something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, jobs: int = 200) -> None:
        drawn = random.Random(1)  # noqa: S311 -- the same moments each time
        monkeypatch.setattr(os, "urandom", drawn.randbytes)
        self.of_each: list[list[float]] = [[] for _ in range(jobs)]

    def busiest(self, seconds: float, after: float) -> int:
        """How many of them did it within so many seconds at most, later than a moment."""
        moments = sorted(at for each in self.of_each for at in each if at > after)
        return max(bisect.bisect_left(moments, at + seconds) - number for number, at in enumerate(moments))


@pytest.mark.parametrize("grace", [0, 300])
def test_watchers_that_begin_together_look_at_moments_of_their_own_and_none_later_than_in_a_period(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: int
) -> None:
    herd = Herd(monkeypatch)
    (tmp_path / "own").write_text(json.dumps(OWNER))
    looks: list[float] = []
    monkeypatch.setattr(claim, "superseded", lambda *_: looks.append(clock.now))
    for each in herd.of_each:
        clock.now = HOUR - 300
        with pytest.raises(Over):
            claim._watch(str(tmp_path), 1, str(tmp_path / "own"), os.getppid(), grace, 30)
        each.extend(looks)
        looks.clear()

    assert all(each[0] < HOUR - 300 + 30 for each in herd.of_each)
    assert {round(after - at) for each in herd.of_each for at, after in itertools.pairwise(each)} == {30}
    assert herd.busiest(1, after=0) < 25, "of 200 jobs; evenly, it would be seven a second"


def test_watchers_that_begin_together_look_for_requests_at_moments_of_their_own(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    herd = Herd(monkeypatch)
    (tmp_path / "own").write_text(json.dumps(OWNER))
    monkeypatch.setattr(claim, "superseded", lambda *_: None)
    for each in herd.of_each:
        clock.now, clock.asked = HOUR - 60, []
        with pytest.raises(Over):
            claim._watch(str(tmp_path), 1, str(tmp_path / "own"), os.getppid(), 300, 30)
        each.extend(at for at, name in clock.asked if name == "stat")

    assert all(each[0] < HOUR - 60 + 5 for each in herd.of_each)
    assert herd.busiest(0.5, after=0) < 50, "of 200 jobs; evenly, it would be twenty in half a second"


class Relays:
    """The relay of one job after the other, each in an hour of its own, and what each of them told."""

    def __init__(self, clock: Clock, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.herd = Herd(monkeypatch)
        self.comments: list[float] = []
        self.files: list[float] = []
        self._clock, self._place = clock, place
        (place / "spec.json").write_text('{"progressPeriod": 60, "commentPeriod": 300}')
        monkeypatch.setenv("PASSERELLE_PROGRESS_FILE", str(place / "progress.jsonl"))
        monkeypatch.setattr(relay, "to_comment", lambda *_: self.comments.append(clock.now))
        monkeypatch.setattr(relay, "to_file", lambda *_: self.files.append(clock.now))
        monkeypatch.setattr(relay, "_ending", lambda: False)
        monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
        monkeypatch.setattr(signal, "sigtimedwait", lambda _, seconds: self._wait(seconds))

    def run(self, first_word: float) -> None:
        """A job whose trainer tells of a step in each second from this one on."""
        self.comments, self.files, self._first_word = [], [], first_word
        self._told = self._clock.now = 0.0
        (self._place / "progress.jsonl").unlink(missing_ok=True)
        with pytest.raises(Over):
            relay.main([str(self._place / "spec.json")])

    def _wait(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        if self._clock.now >= self._first_word:
            with (self._place / "progress.jsonl").open("a") as pen:
                pen.write('{"step": 1}\n')


def test_jobs_that_begin_together_comment_evenly_and_none_sooner_than_its_period(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = Relays(clock, tmp_path, monkeypatch)
    for each in relays.herd.of_each:
        relays.run(first_word=70)
        each.extend(relays.comments)
        start, first, *_ = each
        assert (start, first) == (0, 120), "neither waits longer than it did"
        apart = [round(after - at, 6) for at, after in itertools.pairwise(each[1:])]
        assert min(apart) >= 300
        assert apart[0] <= 300 + 300 + 120, "once, for a period and the time in which the file is read"
        assert max(apart[1:]) <= 300 + 60

    assert relays.herd.busiest(10, after=120) < 30, "of 200 jobs; evenly, it would be seven in ten seconds"


def test_jobs_that_begin_together_read_their_progress_evenly_once_there_is_any(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = Relays(clock, tmp_path, monkeypatch)
    for each in relays.herd.of_each:
        relays.run(first_word=70)
        each.extend(relays.files)
        assert each[:2] == [0, 120]
        apart = [round(after - at, 6) for at, after in itertools.pairwise(each[1:])]
        assert min(apart) >= 60
        assert apart[0] <= 120
        assert max(apart[1:]) == 60

    assert relays.herd.busiest(2, after=120) < 30, "of 200 jobs; evenly, it would be seven in two seconds"


def test_the_relay_opens_the_progress_file_once_a_period(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.json").write_text('{"progressPeriod": 60, "commentPeriod": 300}')
    monkeypatch.setenv("PASSERELLE_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    monkeypatch.setattr(relay.Post, "post", lambda *_, **__: None)
    monkeypatch.setattr(relay, "_ending", lambda: False)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "sigtimedwait", lambda _, seconds: clock.sleep(seconds))

    assert clock.an_hour_of(lambda: relay.main([str(tmp_path / "spec.json")])) == 1 + HOUR / 60


def test_who_looks_for_the_stop_file_looks_less_and_less_often_and_within_ten_seconds(
    clock: Clock, tmp_path: Path
) -> None:
    clock.an_hour_of(lambda: notice.await_stop(str(tmp_path / "stop")))

    looks = sorted({at for at, _ in clock.asked})
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert pauses[:3] == [2, 3, 4]
    assert max(pauses) == pauses[-1] == 10
    assert len(looks) < 370


# Of the ranks of a node one looks


class Node:
    """Ranks of a node that wait for a stop file; `looks` are those that were taken for it."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop = place / "stop"
        self.looks = 0
        self.told: list[float] = []
        monkeypatch.setattr(notice, "_LOOK_SECONDS", 0.05)
        monkeypatch.setattr(notice, "_MOST_SECONDS", 0.05)
        real = os.path.exists

        def exists(path: str) -> bool:
            self.looks += path == str(self.stop)
            return real(path)

        monkeypatch.setattr(os.path, "exists", exists)

    def begin(self, ranks: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._wait, daemon=True) for _ in range(ranks)]
        for each in threads:
            each.start()
        return threads

    def _wait(self) -> None:
        notice.await_stop(str(self.stop))
        self.told.append(time.monotonic())


def test_of_many_ranks_of_a_node_one_looks_and_all_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch)
    threads = node.begin(32)
    time.sleep(1)
    node.looks = 0
    time.sleep(1)
    assert 2 <= node.looks <= 21, "one rank's looks, not those of 32"
    assert node.told == []

    node.stop.touch()
    for each in threads:
        each.join(10)

    assert len(node.told) == 32
    assert max(node.told) - min(node.told) < 5


def test_where_the_seat_is_somebody_elses_a_rank_looks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, monkeypatch)
    node.begin(1)
    time.sleep(0.3)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    (other,) = node.begin(1)
    time.sleep(0.3)
    node.stop.touch()

    other.join(10)

    assert not other.is_alive()


def test_when_the_rank_that_looks_ends_another_looks(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    code = (
        "import sys; from passerelle.onsite import notice\n"
        "notice._LOOK_SECONDS = notice._MOST_SECONDS = 0.1\n"
        "print(flush=True); notice.await_stop(sys.argv[1])"
    )
    ranks = [
        subprocess.Popen([sys.executable, "-c", code, str(stop)], env={"PYTHONPATH": str(SOURCE)}, stdout=-1)
        for _ in range(3)
    ]
    try:
        for each in ranks:
            assert each.stdout is not None
            each.stdout.readline()
        time.sleep(0.5)
        first = next(each for each in ranks if _has_the_seat(each.pid))
        first.kill()
        first.wait()
        time.sleep(0.5)
        others = [each for each in ranks if each is not first]
        assert sum(_has_the_seat(each.pid) for each in others) == 1

        stop.touch()
        assert [each.wait(10) for each in others] == [0, 0]
    finally:
        for each in ranks:
            each.kill()
            each.communicate()


def _has_the_seat(process: int) -> bool:
    """Whether a process has a listening socket of ours: flag 00010000 in the kernel's table."""
    inodes = {
        words[6]
        for line in Path("/proc/net/unix").read_text().splitlines()
        if (words := line.split()) and words[-1].startswith("@passerelle-") and words[3] == "00010000"
    }
    links = [str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir()]
    return any(link.removeprefix("socket:[").removesuffix("]") in inodes for link in links)


@pytest.mark.parametrize("more,attended", [({}, 0), ({"checkpoint": {"grace": "1m"}}, 1)])
@pytest.mark.parametrize("launcher,main", [("srun", rank.main), ("torchrun", worker.main)])
def test_nobody_looks_where_nobody_is_told_to_stop(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
    attended: int,
    launcher: str,
    main: Callable[[list[str]], int],
) -> None:
    attending: list[str] = []
    spec = _spec(planned(job(gpus=1, launcher=launcher, **more), facts=profile("sandbox-bare")), None)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(notice, "attend", attending.append)
    for module in (rank, worker):
        monkeypatch.setattr(module, "supervise", lambda *_: 0)
    monkeypatch.setattr(rank, "contained", lambda _spec, _here, words, environ: (words, environ))
    names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")

    assert main([str(tmp_path / "spec.json")]) == 0
    assert len(attending) == attended
