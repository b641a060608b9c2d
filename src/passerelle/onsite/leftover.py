"""What pulls leave behind that were killed, and who removes it: whoever pulls the same image next.

The rootfs of an image may have hundreds of thousands of files, for which no signal leaves the time. The names say whose
they are. Whoever has the image's lock is the only one who pulls it, but on some file systems a lock holds for its own
node alone: so Slurm is asked, too, and only what belongs to a job of this cluster that has ended is removed.
"""

import os
import re
import shutil
from contextlib import suppress
from typing import Iterator, Tuple

from passerelle.onsite.files import scontrol, tell

_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)
_FORGOTTEN = "Invalid job id"


def names(image: str) -> Tuple[str, str]:
    """Where this job puts the image until it is whole, and what is needed meanwhile."""
    own = "%s.%s-%s" % (image, os.environ.get("SLURM_CLUSTER_NAME", ""), os.environ["SLURM_JOB_ID"])
    return own + ".new", own + ".work"


def sweep(image: str) -> None:
    """Remove what jobs have left that wanted this image, and have ended. Nothing fails over it."""
    with suppress(OSError):
        for path, job in _of_others(image):
            if _has_ended(job):
                tell("removing %s, which job %s has left" % (path, job))
                _remove(path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)


def _of_others(image: str) -> Iterator[Tuple[str, str]]:
    folder, name = os.path.split(image)
    cluster, own = os.environ.get("SLURM_CLUSTER_NAME", ""), os.environ["SLURM_JOB_ID"]
    pattern = re.compile(r"%s\.%s-([0-9]+)\.(?:new|work)" % (re.escape(name), re.escape(cluster)))
    for each in os.listdir(folder):
        found = pattern.fullmatch(each)
        if found and found.group(1) != own:
            yield os.path.join(folder, each), found.group(1)


def _has_ended(job: str) -> bool:
    """Whether Slurm says so; what it does not tell is taken for a job that lives."""
    code, said = scontrol("--oneliner", "show", "job", job)
    if code:
        return _FORGOTTEN in said
    states = re.findall(r"\bJobState=(\w+)", said)
    return bool(states) and all(each in _ENDED for each in states)
