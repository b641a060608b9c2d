"""What A-REX runs around a batch script, in a session directory, under real bash: environment, log, signals and end."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from passerelle.batch import Batch
from passerelle.gateways.arc import notes, payload
from passerelle.onsite.codes import SITE_FAULT
from unit.gateways.scripted_server import OPTIONS


class Session:
    """A session directory, in which the command is run as A-REX would."""

    def __init__(self, place: Path) -> None:
        self.place, self.work = place / "session", place / "work"
        self.place.mkdir()
        self.work.mkdir()
        tools = place / "tools"
        tools.mkdir()
        (tools / "scontrol").write_text("#!/bin/sh\necho JobId=$4 Account=startup NumNodes=2 TimeLimit=00:33:00\n")
        (tools / "scontrol").chmod(0o755)
        self.environment = {"PATH": f"{tools}:/usr/bin:/bin", "SLURM_JOB_ID": "4711", "LEAKED": "x", "HOME": "/session"}
        self.environment["SLURM_EXPORT_ENV"] = "NONE"

    def batch(self, script: str, **options: Any) -> Batch:
        asked = dataclasses.replace(
            OPTIONS,
            working_directory=str(self.work),
            standard_output=f"{self.work}/psr-%j.out",
            standard_error=f"{self.work}/psr-%j.out",
            **options,
        )
        report = f"{self.work}/it's/report-1.json"
        return Batch(options=asked, environment=(("PATH", "/usr/bin:/bin"),), script=script, report=report)

    def run(self, batch: Batch) -> int:
        line = " ".join(f'"{each}"' for each in ("/bin/sh", *payload.arguments(batch)))
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.place, env=self.environment, capture_output=True, check=False, timeout=60
        )
        return done.returncode


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_the_job_runs_as_it_was_asked_for(session: Session) -> None:
    wanted = (("QUOTES", 'it\'s "so"'), ("LINES", "one\ntwo\n"), ("SHELL_", "$(id) `id` \\ %j"), ("WORDS", "é日🚀"))
    made = session.batch('#!/bin/sh\nenv -0\nprintf "PWD2=%s\\0" "$(pwd)"\necho loud >&2\nexit 3\n')
    made = dataclasses.replace(made, environment=(*made.environment, *wanted))
    assert session.run(made) == 3
    text = (session.work / "psr-4711.out").read_text()
    arrived = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    assert {name: arrived.get(name) for name, _ in wanted} == dict(wanted)
    assert arrived["PWD2"] == str(session.work)
    assert arrived["SLURM_JOB_ID"] == "4711"
    assert not {"LEAKED", "HOME"} & arrived.keys(), "nothing of A-REX or of a login shell leaks in"
    assert "SLURM_EXPORT_ENV" not in arrived, "steps would see nothing of the environment"
    assert "loud" in text
    code, moment = (session.place / "exit").read_text().split()
    assert (code, moment.isdecimal()) == ("3", True)
    given = notes.given((session.place / "record").read_text())
    assert given is not None
    assert given.standard_output == str(session.work / "psr-4711.out")
    assert given.report == made.report == str((session.place / "report").readlink())
    assert given.fields["Account"] == "startup"
    assert (session.place / "log").readlink() == session.work / "psr-4711.out"


def test_a_signal_that_is_put_there_reaches_the_script_alone(session: Session) -> None:
    step = "sleep 30 & step=$!\n"
    trap = 'trap \'sleep 1; kill -0 "$step" && kill "$step" && exit 215; exit 3\' USR1\n'
    put = f"echo USR1 > {session.place}/signal\n"
    assert session.run(session.batch(f'#!/bin/sh\n{step}{trap}{put}wait "$step"\nexit 2\n')) == 215


def test_what_an_earlier_life_was_told_is_not_told_to_a_later_one(session: Session) -> None:
    (session.place / "signal").write_text("USR1\n")
    (session.place / "pid").write_text("1\n")
    wait = f"sleep {2 * payload.LOOK_SECONDS + 1} & wait $!\n"
    assert session.run(session.batch(f"#!/bin/sh\ntrap 'exit 215' USR1\n{wait}exit 2\n")) == 2


def test_a_signal_that_is_half_written_is_looked_at_again(session: Session) -> None:
    half, whole = (f"printf {word} > {session.place}/signal\n" for word in ("USR", "1"))
    wait = f"sleep {2 * payload.LOOK_SECONDS} & wait $!\n"
    script = f"#!/bin/sh\ntrap 'exit 215' USR1\n{half}{wait}{whole.replace('>', '>>')}{wait}exit 2\n"
    assert session.run(session.batch(script)) == 215


def test_what_looks_for_a_signal_ends_with_the_job(session: Session) -> None:
    mark = f"MARK={session.place}"
    session.environment["SLURM_MARK"] = mark
    session.run(session.batch("#!/bin/sh\nsleep 1\n"))
    time.sleep(payload.LOOK_SECONDS + 1)
    assert [process for process in Path("/proc").glob("[0-9]*") if mark in _environ(process)] == []


def _environ(process: Path) -> str:
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""


def test_a_job_that_reports_nowhere_has_no_link_to_it(session: Session) -> None:
    assert session.run(dataclasses.replace(session.batch("#!/bin/sh\n"), report=None)) == 0
    given = notes.given((session.place / "record").read_text())
    assert given is not None
    assert (given.report, given.fields["Account"]) == ("", "startup")
    assert not (session.place / "report").is_symlink()


def test_a_log_is_gone_on_with(session: Session) -> None:
    (session.work / "psr-4711.out").write_text("before\n")
    session.run(session.batch("#!/bin/sh\necho after\n"))
    assert (session.work / "psr-4711.out").read_text() == "before\nafter\n"
    (session.place / "log").unlink()
    (session.place / "report").unlink()
    session.run(session.batch("#!/bin/sh\necho anew\n", open_mode_append=False))
    assert (session.work / "psr-4711.out").read_text() == "anew\n"


def test_a_log_that_cannot_be_opened_is_the_sites_fault(session: Session) -> None:
    made = session.batch("#!/bin/sh\ntouch ran\n")
    nowhere = dataclasses.replace(made.options, standard_output=f"{session.work}/nowhere/out")
    assert session.run(dataclasses.replace(made, options=nowhere)) == SITE_FAULT
    assert not (session.work / "ran").exists()


def test_a_script_that_is_killed_leaves_no_note_of_an_end(session: Session) -> None:
    session.run(session.batch("#!/bin/sh\nkill -9 $PPID\n"))
    assert not (session.place / "exit").exists()


def test_a_script_that_slurm_ends_leaves_none_either_whatever_its_exit(session: Session) -> None:
    """Slurm's TERM comes to all processes of a job."""
    assert session.run(session.batch("#!/bin/sh\ntrap 'sleep 1; exit 0' TERM\nkill $PPID\nkill $$\nsleep 5\n")) == 0
    assert not (session.place / "exit").exists()
