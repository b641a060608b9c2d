"""Runs one process, keeps the end of its standard error, and writes down how it failed.

The process's end is told before its parent's: whichever rank failed first has the earliest record, and the victims of
--kill-on-bad-exit have later ones. There may be thousands of those, within seconds in one folder of a parallel file
system, and all that they tell is that their nodes live: so of each node one writes.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Optional

from passerelle.onsite.codes import SITE_FAULT, public
from passerelle.onsite.files import tell, write_json

TAIL_BYTES = 4096
_DRAIN_SECONDS = 2.0
_SHELL_SIGNAL = 128
_LAST_SIGNAL = 64
PARTING_SECONDS = 5.0
"""How long a process stays that was told to stop and has failed: as it goes, srun has all others ended, and with them
the mounts of their images, which is a bus error to a launcher's agent that is just about to leave.
"""
VICTIM = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
"""Signals that somebody else sends, when another rank has failed or the attempt is to stop."""


def supervise(argv: List[str], environ: Dict[str, str], record: str, facts: Dict[str, Any], stop: str = "") -> int:
    """Run to the end. Returns the exit code, 128 + n for signal n; where it is not 0, `record` appears. A rank that was
    ended together with this process is a victim, and one record of its node is enough. `stop`: the stop file, for a
    task of srun's.
    """
    passed_on = _Signals()
    try:
        child = subprocess.Popen(  # bytes: under the C locale Python 3.6 would refuse what is not ASCII
            [_bytes(word) for word in argv],
            env={_bytes(key): _bytes(value) for key, value in environ.items()},
            stderr=subprocess.PIPE,
            close_fds=False,  # srun hands MPI's process management over as an open file
        )
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126  # as a shell would say
        told = "%s: %s" % (argv[0], error.strerror)
        tell(told)
        _write(record, facts, code, told)
        return code
    passed_on.to(child)
    tail = _Tail(child)
    code = passed_on.until_the_end()
    tail.join(_DRAIN_SECONDS)  # a process left behind may hold the pipe open
    if code < 0:
        code = _SHELL_SIGNAL - code
    if code and not (passed_on.ended and ended_by(code) in VICTIM and _spoken(record, facts, code, tail.text())):
        _write(record, facts, code, tail.text())
    if code and stop and os.path.exists(stop):
        passed_on.wait(PARTING_SECONDS)
    return public(code)


class _Tail(threading.Thread):
    """Passes a process's standard error on, and keeps its end."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True)
        self._child = child
        self._kept = b""
        self.start()

    def run(self) -> None:
        source = self._child.stderr
        assert source is not None  # noqa: S101 -- it was asked for
        while True:
            chunk = os.read(source.fileno(), 65536)
            if not chunk:
                return
            self._kept = (self._kept + chunk)[-TAIL_BYTES:]
            try:
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
            except OSError:
                pass  # nobody reads the log any more; the trainer must not block

    def text(self) -> str:
        return self._kept.decode("utf-8", "ignore")


class _Signals:
    """Passes TERM and INT on to a process, those too that came before it was there. USR1 and USR2 are for trainers, and
    would end this process: nothing is done about them.
    """

    def __init__(self) -> None:
        self._child: "Optional[subprocess.Popen[bytes]]" = None
        self._early: List[int] = []
        self.ended = False  # whether somebody wants this process to end, and so the other
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda caught, _: self._take(caught))
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)

    def to(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        for number in self._early:
            self._take(number)

    def until_the_end(self) -> int:
        """The process's return code. The kernel may give a signal to any thread; Python acts on it in this one, which a
        waitpid would leave asleep. Each signal, the end of the process too, is told through the pipe.
        """
        assert self._child is not None  # noqa: S101 -- it was handed over
        while self._child.poll() is None:
            select.select([self._woken], [], [])
            os.read(self._woken, 4096)
        return int(self._child.returncode)

    def wait(self, seconds: float) -> None:
        """Until somebody wants this process to end, or for so long."""
        until = time.monotonic() + seconds
        while not self.ended and time.monotonic() < until:
            if select.select([self._woken], [], [], max(until - time.monotonic(), 0.0))[0]:
                os.read(self._woken, 4096)

    def _take(self, number: int) -> None:
        self.ended = True
        if self._child is None:
            self._early.append(number)
        elif self._child.poll() is None:
            self._child.send_signal(number)


def fault(record: str, facts: Dict[str, Any], text: str, code: int = SITE_FAULT) -> int:
    """Say, and write down, that the site did not let the trainer begin; `ours` tells the code from a trainer's."""
    tell(text)
    _write(record, dict(facts, ours=True), code, text)
    return code


def _bytes(text: str) -> bytes:
    """What the environment brought in another encoding goes out as it came."""
    return text.encode("utf-8", "surrogateescape")


def _told(facts: Dict[str, Any], code: int, text: str) -> Dict[str, Any]:
    return dict(facts, code=code, signal=ended_by(code), time=time.time(), err=text)


def _write(record: str, facts: Dict[str, Any], code: int, text: str) -> None:
    try:
        write_json(record, _told(facts, code, text))
    except OSError as error:
        tell("%s can't be written: %s" % (record, error))


def _spoken(record: str, facts: Dict[str, Any], code: int, text: str) -> bool:
    """Whether a rank of this node that is a victim has left its record, this one where it is the first: a file is made
    once. It is read after all have ended, so it need not appear whole; one that was cut short is no word of its node.
    """
    node = facts.get("node")
    if not node or facts["rank"] is None:  # an agent is alone on its node, and tells less than a rank
        return False
    path = os.path.join(os.path.dirname(record), "node-%s.json" % node)
    if os.path.exists(path):  # which a node mostly remembers, while to make a file asks the server
        return True
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(_told(facts, code, text), file, sort_keys=True)
    except FileExistsError:
        return True
    except OSError as error:
        tell("%s can't be written: %s" % (path, error))
        return False
    return True


def ended_by(code: int) -> Optional[int]:
    """The signal that an exit code tells of, as shells and containers write it; None where it tells of none."""
    return code - _SHELL_SIGNAL if _SHELL_SIGNAL < code <= _SHELL_SIGNAL + _LAST_SIGNAL else None
