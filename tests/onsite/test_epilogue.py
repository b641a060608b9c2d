"""The attempt's last word: what it makes of the ranks' records, and that nothing keeps it from the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from passerelle.onsite.codes import BAD_NODE, CONTINUE, DUPLICATE, SITE_FAULT
from passerelle.onsite.epilogue import conclude, explain, read_ends
from passerelle.progress import parse_comment
from plans import SOURCE


def end(folder: Path, name: str, **facts: object) -> None:
    told = {"rank": 0, "code": 1, "signal": None, "time": 10.0, "err": "", "node": "n1"} | facts
    (folder / f"{name}.json").write_text(json.dumps(told))


def test_the_earliest_end_that_was_nobody_elses_doing_is_the_reason(tmp_path: Path) -> None:
    end(tmp_path, "agent-0", rank=None, time=1.0)
    end(tmp_path, "rank-0", rank=0, code=143, signal=15, time=2.0)
    end(tmp_path, "rank-1", rank=1, code=3, time=4.0)
    end(tmp_path, "rank-2", rank=2, code=139, signal=11, time=3.0)
    (tmp_path / "rank-3.json").write_text("{")

    found = conclude(read_ends(str(tmp_path)), 1)

    assert found["rank"] == 2


@pytest.mark.parametrize("signal", [2, 9, 15])
def test_an_end_by_a_signal_that_others_send_yields_to_a_later_one_of_its_own(tmp_path: Path, signal: int) -> None:
    end(tmp_path, "rank-0", rank=0, code=128 + signal, signal=signal, time=1.0)
    end(tmp_path, "rank-1", rank=1, code=3, time=2.0)

    assert conclude(read_ends(str(tmp_path)), 1)["rank"] == 1


@pytest.mark.parametrize("signal,shall", [(2, CONTINUE), (9, CONTINUE), (15, CONTINUE), (11, 139)])
def test_ranks_that_a_stop_has_ended_are_followed_by_another_attempt(tmp_path: Path, signal: int, shall: int) -> None:
    attempt = Attempt(tmp_path)
    (tmp_path / "stop").touch()
    end(tmp_path / "ends", "rank-0", code=128 + signal, signal=signal)

    assert attempt.conclude(128 + signal, grace=60)[0] == shall


def test_where_all_were_killed_the_first_counts(tmp_path: Path) -> None:
    end(tmp_path, "rank-0", rank=0, code=137, signal=9, time=2.0)
    end(tmp_path, "rank-1", rank=1, code=137, signal=9, time=1.0)

    assert conclude(read_ends(str(tmp_path)), 137)["rank"] == 1


def test_the_record_of_a_nodes_victims_is_a_word_of_that_node_and_yields_to_whoever_failed(tmp_path: Path) -> None:
    end(tmp_path, "node-n1", rank=0, code=143, signal=15, time=1.0)
    end(tmp_path, "node-gpu-2.site", rank=9, code=137, signal=9, time=0.5, node="gpu-2.site")
    assert conclude(read_ends(str(tmp_path)), 143)["rank"] == 9, "where all were ended the first counts"

    end(tmp_path, "rank-5", rank=5, code=3, time=2.0)

    ends = read_ends(str(tmp_path))
    assert {each["node"] for each in ends} == {"n1", "gpu-2.site"}
    assert conclude(ends, 3)["rank"] == 5


def test_without_a_word_of_a_rank_sruns_code_counts(tmp_path: Path) -> None:
    told = conclude(read_ends(str(tmp_path)), 137)

    assert (told["code"], told["signal"], told["rank"]) == (137, 9, None)


@pytest.mark.parametrize(
    "name,facts",
    [
        ("mine", {}),
        ("rank-x", {}),
        ("rank-0", {"time": "now"}),
        ("rank-0", {"time": None}),
        ("rank-0", {"time": float("nan")}),
        ("rank-0", {"time": 10**400}),
        ("rank-0", {"rank": "0"}),
        ("rank-0", {"rank": {}}),
        ("rank-0", {"signal": [9]}),
        ("rank-0", {"signal": 10**2000}),
        ("rank-0", {"err": 5}),
        ("rank-0", {"err": None}),
        ("rank-0", {"code": "1"}),
        ("rank-0", {"code": True}),
        ("rank-0", {"code": 0}),
        ("rank-0", {"code": 256}),
        ("rank-0", {"code": 10**2000}),
        ("rank-0", {"code": DUPLICATE, "ours": True}),
    ],
)
def test_what_no_rank_has_written_is_passed_over(tmp_path: Path, name: str, facts: dict[str, object]) -> None:
    end(tmp_path, name, **facts)
    end(tmp_path, "rank-7", rank=7, code=3, time=11.0)

    found = conclude(read_ends(str(tmp_path)), 1)

    assert found["rank"] == 7


@pytest.mark.parametrize("text", ["", "{}", '{"loss": 3}', "[]", "null", "[" * 60_000])
def test_a_record_of_another_shape_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "rank-0.json").write_text(text)

    assert read_ends(str(tmp_path)) == []


def test_nodes_that_have_spoken_are_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle.onsite.epilogue.silent_nodes", lambda: ["n1", "n2", "n3"])
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "4")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    told = {"rank": 1, "code": 1, "signal": None, "time": 1.0, "err": "mine", "node": "n2"}

    found = explain(told, {"n2"}, stopping=False, grace=0)

    assert (found["code"], found["nodes"]) == (BAD_NODE, ["n3"])
    assert explain(told, {"n2", "n3"}, stopping=False, grace=0) == told


@pytest.mark.parametrize(
    "body,code,by,shall", [(True, 1, None, 1), (True, 143, 15, CONTINUE), (False, 1, None, CONTINUE)]
)
def test_a_scripts_own_failure_after_the_warning_stays_its_own(
    tmp_path: Path, body: bool, code: int, by: int | None, shall: int
) -> None:
    attempt = Attempt(tmp_path)
    (tmp_path / "ends" / "rank-0.json").unlink()
    (tmp_path / "spec.json").write_text(json.dumps({"isBody": body}))
    (tmp_path / "stop").touch()
    end(tmp_path / "ends", "agent-0", rank=None, code=code, signal=by)

    assert attempt.conclude(code, grace=60)[0] == shall


@pytest.mark.parametrize(
    "began,spec,stopped,code,shall",
    [
        (False, {}, False, 1, SITE_FAULT),
        (True, {}, False, 1, 1),
        (False, {"isBody": True}, False, 1, 1),
        (False, {"container": {"kind": "apptainer"}}, False, 1, SITE_FAULT),
        (False, {"container": {"kind": "pyxis"}}, False, 1, 1),
        (False, {"container": {"kind": "edf"}}, False, 1, 1),
        (False, {}, False, 143, 143),
        (False, {}, True, 1, CONTINUE),
        (False, {}, False, 0, 0),
    ],
)
def test_a_step_that_never_began_is_the_sites_fault(
    tmp_path: Path, began: bool, spec: dict[str, object], stopped: bool, code: int, shall: int
) -> None:
    attempt = Attempt(tmp_path)
    (tmp_path / "ends" / "rank-0.json").unlink()
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    if began:
        (tmp_path / "ends" / "began").touch()
    if stopped:
        (tmp_path / "stop").touch()

    assert attempt.conclude(code, grace=60)[0] == shall


class Attempt:
    """An attempt's directory after its ranks have ended, and a scontrol that keeps the comment."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "spec.json").write_text("{}")
        me = {"cluster": "c", "jobId": "7", "restartCount": 0, "submitTime": "2026-01-01T00:00:00"}
        (place / "owner.json").write_text(json.dumps(me))
        (place / "progress.jsonl").write_text('{"step": 5}\n')
        (place / "ends").mkdir()
        (place / "bin").mkdir()
        (place / "bin" / "scontrol").write_text(f'#!/bin/sh\nprintf %s "$3" > {place}/comment\n')
        (place / "bin" / "scontrol").chmod(0o755)
        end(place / "ends", "rank-0", code=3, err="boom")

    def conclude(
        self, code: int = 3, before: str = "", stderr: int = subprocess.PIPE, grace: int = 0
    ) -> tuple[int, str, str]:
        """Run the epilogue under the C locale, as sites do: its exit code, what it printed, what it told."""
        run = f"import resource, signal, sys; from passerelle.onsite import epilogue; {before}"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{run}\nsys.exit(epilogue.main(sys.argv[1:]))",
                self.place / "spec.json",
                str(code),
                str(grace),
            ],
            env={
                "PYTHONPATH": str(SOURCE),
                "PATH": f"{self.place}/bin:{os.environ['PATH']}",
                "LC_ALL": "C",
                "SLURM_JOB_ID": "7",
                "PASSERELLE_PROGRESS_FILE": str(self.place / "progress.jsonl"),
                "PASSERELLE_STOP_FILE": str(self.place / "stop"),
                "PASSERELLE_RUN_DIR": str(self.place),
                "PASSERELLE_ATTEMPT": "1",
                "PASSERELLE_ATTEMPT_DIR": str(self.place),
            },
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr or ""

    def report(self) -> dict[str, Any]:
        """What the report file holds."""
        found: dict[str, Any] = json.loads((self.place / "report-1.json").read_text())
        return found

    def comment(self) -> tuple[int | None, str, int | None]:
        """What the comment says: exit code, error, last step."""
        report = parse_comment((self.place / "comment").read_text().removeprefix("Comment="))
        assert report.exit is not None
        assert report.progress is not None
        return report.exit.code, report.stderr, report.progress.step


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def test_the_end_stands_in_the_comment_and_in_the_result(attempt: Attempt) -> None:
    assert attempt.conclude(143) == (3, "3\n", "")
    assert attempt.comment() == (3, "boom", 5)
    assert json.loads((attempt.place / "result.json").read_text())["srun"] == 143


