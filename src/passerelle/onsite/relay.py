"""The relay: reads what the trainer appends to its progress file, and puts it into the job's own comment.

It needs no network: the operator reads the comment through the gateway. One process a job posts, at most once a period,
and only news. Where the site refuses (a plugin, a missing scontrol), it writes down why and stops. It never ends the
job. The batch script ends it by TERM before the epilogue posts, and it leaves no scontrol behind: there is one writer
at a time.
"""

import os
import signal
import sys
import time
from typing import Callable, List, Optional

from passerelle.onsite.files import read_json, scontrol, tell, write_json
from passerelle.onsite.report import Progress

_LOOK_SECONDS = 1.0
_LINE_BYTES = 65536
_TRANSIENT = ("did not answer", "unable to contact", "timed out", "try again", "temporarily")
"""Of scontrol's complaints, those that pass: the controller restarts or is busy."""


class Tail:
    """The whole lines that were appended to a file since the last look. A line that is too long is passed over."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def lines(self) -> List[str]:
        """What is new; nothing while there is no file. Opened for each look: NFS shows news to those who open."""
        found: List[str] = []
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                for chunk in iter(lambda: file.read(_LINE_BYTES), b""):
                    *whole, rest = (self._rest + chunk).split(b"\n")
                    found += [line.decode("utf-8", "replace") for line in whole if len(line) <= _LINE_BYTES]
                    self._rest = rest[: _LINE_BYTES + 1]
                self._read = file.tell()
        except OSError:
            pass  # not there yet; or the next look finds it
        return found


def post(job_id: str, record: str, hurry: Callable[[], bool] = lambda: False) -> Optional[str]:
    """Put the record into the comment. None, or why not."""
    code, said = scontrol("update", "JobId=" + job_id, "Comment=" + record, hurry=hurry)
    return None if code == 0 else said or "scontrol ended with %d" % code


def passing(why: str) -> bool:
    """Whether a refusal is the moment's: the next period may try again."""
    return any(word in why.lower() for word in _TRANSIENT)


def _ending() -> bool:
    """Whether TERM has come; it is blocked, so that it never falls between a scontrol and its keeper."""
    return signal.SIGTERM in signal.sigpending()


def main(argv: List[str]) -> int:
    """`relay SPEC`, in the background of the batch script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    spec = read_json(argv[0])
    if spec is None:
        return 1
    here, job_id, period = os.path.dirname(os.path.abspath(argv[0])), os.environ["SLURM_JOB_ID"], spec["progressPeriod"]
    parent = os.getppid()
    progress, tail = Progress(), Tail(os.environ["PASSERELLE_PROGRESS_FILE"])
    news, due = True, 0.0  # the first record says that the way is open, before the trainer has told anything
    while os.getppid() == parent and not _ending():
        for line in tail.lines():
            news = progress.take(line) or news
        if news and time.monotonic() >= due:
            due = time.monotonic() + period
            why = post(job_id, progress.record(time.time()), _ending)
            news = why is not None
            if why is not None and not passing(why):
                tell("progress can't be reported: " + why)
                try:
                    write_json(os.path.join(here, "relay-stopped.json"), {"why": why, "time": time.time()})
                except OSError as error:
                    tell("relay-stopped.json can't be written: %s" % error)
                return 0
        if signal.sigtimedwait([signal.SIGTERM], _LOOK_SECONDS):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
