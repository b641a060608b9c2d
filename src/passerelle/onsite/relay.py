"""The relay: reads what the trainer appends to its progress file, and posts it where the operator reads it.

It needs no network: the operator reads through the gateway. One process a job posts, at most once a period, and only
news. A comment is a request to slurmctld, so it has a longer period than the file, and where nobody could read one none
is written; only the first word of the trainer's own never waits. After a maintenance thousands of jobs begin at once:
what follows that word waits once for a random part of a period, so that their requests spread. Where the site refuses
comments (a plugin, a missing scontrol), it writes down why, goes on with the file, and tries a comment again now and
then: many a refusal was a moment's. It never ends the job. The batch script ends it by TERM before the epilogue posts,
and it leaves no scontrol behind: there is one writer at a time.
"""

import os
import signal
import sys
import time
from typing import List, Optional

from passerelle.onsite.files import read_json, tell, write_json
from passerelle.onsite.jitter import within
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
    """Both ways out, and what became of them. A way that fails is tried again a period of its own later; the comment
    long after, where the site does not say that its refusal passes. Without `comment_period` there is the file alone.
    `lag` is how much later than its turn the comment comes that follows a job's first, or its trainer's first word.
    """

    def __init__(self, here: str, comment_period: Optional[float], lag: float = 0.0) -> None:
        self._here = here
        self._comment_period = comment_period
        self._lag = lag
        self._news()
        self._next_comment = 0.0
        self._begun = False
        self._refused = ""
        self._said = ""

    def _news(self) -> None:
        self._to_comment, self._to_file = self._comment_period is not None, True

    def post(self, progress: Progress, now: float, *, news: bool) -> None:
        """Tell what is there to whoever has not been told; `now` is when this period began."""
        if news:
            self._news()
        begins = bool(progress.values or progress.metrics) and not self._begun and not self._refused
        if self._to_comment and (now >= self._next_comment or begins):
            first = begins or not self._next_comment
            self._begun = self._begun or begins
            self._to_comment = not self._comment(progress.record(time.time()), now)
            self._next_comment += self._lag if first else 0.0
        if self._to_file:
            why = to_file(progress.record(time.time()))
            if why and why != self._said:
                tell("progress can't be written: " + why)
            self._said = why or ""
            self._to_file = why is not None

    def _comment(self, record: str, now: float) -> bool:
        """Whether it was taken."""
        self._next_comment = now + (self._comment_period or 0)
        why = to_comment(record, _ending)
        if why is None:
            self._refused = ""
            return True
        if passing(why):
            return False
        self._next_comment = now + max(_REFUSED_SECONDS, self._comment_period or 0)
        if why == self._refused:
            return False
        tell("progress can't be put into the job's comment: " + why)
        self._refused = why
        try:
            write_json(os.path.join(self._here, "comment-refused.json"), {"why": why, "time": time.time()})
        except OSError as error:
            tell("comment-refused.json can't be written: %s" % error)
        return False


def main(argv: List[str]) -> int:
    """`relay SPEC`, in the background of the batch script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    spec = read_json(argv[0])
    if spec is None:
        return 1
    period = spec["progressPeriod"]
    parent = os.getppid()
    lag, comment_period = within(period), spec["commentPeriod"]
    out = Post(os.path.dirname(os.path.abspath(argv[0])), comment_period, within(comment_period or 0))
    progress, tail = Progress(), Tail(os.environ["PASSERELLE_PROGRESS_FILE"])
    due = 0.0  # the first record says that the way is open, before the trainer has told anything
    while os.getppid() == parent and not _ending():
        now = time.monotonic()
        if now >= due:
            due = now + period
            told = [progress.take(line) for line in tail.lines()]
            out.post(progress, now, news=any(told))
            if progress.values or progress.metrics:  # no sooner: the trainer's first word must not wait
                due, lag = due + lag, 0.0
        if signal.sigtimedwait([signal.SIGTERM], max(min(due - time.monotonic(), _PARENT_SECONDS), 0.0)):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
