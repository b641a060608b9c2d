"""The namespace of a site, from outside: started once, entered for every command, ended with its init.

A namespace is known by its init's pid and start time. Its processes are found by the namespace that they are in, so a
signal to slurmctld reaches this site's slurmctld and no other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import processes, say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENTER_TIMEOUT = 10.0
_GRACE = 5.0
_TIMED_OUT = (124, -9)
"""How timeout(1) ends when the command ended by the first signal, or had to be killed."""

_USER_NAMESPACES = (  # setting, the value that forbids, one that allows
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu's default since 24.04
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """`started` is the init's start time: together with the pid it is never reused. `marks` is every process's mark."""

    init_pid: int
    started: str
    marks: Mapping[str, str]

    def alive(self) -> bool:
        return processes.start_time(self.init_pid) == self.started

    def path(self, inside: str) -> Path:
        """A file of the site, as this machine can reach it."""
        return Path(f"/proc/{self.init_pid}/root") / inside.lstrip("/")

    def run(
        self, argv: Sequence[str], user: str | None = None, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root or as a user, to its end; a SandboxError where it does not end in time."""
        limited = ["timeout", f"--kill-after={_GRACE}", str(timeout), *_as(user), *argv]
        started = time.monotonic()
        try:
            done = subprocess.run(
                self._entering(limited),
                env=self._environment(user),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout + 2 * _GRACE,
            )
        except subprocess.TimeoutExpired:
            done = None
        if done is None or (done.returncode in _TIMED_OUT and time.monotonic() - started >= timeout):
            raise SandboxError(f"{' '.join(argv)} did not end within {timeout:.0f} s in the site.")
        return subprocess.CompletedProcess(list(argv), done.returncode, done.stdout, done.stderr)

    def spawn(self, argv: Sequence[str], log: str, user: str | None = None) -> None:
        """Start a daemon that outlives this process; what it says goes to a file of the site."""
        shell = ["setsid", "--fork", "sh", "-c", 'exec "$@" >> "$0" 2>&1 < /dev/null', log, *_as(user), *argv]
        subprocess.run(self._entering(shell), env=self._environment(user), check=True, timeout=ENTER_TIMEOUT)

    def wait_until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Look until it holds; a SandboxError at once where the namespace has ended, else where it does not in time."""

        def holds() -> bool:
            if not self.alive():
                raise SandboxError(f"The site's init has ended while one waited for {what}.")
            return condition()

        wait_until(holds, timeout, what)

    def pids(self, command: str) -> list[int]:
        """The host's pids of the site's processes that were started by this name, or bear it. A daemon that started
        itself anew, as Slurm's do at `scontrol reconfigure`, bears its file's name; sshd's argument is a sentence.
        """
        if not self.alive():
            return []
        own = _namespace_of(self.init_pid)
        return [pid for pid in _pids() if _namespace_of(pid) == own and command in _names(pid)]

    def signal(self, command: str, sign: signal.Signals) -> None:
        for pid in self.pids(command):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def end(self) -> None:
        """Kill the init, and with it every process of the namespace; the kernel takes the mounts."""
        if self.alive():
            os.kill(self.init_pid, signal.SIGKILL)
        wait_until(lambda: not self.alive(), ENTER_TIMEOUT, "the site's init to end")

    def _entering(self, argv: Sequence[str]) -> list[str]:
        if not self.alive():
            raise SandboxError("The site is down: its init has ended.")
        return ["nsenter", f"--target={self.init_pid}", "--mount", "--pid", "--uts", "--", *argv]

    def _environment(self, user: str | None) -> dict[str, str]:
        return environment(self.marks) | ({"HOME": f"/home/{user}", "USER": user, "LOGNAME": user} if user else {})


def enter(layers: Sequence[Path], state: Path, image: Path | None, marks: Mapping[str, str]) -> Namespace:
    """Start the init of a site, whose root file system is these, the uppermost first; it outlives this process."""
    script = str(Path(__file__).with_name("enter.sh"))
    pid_file = state / "init.pid"
    pid_file.unlink(missing_ok=True)
    log = state / "log" / "init.log"
    argv = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "bash", script]
    argv[0] = shutil.which(argv[0]) or argv[0]
    unshare = processes.spawn(
        [*argv, ":".join(map(str, layers)), str(state), str(image or "")],
        log=log,
        env=environment(marks),
    )

    def ready() -> bool:
        if processes.start_time(unshare) is None:
            raise SandboxError(f"The site's namespace can't be made: {say.last_words(log, 1)}")
        return pid_file.exists()

    try:
        wait_until(ready, ENTER_TIMEOUT, "the site's namespace")
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(unshare, signal.SIGKILL)
        raise
    pid = int(pid_file.read_text(encoding="utf-8"))
    return Namespace(pid, processes.start_time(pid) or "", dict(marks))


def refuse_without_user_namespaces(settings: Path = Path("/proc/sys")) -> None:
    """Apptainer without a set-uid helper needs what some machines keep from ordinary users."""
    for setting, forbids, allows in _USER_NAMESPACES:
        file = settings / setting.replace(".", "/")
        if file.exists() and file.read_text(encoding="ascii").strip() == forbids:
            raise SandboxError(
                f"This machine keeps user namespaces from ordinary users, and Apptainer needs them: "
                f"sysctl -w {setting}={allows}, or take a release without Apptainer: --slurm trixie."
            )


def environment(marks: Mapping[str, str]) -> dict[str, str]:
    """A plain environment and the marks: nothing of the caller's may change how a site behaves."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **marks}


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Look until it holds; a SandboxError where it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise SandboxError(f"Waited {timeout:.0f} s in vain for {what}.")
        time.sleep(0.05)


def _as(user: str | None) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespace_of(pid: int) -> str:
    with suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    return ""


def _names(pid: int) -> tuple[str, str]:
    """What it bears, and by what it was started."""
    with suppress(OSError):
        borne = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        started = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").partition("\0")[0]
        return borne, Path(started).name
    return "", ""
