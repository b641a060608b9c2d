"""Files and processes as all of onsite/ touches them: whole or not at all, bytes as they are, never for ever."""

import json
import os
import subprocess
from typing import Any, Dict, Optional, Tuple

SCONTROL_SECONDS = 20
"""A scontrol that got no answer by then is as good as one that was refused."""


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
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def scontrol(*words: str) -> Tuple[int, str]:
    """Exit code and what it said, on either stream. 127 where there is no scontrol, 124 where it does not answer.

    Arguments are encoded here: under the C locale Python 3.6 would refuse what is not ASCII.
    """
    argv = [word.encode("utf-8") for word in ("scontrol", *words)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SCONTROL_SECONDS,
            check=False,
        )
    except OSError as error:
        return 127, str(error)
    except subprocess.TimeoutExpired:
        return 124, "scontrol did not answer within %d s" % SCONTROL_SECONDS
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()
