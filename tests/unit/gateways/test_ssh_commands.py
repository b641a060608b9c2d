"""The programs for the login shell, run by real shells, with commands that only say what they were given."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from passerelle.gateways.ssh import commands
from passerelle.gateways.ssh.commands import Command
from passerelle.gateways.windows import Window
from unit.gateways.scripted_server import BATCH, OPTIONS

MARK = "m0123456789abcdef"
LOGIN_SHELLS = ("sh", "bash", "dash", "fish", "ksh", "tcsh", "zsh")
"""Those that this machine has are tried."""
SHELLS = pytest.mark.parametrize("shell", [each for each in LOGIN_SHELLS if shutil.which(each)])
HOSTILE = {"SBATCH_PARTITION": "nowhere", "SBATCH_EXPORT": "ALL", "SQUEUE_FORMAT": "%j", "LEAK": "1", "BASH_ENV": "/x"}


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of commands, each of which prints what it was given: arguments, environment, input."""
    stub = (
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], dict(os.environ), sys.stdin.read()]))\n"
    )
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        (tmp_path / name).write_text(stub)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def run(shell: str, command: Command, stubs: Path, content: bytes | None = None, **more: str) -> tuple[int, list[str]]:
    """The exit code, and the lines that came."""
    environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "HOME": "/home/users/ada", **HOSTILE, **more}
    done = subprocess.run(
        [shell, "-c", command.line],
        input=command.content if content is None else content,
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode().splitlines()


@SHELLS
def test_a_command_gets_an_environment_of_its_own(shell: str, stubs: Path) -> None:
    code, (mark, said) = run(shell, commands.states(MARK), stubs, SLURM_CONF="/opt/slurm.conf")

    arguments, environment, _ = json.loads(said)
    assert (code, mark) == (0, MARK)
    assert "--me" in arguments
    assert environment.keys() - {"LC_CTYPE"} == {"PATH", "HOME", "LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_CONF"}
    assert environment["PATH"].startswith(str(stubs))
    assert (environment["HOME"], environment["SLURM_CONF"]) == ("/home/users/ada", "/opt/slurm.conf")


@SHELLS
def test_a_script_reaches_sbatch_as_it_is(shell: str, stubs: Path) -> None:
    text = "#!/bin/sh\n'\"$(touch x)`id` \\n %s !é\n\n"
    batch = dataclasses.replace(BATCH, script=text)

    code, (mark, said) = run(shell, commands.submit(MARK, batch), stubs)

    arguments, environment, given = json.loads(said)
    assert (code, mark) == (0, MARK)
    assert given == commands.script(batch)
    assert given.endswith(text.removeprefix("#!/bin/sh\n"))
    assert arguments == ["--parsable", "--ignore-pbs", "--export=ALL", "--propagate=NONE"]
    assert environment.keys() - {"LC_CTYPE"} == {"PATH", "HOME"}


@SHELLS
@pytest.mark.parametrize("lost", [1, 5, 22, 100])
def test_a_script_that_was_cut_off_is_never_a_job(shell: str, lost: int, stubs: Path) -> None:
    command = commands.submit(MARK, BATCH)

    code, lines = run(shell, command, stubs, command.content[:-lost])

    assert (code, lines) == (commands.INCOMPLETE, [MARK])


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """A squeue that knows the jobs 1 and 3, fails over an unknown one, and of 9 gets no answer."""
    stub = (
        "#!/bin/sh\n"
        'echo "$*" >> "$0.asked"\n'
        "for word; do case $word in --jobs=*) job=${word#--jobs=} ;; esac; done\n"
        "case $job in\n"
        '1|3) echo "record $job" ;;\n'
        '9) echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1 ;;\n'
        '*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;\n'
        "esac\n"
    )
    (tmp_path / "squeue").write_text(stub)
    (tmp_path / "squeue").chmod(0o755)
    return tmp_path


@SHELLS
def test_each_job_is_asked_for_by_itself(shell: str, queue: Path) -> None:
    code, lines = run(shell, commands.each(MARK, ["3", "2", "1"]), queue)

    assert (code, lines) == (0, [MARK, "record 1", "record 3"])
    asked = (queue / "squeue.asked").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in asked] == ["--jobs=1", "--jobs=2", "--jobs=3"]
    assert all("--me" in line for line in asked)
    assert run(shell, commands.each(MARK, ["2"]), queue) == (0, [MARK]), "the last one may be unknown"