def test_a_line_of_nothing_but_brackets_costs_neither_comment_nor_exit_code(attempt: Attempt) -> None:
    (attempt.place / "progress.jsonl").write_text('{"step": 5}\n' + "[" * 60_000 + "\n")

    assert attempt.conclude() == (3, "3\n", "")
    assert attempt.comment() == (3, "boom", 5)


def test_a_trainers_own_file_among_the_ends_costs_neither_comment_nor_exit_code(attempt: Attempt) -> None:
    (attempt.place / "ends" / "loss.json").write_text('{"loss": 3}')

    assert attempt.conclude() == (3, "3\n", "")
    assert attempt.comment() == (3, "boom", 5)


FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
"""No file takes another byte: as on a full file system, or over one's quota."""


def full(attempt: Attempt) -> None:
    """The same for result.json alone: a folder stands in its place."""
    (attempt.place / "result.json").mkdir()
    (attempt.place / "result.json" / "x").touch()


def unlistable(attempt: Attempt) -> None:
    (attempt.place / "ends").rename(attempt.place / "elsewhere")


@pytest.mark.parametrize(
    "trouble,code,told",
    [(full, SITE_FAULT, "result.json can't be written"), (unlistable, SITE_FAULT, "the ranks' ends can't be read")],
)
def test_a_step_that_fails_is_told_and_keeps_no_other_from_being_done(
    attempt: Attempt, trouble: Callable[[Attempt], None], code: int, told: str
) -> None:
    end(attempt.place / "ends", "rank-0", code=SITE_FAULT, ours=True, err="wrong tasks")
    trouble(attempt)

    ended, said, err = attempt.conclude(SITE_FAULT)

    assert (ended, said) == (SITE_FAULT, f"{SITE_FAULT}\n")
    assert told in err
    assert "Traceback" not in err
    assert attempt.comment()[0] == SITE_FAULT


