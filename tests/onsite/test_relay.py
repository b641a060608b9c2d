"""The relay's eyes and its judgement; its work in a job is in test_batch.py."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from passerelle.onsite import files, post, relay, report
from plans import SOURCE


def test_lines_are_read_once_and_only_when_whole(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    tail = relay.Tail(str(file))
    assert tail.lines() == []

    with file.open("ab") as pen:
        pen.write(b'{"step": 1}\n{"st')
        pen.flush()
        assert tail.lines() == ['{"step": 1}']
        pen.write('ep": 2}\né\xff\n'.encode("latin-1"))
        pen.flush()
        assert tail.lines() == ['{"step": 2}', "\ufffd\ufffd"]

    assert tail.lines() == []


def test_a_line_without_end_costs_no_memory_and_hides_no_later_line(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    tail = relay.Tail(str(file))
    file.write_bytes(b"x" * 5_000_000)
    assert tail.lines() == []
    assert len(tail._rest) <= 70_000

    with file.open("ab") as pen:
        pen.write(b'\n{"step": 2}\n')

    assert tail.lines() == ['{"step": 2}']


@pytest.mark.parametrize(
    "why,passing",
    [
        ("slurm_update error: Unable to contact slurm controller (connect failure)", True),
        ("slurm_update error: Socket timed out on send/recv operation", True),
        ("scontrol did not answer within 20 s", True),
        ("slurm_update error: Zero Bytes were transmitted or received", True),
        ("slurm_update error: Protocol authentication error", True),
        ("slurm_update error: Slurm backup controller in standby mode", True),
        ("Access/permission denied for job 5", False),
        ("[Errno 2] No such file or directory: 'scontrol'", False),
    ],
)
def test_what_passes_is_tried_again_and_a_refusal_is_not(why: str, passing: bool) -> None:
    assert post.passing(why) is passing


class Posting:
    """A relay's ways out in time of a test's own; what each was told, with the seconds since the start."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, period: float | None) -> None:
        self.now = 1000.0
        self.comments: list[tuple[float, int | None]] = []
        self.filed: list[tuple[float, int | None]] = []
        self.answers: list[str | None] = []
        self.progress = report.Progress()
        monkeypatch.setattr(relay, "to_comment", self._to_comment)
        monkeypatch.setattr(relay, "to_file", lambda record: self.filed.append(self._told(record)))
        self.out = relay.Post(str(place), period)

    def _told(self, record: str) -> tuple[float, int | None]:
        return self.now - 1000, json.loads(record).get("s")

    def _to_comment(self, record: str, _: object) -> str | None:
        self.comments.append(self._told(record))
        return self.answers.pop(0) if self.answers else None

    def period(self, step: int | None, seconds: float = 60) -> None:
        """A period passes, in which the trainer tells of a step, or of nothing."""
        news = step is not None and self.progress.take(json.dumps({"step": step}))
        self.out.post(self.progress, self.now, news=news)
        self.now += seconds


def test_comments_come_at_the_start_with_the_first_progress_and_then_once_in_their_own_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting = Posting(tmp_path, monkeypatch, 300)

    for step in (None, None, *range(1, 14)):
        posting.period(step)

    assert posting.comments == [(0, None), (120, 1), (420, 6), (720, 11)]
    assert posting.filed == [(0, None), *((60 + 60 * step, step) for step in range(1, 14))]


def test_what_came_between_two_comments_is_told_by_the_next_though_nothing_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting = Posting(tmp_path, monkeypatch, 300)

    for step in (1, 2, *[None] * 20):
        posting.period(step)

    assert posting.comments == [(0, 1), (300, 2)]
    assert posting.filed == [(0, 1), (60, 2)]


def test_a_comment_that_did_not_get_through_waits_for_its_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting = Posting(tmp_path, monkeypatch, 300)
    posting.answers = ["Socket timed out on send/recv operation"] * 2

    for _ in range(12):
        posting.period(None)

    assert posting.comments == [(0, None), (300, None), (600, None)]
    assert posting.filed == [(0, None)]


def test_where_nobody_can_read_a_comment_none_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posting = Posting(tmp_path, monkeypatch, None)

    for step in range(10):
        posting.period(step)

    assert posting.comments == []
    assert len(posting.filed) == 10


