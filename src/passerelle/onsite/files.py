"""Files and processes as all of onsite/ touches them: whole or not at all, bytes as they are, never for ever."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Optional, Tuple

SCONTROL_SECONDS = 20
"""A scontrol that got no answer by then is as good as one that was refused."""
HURRY_SECONDS = 5
"""What a scontrol still gets when its caller has to end. An answer is worth a wait: a killed scontrol's request may
stand before the controller, which can take it up after the next one.
"""
_LOOK_SECONDS = 0.2


def tell(text: str) -> None:
    """A line in the job's log, which may lie on a full file system: then print() fails, and the exit code with it."""
    with suppress(OSError):
        os.write(2, ("passerelle: %s\n" % text).encode("utf-8", "replace"))


def write_json(path: str, value: Any) -> None:
    """Appear with its whole content, or not at all."""
    new = "%s.%d.new" % (path, os.getpid())
    with open(new, "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The object in a file, or None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def scontrol(*words: str, hurry: Callable[[], bool] = lambda: False) -> Tuple[int, str]:
    """Exit code and what it said, on either stream. 127 where there is no scontrol, 124 where it does not answer; then
    nothing of it is left, nor of what a site's wrapper started.

    Arguments are encoded here: under the C locale Python 3.6 would refuse what is not ASCII.
    """
    try:
        child = subprocess.Popen(
            [word.encode("utf-8") for word in ("scontrol", *words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 127, str(error)
    began = time.monotonic()
    deadline = began + SCONTROL_SECONDS
    with child:
        while True:
            try:
                said, _ = child.communicate(timeout=_LOOK_SECONDS)
                return child.returncode, said.decode("utf-8", "replace").strip()
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if hurry():
                deadline = min(deadline, now + HURRY_SECONDS)
            if now >= deadline:
                os.killpg(child.pid, signal.SIGKILL)
                return 124, "scontrol did not answer within %d s" % (now - began)
