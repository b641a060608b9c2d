"""Makes a SIF of a registry's image, once for all jobs that name the same digest.

Under the run root many jobs may want it at the same time: one pulls, under a lock that the kernel releases when its
holder dies, and the others wait for what it makes. Where the file system has no locks, several pull, and the last
rename counts: all of them bring the same. The SIF appears whole or not at all.
"""

import base64
import fcntl
import os
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, List

from passerelle.onsite.codes import IMAGE_NOT_FOUND
from passerelle.onsite.fault import report
from passerelle.onsite.files import read_json, tell
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


def main(argv: List[str]) -> int:
    """`pull SPEC`, on a node, as a step of the job."""
    spec = read_json(argv[0])
    if spec is None:
        return report("%s can't be read" % argv[0])
    container = spec["container"]
    image = container["image"]
    try:
        os.makedirs(os.path.dirname(image), exist_ok=True)
        with open(image + ".lock", "w") as held:
            try:
                fcntl.lockf(held, fcntl.LOCK_EX)
            except OSError as error:
                tell("%s.lock can't be locked: %s" % (image, error.strerror))
            return 0 if os.path.exists(image) else pull(container)
    except OSError as error:
        return report("%s can't be made: %s" % (image, error.strerror))


def pull(container: Dict[str, Any]) -> int:
    """Fetch it beside its place, with caches of its own that go with it, and rename it."""
    image = container["image"]
    new, work = ("%s.%s.%s" % (image, os.environ["SLURM_JOB_ID"], word) for word in ("new", "work"))
    who = login()
    environ = dict(os.environ)
    for prefix in ("APPTAINER", "SINGULARITY"):
        if who:
            environ.update({prefix + "_DOCKER_USERNAME": who[0], prefix + "_DOCKER_PASSWORD": who[1]})
        environ.update({prefix + "_CACHEDIR": os.path.join(work, "cache"), prefix + "_TMPDIR": work})
    os.makedirs(work, exist_ok=True)
    tell("pulling %s" % container["pull"])
    try:
        done = subprocess.run(
            [container["binary"], "pull", "--force", new, container["pull"]],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode == 0:
            os.rename(new, image)
            return 0
    finally:
        shutil.rmtree(work, ignore_errors=True)
    said = done.stdout.decode("utf-8", "replace").strip()
    said = _redacted(said, who)
    tell(said)
    text = "%s can't be pulled: %s" % (container["pull"], said[-_SAID_BYTES:])
    if _NOT_THERE.search(said):
        return report(text, IMAGE_NOT_FOUND)
    return report(text)


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
