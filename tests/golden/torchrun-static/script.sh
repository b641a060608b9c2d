#!/bin/bash
# Attempt 1 of TrainingJob team-a/llm, written by Passerelle.
set -uo pipefail
umask 027
fault() {
    echo "passerelle: $1" >&2
    exit 212
}

marker=psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-1
run=/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa
attempt=1
nodes=4
tasks=4
tasks_per_node=1
cpus_per_task=8
here=$run/attempt-$attempt-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
lib=$here/lib spec=$here/spec.json
mkdir -p "$lib/passerelle/onsite" || fault "$lib can't be made"
: > "$lib/passerelle/__init__.py"

cat > "$lib/__main__.py" <<'END_OF_FILE' || fault "$here can't be written"
"""Runs one module of this package: `python3 LIB claim ...`, where LIB is the folder that this file was written into."""

import runpy
import sys

if __name__ == "__main__":
    runpy.run_module("passerelle.onsite." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
END_OF_FILE
cat > "$lib/passerelle/onsite/__init__.py" <<'END_OF_FILE' || fault "$here can't be written"
"""What runs on the supercomputer: POSIX shell, bash and the standard library of Python 3.6, no dependency.

These files travel inside the script and lie in the attempt's directory; `python3 LIB NAME ARGUMENTS` runs one of them.
User strings come only from spec.json. Nothing here ends a job for a reason of its own, but the fence and a site at
fault.
"""
END_OF_FILE
cat > "$lib/passerelle/onsite/claim.py" <<'END_OF_FILE' || fault "$here can't be written"
"""The fence: of all jobs that ever carry this attempt's marker, one runs the trainer.

A claim appears with its content: a directory that holds owner.json is renamed to the claim's name, which fails where
one stands. A bare mkdir would lose jobs to a crash between mkdir and write, and to an NFS server that answers a
retransmitted mkdir with "exists". Whoever fails reads the owner: the same job goes on, a requeued one takes the claim
over, any other is a duplicate. A later attempt's claim ends an earlier attempt, at its start and, by the watcher, while
it runs.
"""

import json
import os
import re
import signal
import sys
import time
from typing import Dict, List, Optional, Union

from passerelle.onsite.codes import DUPLICATE, SITE_FAULT
from passerelle.onsite.files import read_json, scontrol, tell, write_json

Owner = Dict[str, Union[str, int]]

_TRIES = 5
_PAUSE_SECONDS = 3


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
        "jobId": int(job_id),
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
        time.sleep(_PAUSE_SECONDS)
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
        tell("claim %s" % take(run, attempt, me))
        write_json(own, me)
    except Lost as why:
        tell("this job is a duplicate and leaves: %s" % why)
        return DUPLICATE
    except (Unknown, OSError) as why:
        tell("the claim can't be taken: %s" % why)
        return SITE_FAULT
    return 0


def _watch(run: str, attempt: int, own: str, pid: int, period: float) -> int:
    with open(own, encoding="utf-8") as file:
        me = json.load(file)
    while os.getppid() == pid:  # it ends with the batch shell
        why = superseded(run, attempt, me)
        if why:
            tell("this job ends its steps: %s" % why)
            os.kill(pid, signal.SIGUSR2)
            break
        time.sleep(period)
    return 0


def main(argv: List[str]) -> int:
    """`take RUN ATTEMPT OWN`, or `watch RUN ATTEMPT OWN PID SECONDS`; OWN is where this job's identity is kept."""
    verb, run, attempt, own = argv[0], argv[1], int(argv[2]), argv[3]
    if verb == "watch":
        return _watch(run, attempt, own, int(argv[4]), float(argv[5]))
    return _take(run, attempt, own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$lib/passerelle/onsite/codes.py" <<'END_OF_FILE' || fault "$here can't be written"
"""Exit codes that a batch script keeps for itself: no trainer's exit is ever reported as one of them."""

SITE_FAULT = 212
"""The site did not let the attempt begin: no python3, no scontrol, a directory that can't be written, wrong tasks."""

DUPLICATE = 213
"""Another job holds this attempt's claim, or a later attempt has one: never an outcome of the attempt."""

RESERVED = (SITE_FAULT, DUPLICATE)


def public(code: int) -> int:
    """A trainer's exit code as the job may end with it."""
    return 1 if code in RESERVED else code
END_OF_FILE
cat > "$lib/passerelle/onsite/epilogue.py" <<'END_OF_FILE' || fault "$here can't be written"
"""The attempt's last word: which rank failed first, put into the job's comment and written down beside the log.

It may run in the short time that Slurm leaves between its first and its last signal: one scontrol, and no search.
Slurm takes no comment for a job that it has already cancelled or timed out; result.json has it then. Each step is done
whatever became of the others, and none of them changes the exit code.
"""

import os
import re
import sys
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

from passerelle.onsite.codes import SITE_FAULT, public
from passerelle.onsite.files import read_json, tell, write_json
from passerelle.onsite.relay import Tail, post
from passerelle.onsite.report import Progress
from passerelle.onsite.supervise import ended_by

_VICTIM = (9, 15)
"""Signals with which the others are ended when one has failed."""

_NAME = re.compile(r"(rank|agent)-[0-9]+\.json$")


def first_failure(folder: str) -> Optional[Dict[str, Any]]:
    """The earliest end that was nobody else's doing; a trainer's before its agent's; else the earliest of all."""
    found = [read_json(os.path.join(folder, name)) for name in os.listdir(folder) if _NAME.match(name)]
    ends = [each for each in found if each and _sound(each)]
    if not ends:
        return None
    return min(ends, key=lambda end: (end["signal"] in _VICTIM, end["rank"] is None, end["time"]))


def conclude(folder: str, code: int) -> Dict[str, Any]:
    """How the attempt ended: the first failing rank's word, or srun's own where no rank left one."""
    first = None
    if code:
        with _guarded("the ranks' ends can't be read"):
            first = first_failure(folder)
    return first or {"code": code, "signal": ended_by(code), "rank": None, "err": "", "time": time.time(), "ours": True}


def _sound(end: Dict[str, Any]) -> bool:
    """Whether a record is as supervise writes it: the folder is open to trainers, too."""
    return (
        _whole(end.get("code"), 1, 255)
        and (end.get("signal") is None or _whole(end["signal"], 1, 64))
        and (end.get("rank") is None or _whole(end["rank"], 0, 2**31))
        and isinstance(end.get("err"), str)
        and type(end.get("time")) in (int, float)
        and 0 <= end["time"] < 2**53
        and (not end.get("ours") or end["code"] == SITE_FAULT)
    )


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Tell what fails, and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- the epilogue may stumble over anything, the job over nothing
        tell("%s: %s: %s" % (what, type(error).__name__, error))


def main(argv: List[str]) -> int:
    """`epilogue SPEC CODE`, where CODE is srun's. Returns the code with which the job shall end, and prints it as its
    last word: the batch script believes no exit code without it. The comment comes first, for it is read from afar, and
    what failed may be the file system.
    """
    here, code, job_id = os.path.dirname(os.path.abspath(argv[0])), int(argv[1]), os.environ["SLURM_JOB_ID"]
    end, progress = conclude(os.path.join(here, "ends"), code), Progress()
    with _guarded("the progress can't be read"):
        for line in Tail(os.environ["PASSERELLE_PROGRESS_FILE"]).lines():
            progress.take(line)
    with _guarded("the end can't be reported"):
        why = post(job_id, progress.record(time.time(), end))
        if why is not None:
            tell("the end can't be reported: " + why)
    with _guarded("result.json can't be written"):
        result = dict(end, srun=code, jobId=job_id, progress=progress.values, metrics=progress.metrics)
        write_json(os.path.join(here, "result.json"), result)
    shall = int(end["code"]) if end.get("ours") else public(int(end["code"]))
    print(shall)
    return shall


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$lib/passerelle/onsite/files.py" <<'END_OF_FILE' || fault "$here can't be written"
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
END_OF_FILE
cat > "$lib/passerelle/onsite/prepare.py" <<'END_OF_FILE' || fault "$here can't be written"
"""The attempt's directory, made whole before anything reads it: the user's files, and folders for what comes."""

import base64
import os
import sys
from typing import List

from passerelle.onsite.files import read_json


def main(argv: List[str]) -> int:
    """`prepare SPEC`. A requeued job begins with an empty directory of its own."""
    here = os.path.dirname(os.path.abspath(argv[0]))
    spec = read_json(argv[0])
    if spec is None:
        return 1
    for name in ("ends", "work"):
        os.makedirs(os.path.join(here, name))
    for number in range(len(spec["folders"])):
        os.makedirs(os.path.join(here, "files", str(number)))
    for entry in spec["files"]:
        path = os.path.join(here, "files", str(entry["folder"]), entry["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(entry["data"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$lib/passerelle/onsite/rank.py" <<'END_OF_FILE' || fault "$here can't be written"
"""One Slurm task: says who it is, enters the container, runs the trainer or a launcher's agent, tells how it ended.

What the user wrote reaches the process as an argument vector and as environment values, never through a shell.
Apptainer needs --no-eval for that: without it, it evaluates $(...) in values.
"""

import os
import sys
from typing import Any, Dict, List

from passerelle.onsite.files import read_json
from passerelle.onsite.supervise import fault, supervise

_PASSED = ("SLURM_", "SLURMD_", "PMI_")
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Of the task's environment, what a trainer may need: who it is, and which GPUs Slurm gave it."""


def main(argv: List[str]) -> int:
    """`rank SPEC`, as a Slurm task."""
    path = os.path.abspath(argv[0])
    here, task = os.path.dirname(path), int(os.environ["SLURM_PROCID"])
    facts: Dict[str, Any] = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": None}
    spec = read_json(path)
    record = os.path.join(here, "ends", "%s-%d.json" % ("agent" if spec and spec["agent"] else "rank", task))
    if spec is None:
        return fault(record, facts, "%s can't be read on %s" % (path, facts["node"]))
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks != spec["tasks"]:
        # worlds of one, each of which believes that it is the whole, are the classic silent failure
        return fault(record, facts, "Slurm started %d tasks, the plan has %d" % (tasks, spec["tasks"]))
    own = identity(spec)
    words = list(spec["command"])
    if spec["agent"]:
        known = dict(own, NODE_RANK=os.environ["SLURM_NODEID"])
        words = [word.format(**known) for word in spec["agent"]] + [os.path.join(here, "lib"), "worker", path]
    else:
        facts["rank"] = task
    environ = dict(passed(), **spec["environment"])
    environ.update(own)
    words, environ = contained(spec, here, words, environ)
    return supervise(words, environ, record, facts)


def identity(spec: Dict[str, Any]) -> Dict[str, str]:
    """Who this process is, and the contract with the trainer."""
    environ = os.environ
    names = [name for name in environ if name.startswith("PASSERELLE_")] + ["MASTER_ADDR", "MASTER_PORT"]
    found = {name: environ[name] for name in names}
    if not spec["agent"]:
        found.update(
            RANK=environ["SLURM_PROCID"],
            LOCAL_RANK=environ["SLURM_LOCALID"],
            WORLD_SIZE=environ["SLURM_NTASKS"],
            LOCAL_WORLD_SIZE=str(spec["tasksPerNode"]),
            NODE_RANK=environ["SLURM_NODEID"],
        )
    return found


def passed() -> Dict[str, str]:
    """What of the task's own environment the trainer sees."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED) or name in _DEVICES}


def contained(
    spec: Dict[str, Any], here: str, words: List[str], environ: Dict[str, str]
) -> "tuple[List[str], Dict[str, str]]":
    """Argument vector and environment with the container around them, where the site has one."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "USER", "TMPDIR") if name in os.environ}
    container = spec["container"]
    work = spec["workingDir"] or os.path.join(here, "work")
    if container is None:
        os.chdir(work)
        return words, dict(base, **environ)
    argv = ["apptainer", "--quiet", "exec", "--cleanenv", "--no-eval", "--home", base["HOME"], "--pwd", work]
    argv += container["options"]
    for bind in container["binds"]:
        argv += ["--bind", bind]
    for number, folder in enumerate(spec["folders"]):
        argv += ["--bind", "%s:%s:ro" % (os.path.join(here, "files", str(number)), folder)]
    argv += [container["image"], *words]
    return argv, dict(base, **{"APPTAINERENV_" + name: value for name, value in environ.items()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$lib/passerelle/onsite/relay.py" <<'END_OF_FILE' || fault "$here can't be written"
"""The relay: reads what the trainer appends to its progress file, and puts it into the job's own comment.

It needs no network: the operator reads the comment through the gateway. One process a job posts, at most once a period,
and only news. Where the site refuses (a plugin, a missing scontrol), it writes down why and stops. It never ends the
job. The batch script ends it by TERM before the epilogue posts, and it leaves no scontrol behind: there is one writer
at a time.
"""

import os
import signal
import sys
import time
from typing import Callable, List, Optional

from passerelle.onsite.files import read_json, scontrol, tell, write_json
from passerelle.onsite.report import Progress

_LOOK_SECONDS = 1.0
_LINE_BYTES = 65536
_TRANSIENT = ("did not answer", "unable to contact", "timed out", "try again", "temporarily")
"""Of scontrol's complaints, those that pass: the controller restarts or is busy."""


class Tail:
    """The whole lines that were appended to a file since the last look. A line that is too long is passed over."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def lines(self) -> List[str]:
        """What is new; nothing while there is no file. Opened for each look: NFS shows news to those who open."""
        found: List[str] = []
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                for chunk in iter(lambda: file.read(_LINE_BYTES), b""):
                    *whole, rest = (self._rest + chunk).split(b"\n")
                    found += [line.decode("utf-8", "replace") for line in whole if len(line) <= _LINE_BYTES]
                    self._rest = rest[: _LINE_BYTES + 1]
                self._read = file.tell()
        except OSError:
            pass  # not there yet; or the next look finds it
        return found


def post(job_id: str, record: str, hurry: Callable[[], bool] = lambda: False) -> Optional[str]:
    """Put the record into the comment. None, or why not."""
    code, said = scontrol("update", "JobId=" + job_id, "Comment=" + record, hurry=hurry)
    return None if code == 0 else said or "scontrol ended with %d" % code


def passing(why: str) -> bool:
    """Whether a refusal is the moment's: the next period may try again."""
    return any(word in why.lower() for word in _TRANSIENT)


def _ending() -> bool:
    """Whether TERM has come; it is blocked, so that it never falls between a scontrol and its keeper."""
    return signal.SIGTERM in signal.sigpending()


def main(argv: List[str]) -> int:
    """`relay SPEC`, in the background of the batch script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    spec = read_json(argv[0])
    if spec is None:
        return 1
    here, job_id, period = os.path.dirname(os.path.abspath(argv[0])), os.environ["SLURM_JOB_ID"], spec["progressPeriod"]
    parent = os.getppid()
    progress, tail = Progress(), Tail(os.environ["PASSERELLE_PROGRESS_FILE"])
    news, due = True, 0.0  # the first record says that the way is open, before the trainer has told anything
    while os.getppid() == parent and not _ending():
        for line in tail.lines():
            news = progress.take(line) or news
        if news and time.monotonic() >= due:
            due = time.monotonic() + period
            why = post(job_id, progress.record(time.time()), _ending)
            news = why is not None
            if why is not None and not passing(why):
                tell("progress can't be reported: " + why)
                try:
                    write_json(os.path.join(here, "relay-stopped.json"), {"why": why, "time": time.time()})
                except OSError as error:
                    tell("relay-stopped.json can't be written: %s" % error)
                return 0
        if signal.sigtimedwait([signal.SIGTERM], _LOOK_SECONDS):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$lib/passerelle/onsite/report.py" <<'END_OF_FILE' || fault "$here can't be written"
"""The one record of a job's comment: progress while it runs, the end beside the last progress when it has run.

    {"v": 1, "t": time, "s": step, "n": steps in all, "p": percentage, "e": seconds left, "m": {name: number},
     "end": {"code": 3, "signal": null, "rank": 1, "err": "the last of the failing rank's standard error"}}

Plain JSON in UTF-8, as one argument of scontrol: Slurm 22.05 to 26.05 keep each byte of it and refuse more than 1024.
"""

import json
import math
import re
from typing import Any, Dict, List, Optional

LIMIT_BYTES = 900
ERR_BYTES = 600
METRICS = 8

_KEYS = {"step": "s", "totalSteps": "n", "percentage": "p", "etaSeconds": "e"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}$")
_LARGEST = 2**53
"""Beyond it an integer is not the same number to every reader of JSON."""


class Progress:
    """What the trainer told last, key by key: a line need not repeat what an earlier one said."""

    def __init__(self) -> None:
        self.values: Dict[str, float] = {}
        self.metrics: Dict[str, float] = {}

    def take(self, line: str) -> bool:
        """Read one line; False where it is no JSON object. Other trouble is the line's own and is passed over."""
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(told, dict):
            return False
        for key, value in told.items():
            number = _number(value)
            if number is None:
                continue
            if key in _KEYS:
                self.values[_KEYS[key]] = int(max(-_LARGEST, min(number, _LARGEST)))
            elif _NAME.match(key) and (key in self.metrics or len(self.metrics) < METRICS):
                self.metrics[key] = number
        return True

    def record(self, now: float, end: Optional[Dict[str, Any]] = None) -> str:
        """The record, in at most LIMIT_BYTES: the last metrics go first, then the beginning of the error."""
        told: Dict[str, Any] = dict(self.values, v=1, t=int(now))
        metrics = list(self.metrics.items())
        err = ""
        if end is not None:
            told["end"] = {key: end[key] for key in ("code", "signal", "rank")}
            err = _last(end.get("err") or "", ERR_BYTES)
        while True:
            text = _compact(told, metrics, err)
            over = len(text.encode("utf-8")) - LIMIT_BYTES
            if over <= 0:
                return text
            if metrics:
                metrics.pop()
            else:
                err = err[max(1, over // 6) :]  # a character takes at most 6 bytes of JSON, so this never cuts too much


def _compact(told: Dict[str, Any], metrics: List[Any], err: str) -> str:
    whole = dict(told)
    if metrics:
        whole["m"] = dict(metrics)
    if err:
        whole["end"] = dict(told["end"], err=err)
    return json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _last(text: str, limit: int) -> str:
    """The last bytes of a text, whole characters, without what a terminal would act on."""
    clean = "".join(c for c in text.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or c.isprintable())
    return clean.strip().encode("utf-8")[-limit:].decode("utf-8", "ignore").strip()


def _number(value: Any) -> Optional[float]:
    """A number that JSON can carry and people can read: no truth value, no NaN, six digits of a fraction."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float("%.6g" % value)
    return None
END_OF_FILE
cat > "$lib/passerelle/onsite/supervise.py" <<'END_OF_FILE' || fault "$here can't be written"
"""Runs one process, keeps the end of its standard error, and writes down how it failed.

The process's end is told before its parent's: whichever rank failed first has the earliest record, and the victims of
--kill-on-bad-exit have later ones.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Optional

from passerelle.onsite.codes import SITE_FAULT, public
from passerelle.onsite.files import tell, write_json

TAIL_BYTES = 4096
_DRAIN_SECONDS = 2.0
_SHELL_SIGNAL = 128
_LAST_SIGNAL = 64


def supervise(argv: List[str], environ: Dict[str, str], record: str, facts: Dict[str, Any]) -> int:
    """Run to the end. Returns the exit code, 128 + n for signal n; where it is not 0, `record` appears."""
    passed_on = _Signals()
    try:
        child = subprocess.Popen(  # bytes: under the C locale Python 3.6 would refuse what is not ASCII
            [word.encode("utf-8") for word in argv],
            env={key.encode("utf-8"): value.encode("utf-8") for key, value in environ.items()},
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126  # as a shell would say
        told = "%s: %s" % (argv[0], error.strerror)
        tell(told)
        _write(record, facts, code, told)
        return code
    passed_on.to(child)
    tail = _Tail(child)
    code = child.wait()
    tail.join(_DRAIN_SECONDS)  # a process left behind may hold the pipe open
    if code < 0:
        code = _SHELL_SIGNAL - code
    if code:
        _write(record, facts, code, tail.text())
    return public(code)


class _Tail(threading.Thread):
    """Passes a process's standard error on, and keeps its end."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True)
        self._child = child
        self._kept = b""
        self.start()

    def run(self) -> None:
        source = self._child.stderr
        assert source is not None  # noqa: S101 -- it was asked for
        while True:
            chunk = os.read(source.fileno(), 65536)
            if not chunk:
                return
            self._kept = (self._kept + chunk)[-TAIL_BYTES:]
            try:
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
            except OSError:
                pass  # nobody reads the log any more; the trainer must not block

    def text(self) -> str:
        return self._kept.decode("utf-8", "ignore")


class _Signals:
    """Passes TERM and INT on to a process, those too that came before it was there. USR1 and USR2 are for trainers, and
    would end this process: nothing is done about them.
    """

    def __init__(self) -> None:
        self._child: "Optional[subprocess.Popen[bytes]]" = None
        self._early: List[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda caught, _: self._take(caught))
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited

    def to(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        for number in self._early:
            self._take(number)

    def _take(self, number: int) -> None:
        if self._child is None:
            self._early.append(number)
        elif self._child.poll() is None:
            self._child.send_signal(number)


def fault(record: str, facts: Dict[str, Any], text: str) -> int:
    """Say, and write down, that the site did not let the trainer begin; `ours` tells the code from a trainer's."""
    tell(text)
    _write(record, dict(facts, ours=True), SITE_FAULT, text)
    return SITE_FAULT


def _write(record: str, facts: Dict[str, Any], code: int, text: str) -> None:
    told = dict(facts, code=code, signal=ended_by(code), time=time.time(), err=text)
    try:
        write_json(record, told)
    except OSError as error:
        tell("%s can't be written: %s" % (record, error))


def ended_by(code: int) -> Optional[int]:
    """The signal that an exit code tells of, as shells and containers write it; None where it tells of none."""
    return code - _SHELL_SIGNAL if _SHELL_SIGNAL < code <= _SHELL_SIGNAL + _LAST_SIGNAL else None
END_OF_FILE
cat > "$lib/passerelle/onsite/worker.py" <<'END_OF_FILE' || fault "$here can't be written"
"""One trainer process under a launcher's agent, in the container: runs the user's command and tells how it ended.

The agent starts this instead of the trainer, so the user's words pass no parser of the agent's, and the record names
the rank that failed and not its node. It runs under the agent's own Python.
"""

import os
import sys
from typing import List

from passerelle.onsite.files import read_json
from passerelle.onsite.supervise import fault, supervise


def main(argv: List[str]) -> int:
    """`worker SPEC`, with RANK in the environment."""
    rank = int(os.environ["RANK"])
    record = os.path.join(os.path.dirname(os.path.abspath(argv[0])), "ends", "rank-%d.json" % rank)
    facts = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": rank}
    spec = read_json(argv[0])
    if spec is None:
        return fault(record, facts, "%s can't be read in the container" % argv[0])
    return supervise(spec["command"], dict(os.environ), record, facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_FILE
cat > "$spec" <<'END_OF_FILE' || fault "$here can't be written"
{"agent": ["torchrun", "--nnodes=4", "--nproc-per-node=4", "--max-restarts=0", "--node-rank={NODE_RANK}", "--master-addr={MASTER_ADDR}", "--master-port={MASTER_PORT}"], "command": ["python", "train.py"], "container": {"binds": ["/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa", "/scratch"], "image": "/scratch/images/train.sif", "options": []}, "environment": {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1", "USE_LIBUV": "0"}, "files": [], "folders": [], "progressPeriod": 60, "tasks": 4, "tasksPerNode": 1, "workingDir": null}
END_OF_FILE

# Above stand this attempt's own values and files; from here on the script is the same for every attempt.
ulimit -c 0
ulimit -n "$(ulimit -H -n)" # a job that came by REST inherits no login shell's limits
for tool in python3 scontrol srun; do
    command -v "$tool" > /dev/null || fault "this node has no $tool"
done

# Nothing but this job's own directory is touched before the claim is ours.
python3 "$lib" claim take "$run" "$attempt" "$here/owner.json" || exit
python3 "$lib" prepare "$spec" || fault "$here can't be prepared"

# Rendezvous, computed here on the host: inside a container scontrol is missing, and "localhost" makes worlds of one.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
[ -n "$MASTER_ADDR" ] || fault "scontrol names no first host in $SLURM_JOB_NODELIST"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # below the ephemeral range; another job on the node has another
export MASTER_ADDR MASTER_PORT

# The contract with the trainer. Caches land in the run's own home: the user's may be small, or not mounted on nodes.
export PASSERELLE_JOB=$marker PASSERELLE_ATTEMPT=$attempt PASSERELLE_RUN_DIR=$run PASSERELLE_ATTEMPT_DIR=$here
export PASSERELLE_PROGRESS_FILE=$here/progress.jsonl PASSERELLE_STOP_FILE=$here/stop
USER=$(id -un)
export USER HOME=$run/home
mkdir -p "$HOME" || fault "$HOME can't be made"
export SRUN_CPUS_PER_TASK=$cpus_per_task # since 22.05 srun does not take sbatch's word for it

# Traps come before what they end. A signal reaches this shell alone; trainers see the stop file, or Slurm's own signals.
steps='' caught='' superseded=''
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"' USR1
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"; [ -n "$steps" ] || exit 143; kill -TERM "$steps"' TERM INT
trap 'caught=1; superseded=1; [ -n "$steps" ] || exit 213; kill -TERM "$steps"' USR2

python3 "$lib" claim watch "$run" "$attempt" "$here/owner.json" "$$" 30 &
watcher=$!
python3 "$lib" relay "$spec" &
relay=$!

# --wait: when one task has ended, the others get a minute; a rank that never comes back costs no more than that. No
# --unbuffered: with --label it tears a line that was written in pieces, as Python's print does, into labelled shreds.
srun --nodes="$nodes" --ntasks="$tasks" --ntasks-per-node="$tasks_per_node" --cpus-per-task="$cpus_per_task" \
    --mpi=none --kill-on-bad-exit=1 --wait=60 --label \
    python3 "$lib" rank "$spec" &
steps=$!

# A trap ends a wait early, while ranks still run: wait until one was not disturbed.
code=127
while
    caught=''
    wait "$steps" 2> /dev/null
    status=$?
    [ "$status" -eq 127 ] || code=$status # 127: an earlier wait has told it
    [ -n "$caught" ]
do :; done

# One writer at a time: the relay ends after its scontrol, or ends it. One that hangs elsewhere has none: not waited for.
{
    kill "$relay" "$watcher"
    for _ in {1..100}; do
        kill -0 "$relay" || break
        sleep 0.1
    done
    kill -KILL "$relay" "$watcher"
} 2> /dev/null
[ -z "$superseded" ] || exit 213
said=$(python3 "$lib" epilogue "$spec" "$code")
told=$?
# No failure is made of a success; and an epilogue that broke is not believed: one that did not, says its code at last.
[ "$code" -eq 0 ] || [ "${said##*$'\n'}" != "$told" ] || code=$told
exit "$code"
