"""The program of onsite/ as it lies at a site: one archive, which each process reads once."""

import base64
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from passerelle.batch import SCRIPT_LIMIT
from passerelle.onsite.__main__ import TEXTS, Memory
from passerelle.script import _onsite, _spec
from plans import SOURCE, job, planned, profile

_COUNT = """\
import atexit, os, sys
opened = []
sys.addaudithook(lambda event, told: opened.append(told[0]) if event == "open" else None)
atexit.register(lambda: os.write(1, b"%d" % opened.count(os.environ["LIB"])))
"""
"""Python runs this before anything else, and it counts how often a process opens the program."""
_OPENS = 4
"""Three of Python's own, to find what it shall run and to run it, and the one that reads all of it."""


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    place = tmp_path / "lib"
    place.write_bytes(base64.b64decode(_onsite()[0]))
    return place


def test_a_rank_reads_the_program_once_whatever_it_imports_of_it(lib: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "sitecustomize.py").parent.mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_COUNT)
    (tmp_path / "work").mkdir()
    (tmp_path / "ends").mkdir()
    spec = _spec(planned(job(gpus=1, command=["true"]), facts=profile("sandbox-bare")), None)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    own = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "MASTER_ADDR", "MASTER_PORT"), "0")
    own |= {"SLURM_NTASKS": "1", "LIB": str(lib), "PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]}

    done = subprocess.run(
        [sys.executable, str(lib), "rank", str(tmp_path / "spec.json")],
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) <= _OPENS


def test_a_traceback_names_file_and_line(lib: Path) -> None:
    done = subprocess.run([sys.executable, str(lib), "deadline"], capture_output=True, text=True, check=False)

    found = re.findall(rf'File "{lib}/passerelle/onsite/deadline\.py", line (\d+), in (\w+)', done.stderr)
    lines = (SOURCE / "passerelle" / "onsite" / "deadline.py").read_text().splitlines()
    assert [(lines[int(number) - 1].strip(), where) for number, where in found][-1:] == [
        ('if argv[0] == "watch":', "main")
    ]


def held(lib: Path) -> dict[str, str]:
    with zipfile.ZipFile(lib) as archive:
        found: dict[str, str] = json.loads(archive.read(TEXTS))
    return found


def test_every_module_is_there_as_it_was_written(lib: Path) -> None:
    files = {each.name: each.read_text() for each in (SOURCE / "passerelle" / "onsite").glob("*.py")}
    files.pop("__main__.py")

    assert held(lib) == {"passerelle/__init__.py": ""} | {f"passerelle/onsite/{n}": text for n, text in files.items()}


def test_a_module_has_the_text_that_debuggers_show(lib: Path) -> None:
    memory = Memory(str(lib), held(lib))

    assert memory.get_source("passerelle.onsite.codes") == (SOURCE / "passerelle/onsite/codes.py").read_text()
    assert memory.find_spec("json") is None
    with pytest.raises(ImportError, match="holds no json"):
        memory.get_source("json")


def test_the_program_takes_little_of_a_scripts_room() -> None:
    assert len(_onsite()[0]) < SCRIPT_LIMIT * 0.6
