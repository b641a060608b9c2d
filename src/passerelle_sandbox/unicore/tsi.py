"""The sandbox's TSI: takes the server's commands inside the site, as the site's user. Runs on python3 alone.

The server connects, says on which of its ports it waits, and is called back twice: for commands, and for data. A
command is text up to ENDOFMESSAGE, in which lines #TSI_… say what is wanted; the answer begins with TSI_OK or with
TSI_FAILED. There is one user: whose identity the server names is not looked at.

Of jobs only raw ones are taken: the batch file as it stands, and below it a line that runs what the server sent.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

VERSION = "10.3.0"
"""Of the protocol: what UNICORE's own TSI of this version does."""
END = "ENDOFMESSAGE"
_HOST = "127.0.0.1"
_SECONDS = 60


class Failed(Exception):
    """The command failed; the text is the server's to read."""


def value(message: str, name: str, default: str = "") -> str:
    found = re.search(rf"^#TSI_{name} (.*)$", message, re.MULTILINE)
    return found[1] if found else default


def run(argv: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(argv)} failed with code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Worker(threading.Thread):
    """One pair of connections to the server."""

    def __init__(self, commands: socket.socket, data: socket.socket) -> None:
        super().__init__(daemon=True)
        self.lines = commands.makefile("r", encoding="utf-8", newline="\n")
        self.answers = commands.makefile("w", encoding="utf-8", newline="\n")
        self.data = data.makefile("rwb")

    def run(self) -> None:
        while (message := self.message()) is not None:
            name = next((name for name in COMMANDS if f"#TSI_{name}\n" in message), None)
            try:
                if name is None:
                    raise Failed("there is no such command here")
                said = COMMANDS[name](self, message)
                if said is not None:
                    self.say(f"TSI_OK\n{said}")
            except Failed as error:
                self.say(f"TSI_FAILED: {error}".replace("\n", ":"))
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                self.say(f"TSI_FAILED: {type(error).__name__}: {error}".replace("\n", ":"))
            self.say(END)

    def message(self) -> str | None:
        read: list[str] = []
        for line in self.lines:
            if line == f"{END}\n":
                return "".join(read)
            read.append(line)
        return None

    def say(self, text: str) -> None:
        self.answers.write(f"{text}\n")
        self.answers.flush()

    # Commands

    def ping(self, _: str) -> str:
        return VERSION

    def user(self, _: str) -> str:
        return f"home: {os.environ['HOME']}\nstatus: ok"

    def script(self, message: str) -> str:
        if "#TSI_DISCARD_OUTPUT true\n" in message:
            subprocess.Popen(["bash", "-c", message], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return ""
        return run(["bash", "-c", message])

    def submit(self, message: str) -> str:
        if value(message, "JOB_MODE") != "raw":
            raise Failed("the sandbox takes raw jobs only")
        place = Path(value(message, "USPACE_DIR"))
        name = secrets.token_hex(4)
        own, batch = place / f"UNICORE_Job_{name}", place / f"bss_submit_{name}"
        write(own, message)
        asked = (place / value(message, "JOB_FILE")).read_text(encoding="utf-8")
        write(batch, f"{asked}\n{own}\n")
        said = run(["sbatch", f"./{batch.name}"], cwd=place)
        found = re.search(r"Submitted\D*(\d+)", said)
        if not found:
            raise Failed(f"sbatch said: {said}")
        return found[1]

    def listing(self, _: str) -> str:
        words = (line.split() for line in run(["squeue", "-h", "-o", "%i %T %P"]).splitlines())
        rows = [f" {job} {STATES.get(state, 'UNKNOWN')} {queue} {state}\n" for job, state, queue in words]
        return "QSTAT\n" + "".join(rows)

    def details(self, message: str) -> str:
        said = run(["scontrol", "show", "jobid", value(message, "BSSID")])
        pairs = (word.split("=", 1) for word in said.split() if "=" in word)
        return json.dumps(dict(pairs))

    def abort(self, message: str) -> str:
        return run(["scancel", value(message, "BSSID")])

    def processes(self, _: str) -> str:
        return run(["ps", "-e"])

    def ls(self, message: str) -> None:
        path, mode = Path(value(message, "FILE")), value(message, "LS_MODE")
        self.say("TSI_OK\nSTART_LISTING")
        if mode == "A" or not path.is_dir():
            self.entry(path)
        else:
            self.folder(path, deep=mode == "R")
        self.say("END_LISTING")

    def folder(self, path: Path, *, deep: bool) -> None:
        for inside in sorted(path.iterdir()):
            if deep and inside.is_dir():
                self.folder(inside, deep=True)
                self.say("<")
            self.entry(inside)

    def entry(self, path: Path) -> None:
        """A line of what it is, and a line of what everybody may."""
        try:
            found = path.stat()
        except OSError:
            return
        letters = ["D" if stat.S_ISDIR(found.st_mode) else " "]
        letters += [word if os.access(path, how) else " " for word, how in (("R", 4), ("W", 2), ("X", 1))]
        letters.append("O" if found.st_uid == os.geteuid() else " ")
        shown = re.sub(r"[\r\n]", "?", str(path))
        self.say(f" {''.join(letters)} {found.st_size} {int(found.st_mtime)} {shown}")
        self.say(f"--{stat.filemode(found.st_mode)[1:]} {owners(found)}")

    def space(self, message: str) -> str:
        found = shutil.disk_usage(value(message, "FILE") or "/")
        return f"START_DF\nTOTAL {found.total}\nFREE {found.free}\nUSER -1\nEND_DF"

    def chunk_out(self, message: str) -> None:
        start, length = int(value(message, "START")), int(value(message, "LENGTH"))
        with Path(value(message, "FILE")).open("rb") as file:
            file.seek(start)
            content = file.read(length)
        self.say(f"TSI_OK\nTSI_LENGTH {len(content)}\n{END}")
        self.data.write(content)
        self.data.flush()

    def chunk_in(self, message: str) -> None:
        name, _, mode = value(message, "FILE").rpartition(" ")
        path = Path(name)
        with path.open("ab" if value(message, "FILESACTION") == "3" else "wb") as file:
            self.say(f"TSI_OK\n{END}")
            file.write(self.data.read(int(value(message, "LENGTH"))))
        path.chmod(int(mode, 8))

    def nothing(self, _: str) -> str:
        return ""

    def no_budget(self, _: str) -> str:
        return "-1"

    def no_lists(self, message: str) -> str:
        """There are no access control lists here, and the server may ask whether there are."""
        if value(message, "ACL_OPERATION") != "CHECK_SUPPORT":
            raise Failed("there are no access control lists here")
        return "false"

    def no_partitions(self, _: str) -> str:
        return "{}"


COMMANDS: dict[str, Callable[[Worker, str], str | None]] = {
    "PING": Worker.ping,
    "GET_USER_INFO": Worker.user,
    "EXECUTESCRIPT": Worker.script,
    "GETFILECHUNK": Worker.chunk_out,
    "PUTFILECHUNK": Worker.chunk_in,
    "LS": Worker.ls,
    "DF": Worker.space,
    "SUBMIT": Worker.submit,
    "GETSTATUSLISTING": Worker.listing,
    "GETPROCESSLISTING": Worker.processes,
    "GETJOBDETAILS": Worker.details,
    "ABORTJOB": Worker.abort,
    "HOLDJOB": Worker.nothing,
    "RESUMEJOB": Worker.nothing,
    "GET_COMPUTE_BUDGET": Worker.no_budget,
    "FILE_ACL": Worker.no_lists,
    "GET_PARTITIONS": Worker.no_partitions,
}
STATES = {
    **dict.fromkeys(("CONFIGURING", "PENDING", "RESV_DEL_HOLD", "REQUEUE_FED", "REQUEUE_HOLD"), "QUEUED"),
    **dict.fromkeys(("COMPLETING", "RUNNING", "SIGNALING", "STAGE_OUT"), "RUNNING"),
    **dict.fromkeys(("PREEMPTED", "STOPPED", "SUSPENDED"), "SUSPENDED"),
    **dict.fromkeys(
        ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"),
        "COMPLETED",
    ),
}


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)


def owners(found: os.stat_result) -> str:
    """User and group, by number where they have no name."""
    try:
        user = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        user = str(found.st_uid)
    try:
        return f"{user} {grp.getgrgid(found.st_gid).gr_name}"
    except KeyError:
        return f"{user} {found.st_gid}"


def main(port: int) -> None:
    with socket.create_server((_HOST, port)) as server:
        while True:
            caller, _ = server.accept()
            try:
                asked = caller.recv(1024).decode().split()
                caller.sendall(b"OK\n")
                if asked[:1] == ["newtsiprocess"]:
                    Worker(*(connected(int(asked[1])) for _ in range(2))).start()
            except OSError as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                caller.close()


def connected(port: int) -> socket.socket:
    """A connection to the server, which begins to listen a moment after it has asked for one."""
    return socket.create_connection((_HOST, port), timeout=10)


if __name__ == "__main__":
    os.umask(0o077)
    main(int(sys.argv[1]))
