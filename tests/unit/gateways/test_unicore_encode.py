"""Batch -> a raw job: every option stands in the batch file, and the batch file does what it says when bash runs it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from options import changed_in
from passerelle.batch import Batch, Options
from passerelle.gateways.unicore.encode import BATCH as BATCH_FILE
from passerelle.gateways.unicore.encode import END, SCRIPT, TAG, batch_file, job
from passerelle.header import header
from unit.gateways.scripted_server import BATCH, OPTIONS
from unit.test_header import FULL

WARNED = dataclasses.replace(OPTIONS, warning_seconds=60, exclude=("n7",), threads_per_core=1)


def test_a_job_is_raw_and_carries_its_marker_twice() -> None:
    made = job(BATCH)

    assert (made["Job type"], made["BSS file"]) == ("raw", BATCH_FILE)
    assert made["Name"] == OPTIONS.name
    assert made["Tags"] == [TAG, OPTIONS.name]
    assert [made["Executable"], *made["Arguments"]] == ["/bin/sh", END]


def test_no_resource_is_left_to_unicore() -> None:
    assert "Resources" not in job(BATCH)
    assert "Environment" not in job(BATCH)


def test_every_option_stands_in_the_batch_file_but_the_directory_in_which_unicore_starts() -> None:
    lines = batch_file(dataclasses.replace(BATCH, options=WARNED)).splitlines()

    assert lines[1 : len(header(WARNED))] == [line for line in header(WARNED) if "--chdir" not in line]
    assert "#SBATCH --signal=B:USR1@60" in lines
    assert "#SBATCH --exclude=n7" in lines


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(Options)])
def test_no_field_of_options_is_lost(field: str) -> None:
    """Whatever field is added to Options, this driver writes it."""
    before, after = (Batch(options=asked, environment=(), script="") for asked in (FULL, changed_in(FULL, field)))

    assert batch_file(before) != batch_file(after)


def run(place: Path, batch: Batch, appended: str = "") -> subprocess.CompletedProcess[str]:
    """What sbatch's shell does with the three files, and the line that UNICORE appends."""
    for each in job(batch)["Imports"]:
        file = place / each["To"]
        file.write_text(each["Data"], encoding="utf-8")
        file.chmod(0o700)
    whole = f"{(place / BATCH_FILE).read_text()}\n{appended or f'sh {END}; echo $? > code'}\n"
    return subprocess.run(["bash", "-c", whole], cwd=place, capture_output=True, text=True, timeout=20, check=False)


def of(tmp_path: Path, script: str, environment: tuple[tuple[str, str], ...] = (), **options: object) -> Batch:
    (tmp_path / "run").mkdir(exist_ok=True)
    asked = dataclasses.replace(OPTIONS, working_directory=str(tmp_path / "run"), **options)  # type: ignore[arg-type]
    return Batch(options=asked, environment=(("PATH", "/usr/bin:/bin"), *environment), script=script)


@pytest.mark.parametrize("code", [0, 3, 215])
def test_unicore_and_slurm_both_learn_the_script_s_exit_code(tmp_path: Path, code: int) -> None:
    done = run(tmp_path, of(tmp_path, f"#!/bin/sh\nexit {code}\n"))

    assert (tmp_path / "code").read_text().strip() == str(code)
    assert done.returncode == code


def test_the_script_runs_where_it_was_asked_to_and_once(tmp_path: Path) -> None:
    run(tmp_path, of(tmp_path, "#!/bin/sh\npwd >> here\n"))

    assert (tmp_path / "run" / "here").read_text() == f"{tmp_path / 'run'}\n"


def test_strings_arrive_unchanged_and_travel_as_ascii(tmp_path: Path) -> None:
    wanted = (
        ("QUOTES", 'it\'s "so"'),
        ("LINES", "one\n#SBATCH --nodes=9\n\tthree"),
        ("WORDS", "déjà vu 日本 🚀"),
        ("SHELL", "$(touch x) `id` ${HOME} \\ %j \\n"),
        ("EMPTY", ""),
    )
    batch = of(tmp_path, "#!/bin/sh\nenv -0\n", wanted)

    arrived = dict(each.split("=", 1) for each in run(tmp_path, batch).stdout.split("\0") if "=" in each)

    assert {name: arrived.get(name) for name, _ in wanted} == dict(wanted)
    assert batch_file(batch).isascii()
    assert sum(line.startswith("#SBATCH --nodes") for line in batch_file(batch).splitlines()) == 1


def test_a_warning_reaches_the_script_and_the_shell_waits_for_its_last_words(tmp_path: Path) -> None:
    script = "#!/bin/bash\ntrap 'echo warned; told=1' USR1\ntrap 'echo asked; sleep 0.2; echo gone; exit 7' TERM\n"
    script += "told=''; kill -USR1 $PPID; until [ -n \"$told\" ]; do sleep 0.02; done; kill -TERM $PPID $$; sleep 5\n"

    done = run(tmp_path, of(tmp_path, script))

    assert done.stdout.split() == ["warned", "asked", "gone"]
    assert done.returncode == 7


def test_a_site_without_raw_jobs_says_so(tmp_path: Path) -> None:
    run(tmp_path, of(tmp_path, "#!/bin/sh\n"), appended="true")
    (tmp_path / END).write_text(next(each["Data"] for each in job(BATCH)["Imports"] if each["To"] == END))

    done = subprocess.run(["sh", END], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 212
    assert "no raw jobs" in done.stderr


def test_files_are_private_and_the_script_is_as_it_was(tmp_path: Path) -> None:
    imports = {each["To"]: each for each in job(BATCH)["Imports"]}

    assert set(imports) == {BATCH_FILE, SCRIPT, END}
    assert {each["Permissions"] for each in imports.values()} == {"rwx------"}
    assert imports[SCRIPT]["Data"] == BATCH.script


@pytest.mark.parametrize("pair", [("A;B", "x"), ("A", "x\0y")])
def test_what_no_environment_holds_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no name|no NUL"):
        batch_file(dataclasses.replace(BATCH, environment=(pair,)))


def test_nothing_of_the_submitter_s_environment_is_handed_on() -> None:
    lines = batch_file(BATCH).splitlines()

    assert "#SBATCH --export=NIL" in lines
    assert lines.index("#SBATCH --export=NIL") < next(n for n, line in enumerate(lines) if line.startswith("unset"))
