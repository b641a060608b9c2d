"""The relay: reads what the trainer appends to its progress file, and posts it where the operator reads it.

It needs no network: the operator reads through the gateway. One process a job posts, at most once a period, and only
news. Where the site refuses comments (a plugin, a missing scontrol), it writes down why, goes on with the file, and
tries a comment again now and then: many a refusal was a moment's. It never ends the job. The batch script ends it by
TERM before the epilogue posts, and it leaves no scontrol behind: there is one writer at a time.
"""

import os
import signal
import sys
import time
from typing import List

from passerelle.onsite.files import read_json, tell, write_json
from passerelle.onsite.post import passing, to_comment, to_file
from passerelle.onsite.report import Progress

_PARENT_SECONDS = 5.0
"""Between two looks whether the batch shell lives: that costs nobody anything, while each opening of the progress file
is a request to the file system, so that is opened once a period."""
_LINE_BYTES = 65536
_REFUSED_SECONDS = 1800.0
"""Until a comment is tried again that was refused: a controller is asked once in that time by each job."""


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


def _ending() -> bool:
    """Whether TERM has come; it is blocked, so that it never falls between a scontrol and its keeper."""
    return signal.SIGTERM in signal.sigpending()


class Post:
    """Both ways out, and what became of them. A way that fails is tried again with the next news, or a period later;
    the comment long after, where the site does not say that its refusal passes.
    """

    def __init__(self, here: str) -> None:
        self._here = here
        self._next_comment = 0.0
        self._refused = ""
        self._said = ""

    def post(self, record: str) -> bool:
        """Whether all has been told that can be."""
        told = self._comment(record)
        why = to_file(record)
        if why and why != self._said:
            tell("progress can't be written: " + why)
        self._said = why or ""
        return told and why is None

    def _comment(self, record: str) -> bool:
        if time.monotonic() < self._next_comment:
            return True
        why = to_comment(record, _ending)
        if why is None:
            self._refused = ""
            return True
        if passing(why):
            return False
        self._next_comment = time.monotonic() + _REFUSED_SECONDS
        if why == self._refused:
            return True
        tell("progress can't be put into the job's comment: " + why)
        self._refused = why
        try:
            write_json(os.path.join(self._here, "comment-refused.json"), {"why": why, "time": time.time()})
        except OSError as error:
            tell("comment-refused.json can't be written: %s" % error)
        return True


def main(argv: List[str]) -> int:
    """`relay SPEC`, in the background of the batch script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    spec = read_json(argv[0])
    if spec is None:
        return 1
    period = spec["progressPeriod"]
    parent = os.getppid()
    out = Post(os.path.dirname(os.path.abspath(argv[0])))
    progress, tail = Progress(), Tail(os.environ["PASSERELLE_PROGRESS_FILE"])
    news, due = True, 0.0  # the first record says that the way is open, before the trainer has told anything
    while os.getppid() == parent and not _ending():
        if time.monotonic() >= due:
            due = time.monotonic() + period
            for line in tail.lines():
                news = progress.take(line) or news
            if news:
                news = not out.post(progress.record(time.time()))
        if signal.sigtimedwait([signal.SIGTERM], max(min(due - time.monotonic(), _PARENT_SECONDS), 0.0)):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
