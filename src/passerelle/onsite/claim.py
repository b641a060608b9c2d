"""The fence: of all jobs that ever carry this attempt's marker, one runs the trainer.

A claim appears with its content: a directory that holds owner.json is renamed to the claim's name, which fails where
one stands. A bare mkdir would lose jobs to a crash between mkdir and write, and to an NFS server that answers a
retransmitted mkdir with "exists". Whoever fails reads the owner: the same job goes on, a requeued one takes the claim
over, any other is a duplicate. A later attempt's claim ends an earlier attempt, at its start and, by the watcher, while
it runs. The watcher looks for the operator's stop request, too, which not every gateway can tell by a signal. It begins
at a random moment of its period: thousands of jobs may have begun in the same second, and would look in the same one.
"""

import json
import math
import os
import re
import signal
import sys
import time
from typing import Dict, List, Optional, Union

from passerelle.onsite.codes import DUPLICATE, SITE_FAULT
from passerelle.onsite.files import read_json, scontrol, tell, write_json
from passerelle.onsite.jitter import within
from passerelle.onsite.places import stop_request

Owner = Dict[str, Union[str, int]]

_TAKEN = {"fresh": "begins in", "same": "goes on in", "requeued": "begins again in the requeued"}
"""How the claim was got, in words for the reader of the job's log."""

_TRIES = 5
_PAUSE_SECONDS = 3
_REQUEST_SECONDS = 5.0
"""Between two looks for a stop request: one stat, while to see who has the claim takes a listing and a read."""


class Lost(Exception):
    """The claim belongs to another job, or a later attempt has begun."""


class Unknown(Exception):
    """It can't be told whose the claim is."""


def take(run: str, attempt: int, me: Owner) -> str:
    """Get the claim, or raise Lost or Unknown. Tells how it was got: fresh, same, requeued."""
    claim = _claim(run, attempt)
    new = "%s.%s-%s-%d" % (claim, me["jobId"], me["restartCount"], os.getpid())
    os.makedirs(new)
    write_json(os.path.join(new, "owner.json"), me)
    try:
        os.rename(new, claim)
        how = "fresh"
    except OSError:
        _discard(new)
        how = _compare(claim, me)  # after a retransmit the owner may be this very job
    higher = later(run, attempt)
    if higher:
        raise Lost("attempt %d has begun" % higher)
    return how


def later(run: str, attempt: int) -> Optional[int]:
    """The highest later attempt that has a claim."""
    found = [re.match(r"claim-([0-9]+)$", name) for name in os.listdir(run)]
    numbers = [int(each.group(1)) for each in found if each]
    return max([number for number in numbers if number > attempt] or [0]) or None


def superseded(run: str, attempt: int, me: Owner) -> Optional[str]:
    """Why this job must end, or None. What can't be read ends nothing."""
    try:
        higher = later(run, attempt)
    except OSError:
        return None
    if higher:
        return "attempt %d has begun" % higher
    owner = read_json(os.path.join(_claim(run, attempt), "owner.json"))
    if owner and not _is(owner, me):
        return "job %s, restart %s, has taken over" % (owner.get("jobId"), owner.get("restartCount"))
    return None


def who() -> Owner:
    """This job: its id from the environment, its submit time as the site tells it, "" where it does not tell."""
    environ = os.environ
    job_id = environ["SLURM_JOB_ID"]
    return {
        "cluster": environ.get("SLURM_CLUSTER_NAME", ""),
        "jobId": job_id,
        "restartCount": int(environ.get("SLURM_RESTART_COUNT") or 0),
        "submitTime": _submit_time(job_id),
    }


def _submit_time(job_id: str) -> str:
    for left in reversed(range(_TRIES)):
        code, said = scontrol("--oneliner", "show", "job", job_id)
        found = re.search(r"\bSubmitTime=(\S+)", said)
        if code == 0 and found:
            return found.group(1)
        if code == 127 or not left:  # noqa: PLR2004 -- the shell's code for a command that isn't there
            break
        pause = _PAUSE_SECONDS * (_TRIES - left)
        time.sleep(pause + within(pause))  # thousands that begin as slurmctld comes back don't ask together
    return ""


def _claim(run: str, attempt: int) -> str:
    return os.path.join(run, "claim-%d" % attempt)


def _compare(claim: str, me: Owner) -> str:
    path = os.path.join(claim, "owner.json")
    owner = read_json(path)
    if owner is None:
        raise Unknown("%s can't be read" % path)
    if (owner.get("cluster"), owner.get("jobId")) != (me["cluster"], me["jobId"]):
        raise Lost("job %s has the claim" % owner.get("jobId"))
    if int(me["restartCount"]) > int(owner.get("restartCount") or 0):
        write_json(path, me)  # an earlier life that still runs somewhere sees it, and ends
        return "requeued"
    if not me["submitTime"] or not owner.get("submitTime"):
        raise Unknown("the site does not tell this job's submit time")
    if _is(owner, me):
        return "same"
    raise Lost("an earlier job %s, submitted %s, has the claim" % (owner.get("jobId"), owner.get("submitTime")))


def _is(owner: Dict[str, Union[str, int]], me: Owner) -> bool:
    if any(owner.get(key) != me[key] for key in ("cluster", "jobId", "restartCount")):
        return False
    return not me["submitTime"] or owner.get("submitTime") == me["submitTime"]


def _discard(new: str) -> None:
    try:
        os.unlink(os.path.join(new, "owner.json"))
        os.rmdir(new)
    except OSError:
        pass  # renamed after all, or left behind: it names no claim


def _take(run: str, attempt: int, own: str) -> int:
    me = who()
    try:
        tell("attempt %d %s job %s" % (attempt, _TAKEN[take(run, attempt, me)], me["jobId"]))
        write_json(own, me)
    except Lost as why:
        tell("this job is a duplicate and leaves: %s" % why)
        return DUPLICATE
    except (Unknown, OSError) as why:
        tell("the claim can't be taken: %s" % why)
        return SITE_FAULT
    return 0


def _watch(run: str, attempt: int, own: str, pid: int, grace: int, period: float) -> int:
    with open(own, encoding="utf-8") as file:
        me = json.load(file)
    request = stop_request(run, attempt) if grace else ""
    pause = min(period, _REQUEST_SECONDS)
    began = time.monotonic()
    look = began + within(period)
    ask = began + within(pause) if request else math.inf
    while os.getppid() == pid:  # it ends with the batch shell
        now = time.monotonic()
        if now >= look:
            look = now + period
            why = superseded(run, attempt, me)
            if why:
                tell("this job ends its steps: %s" % why)
                os.kill(pid, signal.SIGUSR2)
                break
        if now >= ask:
            ask = now + pause
            if os.path.exists(request):
                tell("the operator asks this attempt to save and stop")
                os.kill(pid, signal.SIGUSR1)
                ask = math.inf
        time.sleep(max(min(look, ask) - time.monotonic(), 0.0))
    return 0


def main(argv: List[str]) -> int:
    """`take RUN ATTEMPT OWN`, or `watch RUN ATTEMPT OWN PID GRACE SECONDS`; OWN is where this job's identity is kept,
    and nobody asks an attempt to stop that has no GRACE.
    """
    verb, run, attempt, own = argv[0], argv[1], int(argv[2]), argv[3]
    if verb == "watch":
        return _watch(run, attempt, own, int(argv[4]), int(argv[5]), float(argv[6]))
    return _take(run, attempt, own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
