"""A trainer process and its keeper; what a whole job makes of them is in test_batch.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passerelle.onsite.codes import DUPLICATE
from passerelle.onsite.supervise import TAIL_BYTES, ended_by
from plans import SOURCE

_KEEP = (
    "import json, sys; from passerelle.onsite.supervise import supervise;"
    "sys.exit(supervise(sys.argv[2:], {'PATH': '/usr/bin:/bin', 'X': 'é'}, sys.argv[1], {'rank': 4}))"
)


def keep(record: Path, *argv: str) -> "subprocess.Popen[bytes]":
    """A keeper under the C locale, as sites start it."""
    return subprocess.Popen(
        [sys.executable, "-c", _KEEP, str(record), *argv],
        env={"PYTHONPATH": str(SOURCE), "LC_ALL": "C", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_success_leaves_no_record(tmp_path: Path) -> None:
    keeper = keep(tmp_path / "end", "sh", "-c", 'printf %s "$X$0"', "ü")

    said, _ = keeper.communicate(timeout=20)

    assert keeper.returncode == 0
    assert said.decode() == "éü"
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_failing_ranks_stderr_is_kept_and_all_of_it_passed_on(tmp_path: Path) -> None:
    keeper = keep(tmp_path / "end", "sh", "-c", "yes line | head -n 5000 >&2; echo last >&2; exit 3")

    _, err = keeper.communicate(timeout=20)

    told = json.loads((tmp_path / "end").read_text())
    assert keeper.returncode == 3
    assert err.count(b"line\n") == 5000
    assert (told["code"], told["signal"], told["rank"]) == (3, None, 4)
    assert told["err"].endswith("line\nlast\n")
    assert len(told["err"]) == TAIL_BYTES


@pytest.mark.parametrize(
    "command,code,number",
    [
        (["sh", "-c", "kill -SEGV $$"], 139, 11),
        (["no-such-command"], 127, None),
        (["/etc/passwd"], 126, None),
        (["sh", "-c", f"exit {DUPLICATE}"], DUPLICATE, None),
    ],
)
def test_each_way_to_fail_is_written_down(tmp_path: Path, command: list[str], code: int, number: int | None) -> None:
    keeper = keep(tmp_path / "end", *command)
    keeper.communicate(timeout=20)

    told = json.loads((tmp_path / "end").read_text())

    assert (told["code"], told["signal"]) == (code, number)
    assert keeper.returncode == (1 if code == DUPLICATE else code)


def test_a_process_left_behind_does_not_hold_the_rank(tmp_path: Path) -> None:
    began = time.monotonic()
    keeper = keep(tmp_path / "end", "sh", "-c", "sleep 8 & exit 2")

    keeper.wait(20)

    assert time.monotonic() - began < 7
    assert keeper.returncode == 2
    for stream in (keeper.stdout, keeper.stderr):
        assert stream is not None
        stream.close()


def test_a_file_that_srun_left_open_for_mpi_reaches_the_trainer(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"manager")
    os.close(write)
    trainer = f"import os; print(os.read({read}, 99).decode())"
    told = (
        "import sys; from passerelle.onsite.supervise import supervise; sys.exit(supervise(sys.argv[2:], {}, '', {}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", told, "", sys.executable, "-c", trainer],
        env={"PYTHONPATH": str(SOURCE)},
        pass_fds=(read,),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    os.close(read)
    assert (done.returncode, done.stdout) == (0, "manager\n"), done.stderr


def test_a_term_reaches_the_trainer_and_other_signals_disturb_nobody(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    # No shell: dash loses a signal that comes while it forks.
    trainer = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); "
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    keeper = keep(tmp_path / "end", sys.executable, "-c", trainer)
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    keeper.send_signal(signal.SIGUSR1)
    keeper.send_signal(signal.SIGTERM)
    keeper.communicate(timeout=20)

    assert keeper.returncode == 9


@pytest.mark.parametrize("code,number", [(0, None), (1, None), (128, None), (143, 15), (DUPLICATE, None), (255, None)])
def test_codes_tell_of_signals_as_shells_do(code: int, number: int | None) -> None:
    assert ended_by(code) == number
