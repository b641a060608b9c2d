"""Batch -> ADL: what A-REX is told, what it can't be told, and the script that arrives whole."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from passerelle.batch import Batch
from passerelle.errors import Rejected
from passerelle.gateways.arc import notes, payload
from passerelle.gateways.arc.describe import ADL, description, passed_on
from passerelle.onsite.codes import SITE_FAULT
from unit.gateways.scripted_server import BATCH, OPTIONS

FULL = dataclasses.replace(
    OPTIONS,
    account="d2026-users",
    qos="normal",
    reservation="maint",
    constraint="amd|intel",
    exclude=("gn01", "gn02"),
    nodes=2,
    tasks_per_node=4,
    cpus_per_task=16,
    memory_per_node_mib=480_000,
    gpus_per_node=4,
    threads_per_core=1,
    time_limit_minutes=90,
    warning_seconds=300,
)


def batch(**options: Any) -> Batch:
    return dataclasses.replace(BATCH, options=dataclasses.replace(OPTIONS, **options))


def read(document: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in ET.fromstring(document).iter():  # noqa: S314 -- our own
        found.setdefault(each.tag.removeprefix(f"{{{ADL}}}"), []).append(each.text or "")
    return found


def test_a_plain_job_needs_no_runtime_environment() -> None:
    told = read(description(batch(nodes=3, memory_per_node_mib=200), None))
    assert told["Name"][0] == OPTIONS.name
    assert told["QueueName"] == ["gpu"]
    assert told["WallTime"] == ["300"]
    assert (told["NumberOfSlots"], told["SlotsPerHost"]) == (["3"], ["1"])
    assert told["IndividualPhysicalMemory"] == [str(200 * 1024 * 1024)]
    assert "RuntimeEnvironment" not in told
    assert "InputFile" not in told, "a job is there whole or not at all: nothing is uploaded after it"


def test_the_others_options_travel_as_arguments_of_the_environment() -> None:
    told = read(description(dataclasses.replace(BATCH, options=FULL), "ENV/PASSERELLE"))
    assert told["RuntimeEnvironment"] == [""]
    assert told["Name"][:2] == [OPTIONS.name, "ENV/PASSERELLE"]
    assert told["Option"] == [
        "--account=d2026-users",
        "--qos=normal",
        "--reservation=maint",
        "--constraint=amd|intel",
        "--exclude=gn01,gn02",
        "--nodes=2",
        "--cpus-per-task=16",
        "--threads-per-core=1",
        "--mem=480000M",
        "--gpus-per-node=4",
    ]
    assert (told["NumberOfSlots"], told["SlotsPerHost"], told["WallTime"]) == (["8"], ["4"], ["5400"])
    assert "IndividualPhysicalMemory" not in told, "memory a node and memory a CPU exclude each other"


@pytest.mark.parametrize(
    "request_, expected",
    [("gpus-per-node", "--gpus-per-node=a100:4"), ("gres", "--gres=gpu:a100:4"), ("gpus", "--gpus=a100:8")],
)
def test_gpus_are_asked_for_as_the_site_wants(request_: str, expected: str) -> None:
    asked = dataclasses.replace(FULL, gpu_type="a100", gpu_request=request_)  # type: ignore[arg-type]  # its words
    assert expected in passed_on(asked)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"account": "a"}, "--account"),
        ({"qos": "q"}, "--qos"),
        ({"gpus_per_node": 4}, "--gpus-per-node"),
        ({"cpus_per_task": 4}, "--cpus-per-task"),
        ({"nodes": 2, "tasks_per_node": 2}, "--nodes"),
        ({"exclude": ("n1",)}, "--exclude"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_never_left_out(options: dict[str, Any], word: str) -> None:
    with pytest.raises(Rejected, match=word) as caught:
        description(batch(**options), None)
    assert (caught.value.reason, caught.value.transient) == ("NotExpressible", False)
    assert "gateway.runtimeEnvironment" in caught.value.message
    assert f"<Option>{word}" in description(batch(**options), "PASSERELLE")


def test_a_partition_whose_nodes_come_whole_needs_no_word_for_gpus() -> None:
    assert "Option" not in read(description(batch(gpus_per_node=4, gpu_request="none"), None))


@pytest.mark.parametrize("account", ["a b", "a;b", "a$(x)", "a'b", 'a"b', "a\nb", "a*b", "[ab]", "é"])
def test_nothing_that_a_shell_reads_is_passed_on(account: str) -> None:
    with pytest.raises(Rejected, match="read by a shell"):
        description(batch(account=account), "PASSERELLE")


def test_requeueing_is_not_arcs() -> None:
    with pytest.raises(Rejected, match="requeue"):
        description(batch(requeue=True), "PASSERELLE")


def test_a_script_too_long_for_a_command_line_is_refused() -> None:
    noise = "".join(chr(33 + byte % 90) for byte in os.urandom(200_000))
    with pytest.raises(Rejected, match="bytes of a command line"):
        description(dataclasses.replace(BATCH, script=f"#!/bin/sh\n# {noise}\n"), None)


def test_arguments_hold_nothing_that_arex_would_change() -> None:
    """It writes them between double quotes, where $ ` \\ and " mean something, and cuts them at line ends."""
    odd = dataclasses.replace(BATCH, script="#!/bin/sh\necho \"$HOME\" '`x`' \\\n# é\n")
    flag, command = payload.arguments(odd)
    assert flag == "-c"
    assert not set(command) & set("$`\\\"'\n\r\t*?[~")
    assert command.isascii()


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


def test_other_words_of_sbatch_are_refused() -> None:
    with pytest.raises(Rejected, match="another word of sbatch"):
        description(batch(standard_output="/run/%x-%j.out"), None)


OPTIONS_SH = Path(payload.__file__).with_name("options.sh")


def sourced(*arguments: str, stage: str = "0", before: str = "") -> subprocess.CompletedProcess[str]:
    """The runtime environment, sourced as A-REX does: arguments between literal quotes, split and globbed once."""
    quoted = " ".join(f'"{each}"' for each in arguments)
    script = f"""
        sourcewithargs() {{ script=$1; shift; . $script; }}
        CONFIG_defaultmemory=100 joboption_memory=200
        {before}
        args_value='{stage} {quoted}'
        sourcewithargs {OPTIONS_SH} $args_value || exit 9
        i=0
        while eval "[ -n \\"\\${{joboption_nodeproperty_$i+x}}\\" ]"; do
            eval "echo \\"\\$joboption_nodeproperty_$i\\""
            i=$((i + 1))
        done
        echo "memory=$joboption_memory$CONFIG_defaultmemory"
    """
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=20)


def test_the_runtime_environment_hands_all_options_to_sbatch() -> None:
    options = passed_on(dataclasses.replace(FULL, constraint="(a&b)|c"))
    done = sourced(*options, before="joboption_nodeproperty_0=--exclusive")
    assert done.stdout.splitlines() == ["--exclusive", *options, "memory="], done.stderr
    without = [each for each in options if not each.startswith("--mem=")]
    assert sourced(*without).stdout.splitlines() == [*without, "memory=200100"]
    assert sourced("--account=x", stage="1").stdout.splitlines() == ["memory=200100"]


@pytest.mark.parametrize(
    "option", ["--wrap=id", "--uid=0", "--export=ALL", "x", "--account=a;id", "--account=$(id)", "--account=`id`"]
)
def test_the_runtime_environment_passes_nothing_else_on(option: str) -> None:
    done = sourced(option)
    assert done.returncode == 1
    assert "not passed on" in done.stderr + done.stdout
