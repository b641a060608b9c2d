"""Passes the stop on to a trainer that has asked for a signal.

Polling the stop file is enough for a trainer of one's own. One that stops on a signal registers: it writes its process
id and the signal's name, `4711 USR1`, to $PASSERELLE_SIGNAL_FILE. Only that process is signalled, once. A signal to a
whole step would reach the image's FUSE mount, too, and end the ranks with a bus error; torchrun's agent passes none on.

On a parallel file system each look costs the metadata server a request, and a job may have thousands of ranks. So one
rank of each node looks: the one that has a seat, a socket whose name only one process of the node can have. The others
wait at it without asking anybody. It is closed when the file is there, or by the kernel when its holder ends: then each
looks for itself, and where there is no file the next one sits down. The name lies in no file system, since what a
container sees of /tmp is the site's affair.
"""

import hashlib
import os
import signal
import socket
import struct
import threading
import time
from typing import Optional, Tuple

from passerelle.onsite.files import tell

VARIABLE = "PASSERELLE_SIGNAL_FILE"
_SIGNALS = ("HUP", "INT", "TERM", "USR1", "USR2", "CONT")
_LOOK_SECONDS, _MOST_SECONDS = 2.0, 10.0
"""Between two looks: at first, and at last, since most stops come hours after the start."""
_WAITING = 512
"""Ranks of a node that may wait at once; the kernel may allow fewer, and has the rest wait for their turn to wait."""
_PEER = struct.Struct("3i")
"""SO_PEERCRED: process, user and group."""


def signal_file(here: str, rank: int) -> str:
    """Where a rank registers: one file each, so that it names a process of the node on which it is read."""
    return os.path.join(here, "signals", "rank-%d" % rank)


def attend(path: str) -> None:
    """Watch, in the background, for as long as this process lives."""
    threading.Thread(target=_attend, args=(path, os.environ["PASSERELLE_STOP_FILE"]), daemon=True).start()


def _attend(path: str, stop: str) -> None:
    await_stop(stop)
    pause = _LOOK_SECONDS
    while True:
        asked = registered(path)
        if asked is not None:
            notify(path, *asked)
            return
        time.sleep(pause)
        pause = _longer(pause)


def await_stop(stop: str) -> None:
    """Return when the stop file is there; of all that wait for it on this node one looks."""
    name = "\0passerelle-" + hashlib.sha256(stop.encode("utf-8", "surrogateescape")).hexdigest()
    pause = _LOOK_SECONDS
    while not os.path.exists(stop):
        seat = _seat(name)
        if seat is None:
            if not _another_looked(name):
                time.sleep(pause)
                pause = _longer(pause)
            continue
        with seat:
            while not os.path.exists(stop):
                time.sleep(pause)
                pause = _longer(pause)


def _longer(pause: float) -> float:
    return min(pause + 1, _MOST_SECONDS)


def _seat(name: str) -> Optional[socket.socket]:
    """The seat of whoever looks; None where another process of this node has it."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(name)
        made.listen(_WAITING)
    except OSError:
        made.close()
        return None
    return made


def _another_looked(name: str) -> bool:
    """Wait until the seat is given up. False where it isn't one of ours: on a node that jobs share, anybody may take a
    name.
    """
    with socket.socket(socket.AF_UNIX) as mine:
        try:
            mine.connect(name)
            _, user, _ = _PEER.unpack(mine.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if user != os.geteuid():
                return False
            mine.recv(1)
        except ConnectionResetError:
            return True
        except OSError:
            return False
    return True


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
