import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from passerelle_sandbox import processes
from passerelle_sandbox.errors import SandboxError

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"

Started = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts a sleeper that carries some environment, and has it gone at the end."""
    with ExitStack() as stack:

        def start(code: str = "import time; print(flush=True); time.sleep(60)", **env: str) -> subprocess.Popen[bytes]:
            child = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
            stack.enter_context(child)
            stack.callback(child.kill)
            assert child.stdout is not None
            assert child.stdout.readline() == b"\n"
            return child

        yield start


def test_a_sandbox_finds_its_own_processes_of_any_life_and_no_namesakes(started: Started) -> None:
    mine = [started(PASSERELLE_SANDBOX=f"unit-{os.getpid()}-{life}") for life in ("0123abcd", "89abcdef")]
    for other in ("0123abc", "2-0123abcd", "0123ABCD"):
        started(PASSERELLE_SANDBOX=f"unit-{os.getpid()}-{other}")

    found = processes.of_sandbox(f"unit-{os.getpid()}")

    assert found == sorted(child.pid for child in mine)


def test_ending_kills_what_does_not_listen_and_returns_when_it_is_gone(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERM_PATIENCE", 0.2)
    marker = f"end-{os.getpid()}-0123abcd"
    children = [started(STUBBORN, PASSERELLE_SANDBOX=marker), started(PASSERELLE_SANDBOX=marker)]

    ended = processes.end(lambda: processes.of_sandbox(f"end-{os.getpid()}"))

    assert ended == 2
    assert [processes.start_time(child.pid) for child in children] == [None, None]


def test_a_step_is_an_orphan_only_when_nobody_waits_for_it(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STEP_OF", "STEP_OF_A_TEST")  # or a test beside this one would end the orphan
    waited_for = started(**processes.step_environment())
    abandoned = started(STEP_OF_A_TEST=f"{os.getpid()}-1")

    found = processes.orphaned_steps()

    assert found == [abandoned.pid]
    assert processes.own_steps() == [waited_for.pid]


def test_a_daemon_gets_a_session_its_environment_and_a_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "daemon.log"

    pid = processes.spawn(["/bin/sh", "-c", 'echo "$WORD"; ps -o sid= -p $$'], log=log, env={"WORD": "hello"})
    os.waitpid(pid, 0)

    assert log.read_text().split() == ["hello", str(pid)]


def test_what_ended_has_no_start_time() -> None:
    child = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while processes.start_time(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert processes.start_time(child.pid) is None  # a zombie already counts as gone
    child.wait()
    assert processes.start_time(os.getpid()) is not None


def test_who_is_frozen_stands_still_with_all_threads(started: Started) -> None:
    busy = "import threading\nfor _ in range(4): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()"
    child = started(f"{busy}\nprint(flush=True)")
    assert not processes.is_frozen(child.pid)

    processes.freeze([child.pid])

    assert processes.is_frozen(child.pid)


def test_who_can_not_be_frozen_is_told_and_who_is_gone_is_not_waited_for(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started()
    child.kill()
    child.wait()
    processes.freeze([child.pid])
    monkeypatch.setattr(processes, "FREEZE_PATIENCE", 0.1)
    monkeypatch.setattr(processes, "is_frozen", lambda _: False)

    with pytest.raises(SandboxError, match="go on"):
        processes.freeze([started().pid])
