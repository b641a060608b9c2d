"""The time limit, seen from within: when the attempt is told to stop, and when it is made to.

The stop file is what tells a trainer. Slurm's warning signal lets the batch script touch it; but not every door can ask
for one that spares the ranks (v0.0.38 can't, and slurmrestd passes over fields that it does not know), and nothing
tells the script whether its job has one. So this clock runs with every attempt that has a grace, and gives the same
signal a little later. From the stop file on, whoever touched it, it counts the grace, and then has the steps ended:
nobody must wait for Slurm's own kill, after which no comment can be written any more.
"""

import os
import re
import signal
import sys
import time
from contextlib import suppress
from typing import List, Optional

from passerelle.onsite.files import scontrol, tell

LEAD_SECONDS = 60
"""Of the time limit, what must be left beyond the grace: KillWait, 30 s by default, and the last words. Slurm's own
warning comes at least half a minute before that."""
_LOOK_SECONDS = 10.0
"""Between two looks for the stop file: a request to the metadata server each, of every job. So much later than its end
a grace may be told to be over, no more than its own length; but one that this clock has begun ends to the second."""
_END = re.compile(r"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


def end_time() -> Optional[int]:
    """When the site ends this job, in epoch seconds; None where it does not tell. It is asked anew each time, since an
    administrator may have given the job more time; what it told the job at its start is second best.
    """
    code, said = scontrol("--oneliner", "show", "job", os.environ["SLURM_JOB_ID"])
    found = _END.search(said) if code == 0 else None
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    first = int(told) if told.isdigit() else None
    return _epoch(found.group(1), first) if found else first


def _epoch(text: str, near: Optional[int]) -> int:
    """A time of the node's own zone. In the night in which clocks are set back an hour comes twice: then the one nearer
    to what the job was told at its start, else the earlier.
    """
    local = time.strptime(text, "%Y-%m-%dT%H:%M:%S")
    readings = []  # type: List[int]
    for is_dst in (1, 0):
        with suppress(OverflowError, ValueError):
            reading = int(time.mktime((*local[:8], is_dst)))
            if time.localtime(reading)[:6] == local[:6]:
                readings.append(reading)
    if not readings:
        return int(time.mktime(local))
    return min(readings, key=lambda reading: (0 if near is None else abs(reading - near), reading))


def watch(stop: str, grace: int, pid: int) -> None:
    """Signal the batch shell: USR1 when it is time to stop, TERM when the grace is over."""
    lead = grace + LEAD_SECONDS
    told = os.environ.get("PASSERELLE_DEADLINE", "")
    end = int(told) if told else None
    over = None  # type: Optional[float]
    look = min(_LOOK_SECONDS, grace)
    while os.getppid() == pid:  # it ends with the batch shell
        if over is None and os.path.exists(stop):
            over = time.monotonic() + grace
        if over is not None and time.monotonic() >= over:
            tell("the grace of %d s is over: the steps are ended" % grace)
            os.kill(pid, signal.SIGTERM)
            return
        if over is None and end is not None and time.time() >= end - lead:
            end = end_time() or end
            if time.time() >= end - lead:
                tell("the time limit is near: the trainers are told to stop")
                os.kill(pid, signal.SIGUSR1)
                over = time.monotonic() + grace
        due = look
        if over is not None:
            due = over - time.monotonic()
        elif end is not None:
            due = end - lead - time.time()
        time.sleep(max(min(due, look), 0.0))


def main(argv: List[str]) -> int:
    """`tell`, or `watch STOP GRACE PID`, where GRACE is in seconds."""
    if argv[0] == "watch":
        watch(argv[1], int(argv[2]), int(argv[3]))
        return 0
    end = end_time()
    print("" if end is None else end)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