@SHELLS
def test_a_scheduler_that_does_not_answer_of_one_job_has_answered_of_none(shell: str, queue: Path) -> None:
    code, _ = run(shell, commands.each(MARK, ["1", "9", "91"]), queue)

    assert code == 1
    assert len((queue / "squeue.asked").read_text().splitlines()) == 2, "and is not asked for the rest"


@SHELLS
def test_a_missing_command_is_told_apart(shell: str, tmp_path: Path) -> None:
    for command in (commands.cancel(MARK, "1"), commands.each(MARK, ["1", "2"])):
        code, _ = run(shell, command, tmp_path)

        assert code == commands.NOT_FOUND


@SHELLS
@pytest.mark.parametrize("name", ["plain", "-n", ' it\'s "so" $(id) `id` \\ é日*', "line\n", "\n"])
def test_a_file_of_any_name_has_its_digest(shell: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")

    code, (mark, said) = run(shell, commands.digest(MARK, f"{tmp_path}/{name}"), tmp_path)

    assert (code, mark) == (0, MARK)
    assert said == f"{hashlib.sha256(b'content').hexdigest()}  -"
    for other in (tmp_path / f"{name}x", tmp_path):
        code, lines = run(shell, commands.digest(MARK, str(other)), tmp_path)
        assert (code, lines) == (commands.NO_FILE, [MARK])


@SHELLS
@pytest.mark.parametrize("name", ["large", "-n it's\n"])
def test_a_file_that_is_too_large_for_a_login_node_is_not_read(shell: str, name: str, tmp_path: Path) -> None:
    """One of holes: it takes no room. The largest that is read would take long here,."""
    place = tmp_path / name
    for size, seen in ((commands.LARGEST_DIGEST_BYTES + 1, True), (5, False)):
        with place.open("wb") as file:
            file.truncate(size)
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(place)
        for path in (place, tmp_path / "link"):
            code, lines = run(shell, commands.digest(MARK, str(path)), tmp_path)
            assert (code, lines[0]) == (commands.TOO_LARGE if seen else 0, MARK)
            assert len(lines) == (1 if seen else 2)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    "value", ["a,b=c", 'it\'s "so"', "one\ntwo\n", "déjà 日本 🚀", "$(id) `id` \\", "", "a\r\nb\\r", "-n"]
)
def test_the_environment_is_the_jobs_whole_one(shell: str, value: str, tmp_path: Path) -> None:
    batch = dataclasses.replace(BATCH, environment=(("VALUE", value),), script="#!/bin/sh\n/usr/bin/env -0\n")
    script = commands.script(batch)

    done = subprocess.run(
        [shutil.which(shell) or shell, "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": "/home/users/ada", "SLURM_EXPORT_ENV": "ALL"},
        capture_output=True,
        check=True,
        timeout=60,
    )

    variables = dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if each)
    assert variables.pop("VALUE") == value
    assert variables.keys() <= {"PWD", "OLDPWD", "SHLVL", "_"}
    assert "\r\n" not in script, "sbatch refuses such a script"


def test_options_stand_above_the_first_command() -> None:
    lines = commands.script(BATCH).splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))

    assert lines[0] == "#!/bin/sh"
    assert f"#SBATCH --job-name={OPTIONS.name}" in lines[:first]
    assert lines[first].startswith("unset ")


def test_a_line_is_one_that_any_login_shell_reads() -> None:
    for command in (
        commands.who_answers(MARK),
        commands.states(MARK),
        commands.names(MARK),
        commands.live(MARK, ["1", "2"]),
        commands.each(MARK, ["1", "2"]),
        commands.submit(MARK, BATCH),
        commands.cancel(MARK, "1"),
        commands.warn(MARK, "1", "USR1"),
        commands.digest(MARK, "/it's a\n$(file)!"),
        commands.accounted_ids(MARK, ["1"]),
        *commands.accounted_names(MARK, ["psr-a-1"], Window("2026-01-02", "2026-01-05")),
    ):
        assert command.line.count("'") == 2, "one quoted program, and words that need no quotes"
        assert "\n" not in command.line
        assert "!" not in command.line


@pytest.mark.parametrize("word", ["1;id", "1 2", "$(id)", "1'2", "1\n2", ""])
def test_no_word_means_anything_to_a_shell(word: str) -> None:
    with pytest.raises(ValueError, match="no word for a login shell"):
        commands.cancel(MARK, word)