def test_a_refused_comment_is_tried_again_after_a_long_while_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    posting = Posting(tmp_path, monkeypatch, 60)
    posting.answers = ["Access/permission denied", "Access/permission denied", None, "Access/permission denied"]
    for step in (1, 2):
        posting.period(step)
    assert posting.comments == [(0, 1)]
    assert [step for _, step in posting.filed] == [1, 2]

    posting.now = 1000
    for step in (3, 4, 5):
        posting.now += relay._REFUSED_SECONDS
        posting.period(step, 0)
    assert [step for _, step in posting.comments] == [1, 3, 4, 5]
    assert [step for _, step in posting.filed] == [1, 2, 3, 4, 5]
    said = "".join(capfd.readouterr())
    assert said.count("progress can't be put into the job's comment") == 2, "once each time that it began"


def scontrol(place: Path, text: str) -> None:
    (place / "scontrol").write_text("#!/bin/sh\n" + text)
    (place / "scontrol").chmod(0o755)


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has reaped yet, has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_a_scontrol_that_does_not_answer_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol(tmp_path, f"sleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(files, "SCONTROL_SECONDS", 1)

    code, said = files.scontrol("update")

    assert (code, said) == (124, "scontrol did not answer within 1 s")
    wait_until(lambda: gone(int((tmp_path / "child").read_text())))


def attempt(place: Path, **life: int | str) -> dict[str, str]:
    """The variables of a life of attempt 1 that has the claim."""
    me = {"cluster": "c", "jobId": "7", "restartCount": 0, "submitTime": "2026-01-01T00:00:00", **life}
    (place / "claim-1").mkdir(exist_ok=True)
    for owner in (place / "claim-1" / "owner.json", place / "owner.json"):
        owner.write_text(json.dumps(me))
    return {
        "PASSERELLE_RUN_DIR": str(place),
        "PASSERELLE_ATTEMPT": "1",
        "PASSERELLE_ATTEMPT_DIR": str(place),
    }


@contextmanager
def relaying(place: Path, busy: float, *, hurry: float = 20, period: float = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A relay whose scontrol waits for a controller that is busy for so many seconds."""
    asked = f"echo $$ > {place}/new\nmv {place}/new {place}/asked\n"
    scontrol(place, f'{asked}sleep {busy}\necho "$3" >> {place}/comments\n')
    (place / "spec.json").write_text(json.dumps({"progressPeriod": period, "commentPeriod": period}))
    code = (
        "import sys; from passerelle.onsite import files, relay\n"
        f"files.HURRY_SECONDS = {hurry}\n"
        "sys.exit(relay.main(sys.argv[1:]))"
    )
    own = {"SLURM_JOB_ID": "7", "PASSERELLE_PROGRESS_FILE": str(place / "progress.jsonl"), **attempt(place)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place / "spec.json")],
        env={"PYTHONPATH": str(SOURCE), "PATH": f"{place}:{os.environ['PATH']}"} | own,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_relay_that_is_ended_waits_for_its_scontrol(tmp_path: Path) -> None:
    with relaying(tmp_path, busy=1) as process:
        wait_until((tmp_path / "asked").exists)
        process.terminate()

        assert process.wait(20) == 0

    assert gone(int((tmp_path / "asked").read_text()))
    assert len((tmp_path / "comments").read_text().splitlines()) == 1


def test_a_relay_that_is_ended_ends_a_scontrol_that_does_not_come_back(tmp_path: Path) -> None:
    with relaying(tmp_path, busy=60, hurry=0.5) as process:
        wait_until((tmp_path / "asked").exists)
        process.terminate()

        assert process.wait(15) == 0

    assert gone(int((tmp_path / "asked").read_text()))
    assert not (tmp_path / "comments").exists()


def test_an_idle_relay_ends_at_once(tmp_path: Path) -> None:
    with relaying(tmp_path, busy=0, period=60) as process:
        wait_until((tmp_path / "comments").exists)
        time.sleep(1)
        process.terminate()

        assert process.wait(15) == 0


def test_a_line_of_nothing_but_brackets_ends_no_relay(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text("[" * 60_000 + '\n{"step": 5}\n')

    with relaying(tmp_path, busy=0) as process:
        wait_until((tmp_path / "comments").exists)

        assert '"s":5' in (tmp_path / "comments").read_text()
        assert process.poll() is None
