"""Whole scripts and options, one directory a case. `PASSERELLE_RECORD=1 pytest tests/golden` writes them anew."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from golden.written import RECORD, options, script
from passerelle.batch import Batch
from passerelle.brought import bring
from passerelle.render import render
from plans import job, planned, profile

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/case.yaml"))


def rendered(case: str) -> Batch:
    """The batch of a case: case.yaml holds what differs from tests/plans.py."""
    told = yaml.safe_load((HERE / case / "case.yaml").read_text(encoding="utf-8"))
    facts = profile(told.get("profile", "sandbox"), **told.get("partition", {}))
    facts = facts.model_copy(update={"launch": facts.launch.model_copy(update=told.get("launch", {}))})
    files = tuple((path, text.encode()) for path, text in told.get("files", {}).items())
    spec = job(**told["spec"])
    secrets = {
        name: {key: text.encode() for key, text in keys.items()} for name, keys in told.get("secrets", {}).items()
    }
    brought = bring(spec, "team-a", {}, secrets, lenient=("ConfigMap",))
    attempt = told.get("attempt", 1)
    return render(planned(spec, facts=facts, attempt=attempt, brought=replace(brought, files=(*brought.files, *files))))


def test_there_are_cases() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_rendered_as_recorded(case: str) -> None:
    batch = rendered(case)
    recorded = {HERE / case / "script.sh": script(batch), HERE / case / "options.json": options(batch)}
    if RECORD:
        for file, text in recorded.items():
            file.write_text(text, encoding="utf-8")

    assert {file: file.read_text(encoding="utf-8") for file in recorded} == recorded


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_script_is_sound(case: str) -> None:
    recorded = str(HERE / case / "script.sh")

    for checker in (["bash", "-n"], ["shellcheck", "--shell=bash", "--severity=style"]):
        done = subprocess.run([*checker, recorded], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_what_the_user_wrote_stands_in_the_json_alone(case: str) -> None:
    recorded = (HERE / case / "script.sh").read_text(encoding="utf-8")
    outside = [line for line in recorded.splitlines() if not line.startswith('{"agent":')]

    assert len(outside) == len(recorded.splitlines()) - 1
    assert "USERS-WORD" not in "\n".join(outside)
    assert recorded.isascii()
