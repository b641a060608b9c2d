"""A trainer process and its keeper; what a whole job makes of them is in test_batch.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passerelle.onsite.codes import CONTINUE, DUPLICATE
from passerelle.onsite.supervise import PARTING_SECONDS, TAIL_BYTES, ended_by
from plans import SOURCE
from stubs import wait_for

_KEEP = (
    "import json, sys; from passerelle.onsite.supervise import supervise;"
    "facts = json.loads(sys.argv[2]); stop = facts.pop('stop');"
    "sys.exit(supervise(sys.argv[3:], {'PATH': '/usr/bin:/bin', 'X': 'é'}, sys.argv[1], facts, stop))"
)


def keep(
    record: Path, *argv: str, rank: int | None = 4, node: str = "", stop: Path | str = ""
) -> "subprocess.Popen[bytes]":
    """A keeper under the C locale, as sites start it."""
    return subprocess.Popen(
        [sys.executable, "-c", _KEEP, str(record), json.dumps({"rank": rank, "node": node, "stop": str(stop)}), *argv],
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


def lasts(tmp_path: Path, code: int, *, stopped: bool) -> float:
    """Seconds until the keeper of a process that ends at once is gone."""
    stop = tmp_path / "stop"
    if stopped:
        stop.touch()
    began = time.monotonic()
    keeper = keep(tmp_path / "end", "sh", "-c", f"exit {code}", stop=stop)
    keeper.communicate(timeout=30)
    assert keeper.returncode == code
    return time.monotonic() - began


def test_a_rank_that_saved_and_stopped_leaves_the_others_time_to_do_so(tmp_path: Path) -> None:
    assert lasts(tmp_path, CONTINUE, stopped=True) >= PARTING_SECONDS


@pytest.mark.parametrize("code,stopped", [(CONTINUE, False), (1, False), (0, True)])
def test_without_a_stop_or_a_failure_there_is_nothing_to_wait_for(tmp_path: Path, code: int, stopped: bool) -> None:
    assert lasts(tmp_path, code, stopped=stopped) < PARTING_SECONDS


def test_who_is_ended_does_not_stay_for_the_others(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    keeper = keep(tmp_path / "end", "sh", "-c", "exit 3", stop=tmp_path / "stop")
    wait_for(tmp_path / "end")
    began = time.monotonic()

    keeper.send_signal(signal.SIGTERM)
    keeper.communicate(timeout=20)

    assert time.monotonic() - began < PARTING_SECONDS - 1
    assert keeper.returncode == 3


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


def ended(place: Path, number: int, node: str, *, rank: int | None = 0, deaf: bool = False) -> None:
    """A rank whose keeper is told to end, as srun does to all when one has failed; a deaf one is killed after that."""
    ready = place / f"ready-{number}"
    trainer = (
        f"import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.{'SIG_IGN' if deaf else 'SIG_DFL'}); "
        f"print('mine', {number}, file=__import__('sys').stderr); "
        f"pathlib.Path({str(ready)!r}).write_text(str(__import__('os').getpid())); time.sleep(60)"
    )
    kind = "agent" if rank is None else "rank"
    keeper = keep(place / f"{kind}-{number}.json", sys.executable, "-uc", trainer, rank=rank and number, node=node)
    deadline = time.monotonic() + 20
    while not (ready.exists() and ready.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    keeper.terminate()
    if deaf:
        time.sleep(0.3)
        os.kill(int(ready.read_text()), signal.SIGKILL)
    keeper.communicate(timeout=20)
    ready.unlink()


def test_of_the_ranks_of_a_node_that_were_ended_because_another_had_failed_one_leaves_a_record(tmp_path: Path) -> None:
    for number, node in enumerate(("n1", "n1", "n2", "n1"), start=1):
        ended(tmp_path, number, node, rank=number, deaf=number > 2)

    assert sorted(each.name for each in tmp_path.iterdir()) == ["node-n1.json", "node-n2.json"]
    told = [json.loads((tmp_path / f"node-{node}.json").read_text()) for node in ("n1", "n2")]
    assert [(each["node"], each["rank"], each["signal"], each["err"]) for each in told] == [
        ("n1", 1, 15, "mine 1\n"),
        ("n2", 3, 9, "mine 3\n"),
    ]


def test_an_agent_that_was_ended_and_a_rank_without_a_node_leave_their_own_records(tmp_path: Path) -> None:
    ended(tmp_path, 1, "n1", rank=None)
    ended(tmp_path, 2, "", rank=2)

    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent-1.json", "rank-2.json"]


def test_a_rank_that_was_killed_alone_may_be_the_first_and_leaves_its_own_record(tmp_path: Path) -> None:
    ended(tmp_path, 1, "n1", rank=1)
    keeper = keep(tmp_path / "rank-2.json", "sh", "-c", "kill -KILL $$", rank=2, node="n1")
    keeper.communicate(timeout=20)

    assert json.loads((tmp_path / "rank-2.json").read_text())["signal"] == 9


def test_where_a_nodes_record_cannot_be_made_a_rank_tries_its_own(tmp_path: Path) -> None:
    ended(tmp_path, 1, "nowhere/n1", rank=1)

    assert json.loads((tmp_path / "rank-1.json").read_text())["signal"] == 15


@pytest.mark.parametrize("code,number", [(0, None), (1, None), (128, None), (143, 15), (DUPLICATE, None), (255, None)])
def test_codes_tell_of_signals_as_shells_do(code: int, number: int | None) -> None:
    assert ended_by(code) == number