def test_where_nothing_can_be_written_the_exit_code_stands(attempt: Attempt) -> None:
    log = os.open(attempt.place / "log", os.O_WRONLY | os.O_CREAT)
    try:
        assert attempt.conclude(before=FULL, stderr=log) == (3, "3\n", "")
    finally:
        os.close(log)
    assert not (attempt.place / "result.json").exists()


def test_without_a_scontrol_the_end_stands_in_both_files(attempt: Attempt) -> None:
    (attempt.place / "bin" / "scontrol").write_text("#!/bin/sh\necho refused; exit 1\n")

    assert attempt.conclude() == (3, "3\n", "passerelle: the end can't be reported: refused\n")
    assert json.loads((attempt.place / "result.json").read_text())["code"] == 3
    assert (attempt.report()["jobId"], attempt.report()["record"]["end"]["err"]) == ("7", "boom")


@pytest.mark.parametrize(
    "owner",
    [
        {"cluster": "c", "jobId": "7", "restartCount": 1, "submitTime": "2026-01-01T00:09:00"},
        {"cluster": "c", "jobId": "8", "restartCount": 0, "submitTime": "2026-01-01T00:00:00"},
    ],
)
def test_a_life_that_has_lost_the_claim_leaves_the_report_of_the_next_one_alone(
    attempt: Attempt, owner: dict[str, Any]
) -> None:
    (attempt.place / "claim-1").mkdir()
    (attempt.place / "claim-1" / "owner.json").write_text(json.dumps(owner))
    (attempt.place / "report-1.json").write_text('{"jobId": "8"}')

    code, _, err = attempt.conclude()

    assert code == 3
    assert "has taken over" in err
    assert attempt.report() == {"jobId": "8"}
