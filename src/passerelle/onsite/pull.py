"""Makes a SIF of a registry's image, once for all jobs that name the same digest.

Under the run root many jobs may want it at the same time: one pulls, under a lock that the kernel releases when its
holder dies, and the others wait for what it makes. Where the file system has no locks, several pull, and the last
rename counts: all of them bring the same. The SIF appears whole or not at all. A registry that hangs costs the
allocation so long and no longer: waiting and pulling have one time limit together, which the plan names.

An image is unpacked on the node's own disk, where the plan knows of one. A job that is cancelled meanwhile removes what
it can before it is killed; the rest is left to the next one that pulls (leftover.py).
"""

import base64
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO, Any, Dict, List, Optional, Tuple

from passerelle.onsite.codes import IMAGE_NOT_FOUND
from passerelle.onsite.fault import report
from passerelle.onsite.files import read_json, tell
from passerelle.onsite.leftover import names, sweep
from passerelle.onsite.sealed import login

_NOT_THERE = re.compile(
    r"manifest unknown|name unknown|requested access to the resource is denied|unauthorized: (?:authentication required"
    r"|access to the requested resource is not authorized)|invalid username/password: unauthorized"
    r"|\b(?:status(?: code)?|http code|from registry)\W{0,3}404\b|\b404 \(?not found",
    re.IGNORECASE,
)
"""What registries say of an image that no other try will find. The rest is the network's or the node's, and may pass: a
directory may be denied, too, and a program not found.
"""
_SAID_BYTES = 300
_LOOK_SECONDS = 5.0
"""Between two tries to get the lock: the kernel's own wait has no end, and a signal would be needed to give it one."""
_DRAIN_SECONDS = 5.0
_ELSEWHERE = (errno.EAGAIN, errno.EACCES)
"""What says that another job has the lock."""
_OURS, _NONE = "ours", "none"
"""What there is of a lock when it is this job's turn."""
_ROOM_BYTES = 64 * 2**30
"""What must be free on a node's disk: an image of 20 GB has twice as much in files."""
_ENDED_BY_TERM = 143


def main(argv: List[str]) -> int:
    """`pull SPEC`, on a node, as a step of the job."""
    signal.signal(signal.SIGTERM, _leave)
    spec = read_json(argv[0])
    if spec is None:
        return report("%s can't be read" % argv[0])
    container = spec["container"]
    image, until = container["image"], time.monotonic() + container["pullSeconds"]
    try:
        os.makedirs(os.path.dirname(image), exist_ok=True)
        with open(image + ".lock", "w") as held:
            lock = _locked(held, image, until)
            if lock is None:
                waited = "another job that pulls it did not end within %d s" % container["pullSeconds"]
                return report("%s can't be pulled: %s." % (container["pull"], waited))
            if os.path.exists(image):
                return 0
            if lock == _OURS:  # beside the pull, which takes longer; what is left then waits for the next one
                threading.Thread(target=sweep, args=(image,), daemon=True).start()
            return pull(container, until)
    except OSError as error:
        return report("%s can't be made: %s" % (image, error.strerror))


def _leave(*_: object) -> None:
    """Slurm ends the job: what is under way is ended, and what it needed is removed. Slurm sends this once more, and
    kills after half a minute.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(_ENDED_BY_TERM)


def _locked(held: IO[str], image: str, until: float) -> Optional[str]:
    """It is this job's turn: the lock is ours, or there are none. None where the time is over."""
    while True:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                tell("%s.lock can't be locked: %s" % (image, error.strerror))
                return _NONE
        else:
            return _OURS
        left = until - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(left, _LOOK_SECONDS))


def pull(container: Dict[str, Any], until: float) -> int:
    """Fetch it beside its place, with caches of its own that go with it, and rename it."""
    image = container["image"]
    new, work = names(image)
    who = login()
    environ = dict(os.environ)
    for prefix in ("APPTAINER", "SINGULARITY"):
        if who:
            environ.update({prefix + "_DOCKER_USERNAME": who[0], prefix + "_DOCKER_PASSWORD": who[1]})
        environ[prefix + "_CACHEDIR"] = os.path.join(work, "cache")
    unpacked = work
    tell("pulling %s" % container["pull"])
    try:
        os.makedirs(work, exist_ok=True)
        unpacked = _on_a_disk(container.get("disks", [])) or work
        environ.update({"APPTAINER_TMPDIR": unpacked, "SINGULARITY_TMPDIR": unpacked})
        words = [container["binary"], "pull", "--force", new, container["pull"]]
        code, text = _run(words, environ, until - time.monotonic())
        if code == 0:
            os.rename(new, image)
            return 0
    finally:
        with suppress(OSError):
            os.unlink(new)
        for folder in (unpacked, work):
            shutil.rmtree(folder, ignore_errors=True)
    said = _redacted(text.strip(), who)
    if said:
        tell(said)
    if code is None:
        late = "it did not come within %d s" % container["pullSeconds"]
        return report("%s can't be pulled: %s." % (container["pull"], late))
    text = "%s can't be pulled: %s" % (container["pull"], said[-_SAID_BYTES:])
    if _NOT_THERE.search(said):
        return report(text, IMAGE_NOT_FOUND)
    return report(text)


def _on_a_disk(disks: List[List[str]]) -> Optional[str]:
    """A folder on the node's own disk, which the site's variable or its path leads to; None where neither has room."""
    for variable, path in disks:
        for each in (os.environ.get(variable, ""), path):
            with suppress(OSError):
                room = os.statvfs(each) if each else None
                if room and room.f_bavail * room.f_frsize >= _ROOM_BYTES:
                    return tempfile.mkdtemp(prefix="passerelle-", dir=each)
    return None


def _run(words: List[str], environ: Dict[str, str], seconds: float) -> Tuple[Optional[int], str]:
    """Exit code and what was said; None for the code where it did not end in time. Then nothing of it is left, nor of
    what it started.
    """
    with subprocess.Popen(
        words,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:
        try:
            said, _ = child.communicate(timeout=max(seconds, 0))
            return child.returncode, said.decode("utf-8", "replace")
        except subprocess.TimeoutExpired as late:
            said = late.output or b""
        except SystemExit:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
        os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # what has left its session may hold the pipe open
            said, _ = child.communicate(timeout=_DRAIN_SECONDS)
        return None, said.decode("utf-8", "replace")


def _redacted(said: str, who: List[str]) -> str:
    """Without the password, as it is and as HTTP carries it."""
    if len(who) != 2 or not who[1]:  # noqa: PLR2004 -- a user name and a password
        return said
    basic = base64.b64encode(":".join(who).encode("utf-8")).decode("ascii")
    for secret in (basic, basic.rstrip("="), who[1]):
        said = said.replace(secret, "[password]")
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
