"""Passes the stop on to a trainer that has asked for a signal.

Polling the stop file is enough for a trainer of one's own. One that stops on a signal registers: it writes its process
id and the signal's name, `4711 USR1`, to $PASSERELLE_SIGNAL_FILE. Only that process is signalled, once. A signal to a
whole step would reach the image's FUSE mount, too, and end the ranks with a bus error; torchrun's agent passes none on.
"""

import os
import signal
import threading
import time
from typing import Optional, Tuple

from passerelle.onsite.files import tell

VARIABLE = "PASSERELLE_SIGNAL_FILE"
_SIGNALS = ("HUP", "INT", "TERM", "USR1", "USR2", "CONT")
_LOOK_SECONDS = 2.0


def signal_file(here: str, rank: int) -> str:
    """Where a rank registers: one file each, so that it names a process of the node on which it is read."""
    return os.path.join(here, "signals", "rank-%d" % rank)


def attend(path: str) -> None:
    """Watch, in the background, for as long as this process lives."""
    threading.Thread(target=_attend, args=(path, os.environ["PASSERELLE_STOP_FILE"]), daemon=True).start()


def _attend(path: str, stop: str) -> None:
    while True:
        if os.path.exists(stop):
            asked = registered(path)
            if asked is not None:
                notify(path, *asked)
                return
        time.sleep(_LOOK_SECONDS)


def registered(path: str) -> Optional[Tuple[int, str]]:
    """Process id and signal, or None where nobody has registered."""
    try:
        with open(path, encoding="utf-8") as file:
            words = file.read(256).split()
    except (OSError, ValueError):
        return None
    if len(words) == 2 and words[0].isdigit():  # noqa: PLR2004 -- a process id and a signal
        return int(words[0]), words[1].upper().replace("SIG", "", 1)
    return None


def notify(path: str, pid: int, name: str) -> None:
    """Signal the process, if it is the one that this file was given to: in a container with process ids of its own,
    the number means another one here.
    """
    if name not in _SIGNALS:
        tell("%s asks for the signal %s; it may be %s" % (path, name, ", ".join(_SIGNALS)))
        return
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            known = ("%s=%s" % (VARIABLE, path)).encode("utf-8") in file.read().split(b"\0")
        if not known:
            tell("process %d, which %s names, is not the trainer: it gets no signal" % (pid, path))
            return
        os.kill(pid, getattr(signal, "SIG" + name))
    except OSError as error:
        tell("process %d, which %s names, can't be signalled: %s" % (pid, path, error.strerror))
