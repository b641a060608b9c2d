"""What is run on a login node: fixed texts of POSIX sh, with words of ours as arguments, and nothing of a user's.

The login shell reads one line, whichever shell it is: so the program stands in single quotes and has none inside, no
line break and no `!`. What a user wrote travels on standard input, in the script. Every program first prints a mark,
since a login shell may greet; what comes before it is nobody's answer. Commands get an environment of their own: no
SBATCH_…, SQUEUE_… or SLURM_… of the login shell changes what we ask, but the place of Slurm's configuration, where the
login shell names one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from passerelle.batch import Batch
from passerelle.gateways.windows import Window
from passerelle.header import headed
from passerelle.shell import export

READ_SECONDS = 60
"""How long a command of ours may take at the site: Slurm's own patience with a frozen daemon is 10 to 45 s."""
LARGEST_DIGEST_BYTES = 10 * 1024**3
"""Of a file that a login node is asked to hash: less than a minute of a core, where some end what takes ten."""
DIGEST_SECONDS = 1800
"""How long a whole file may be read: the largest at 6 MB a second."""
SUBMIT_SECONDS = 60
"""How long sbatch may try: it tries again by itself while Slurm's queue is full, whether we still listen or not."""

INCOMPLETE = 97
"""The exit code of a submit whose script did not arrive whole: sbatch was not started."""
NO_FILE = 96
"""The exit code of a digest whose file is not there."""
TOO_LARGE = 95
"""The exit code of a digest whose file is larger than a login node is asked to hash."""
NOT_FOUND = 127
TIMED_OUT = frozenset({124, 137})
"""How timeout(1) ends where the command had to be ended."""
UNKNOWN_JOB = "Invalid job id specified"
"""Slurm's words of a job that is unknown."""

_PLACES = (
    "/usr/bin:/usr/local/bin:/opt/slurm/bin:/opt/slurm/current/bin:/usr/local/slurm/bin:"
    "/cm/shared/apps/slurm/current/bin"
)
"""Where sites put Slurm, after the login shell's own PATH."""
_CLEAN = 'env -i PATH="$PATH:' + _PLACES + '" HOME="$HOME" ${SLURM_CONF:+SLURM_CONF="$SLURM_CONF"}'
_READING = f"{_CLEAN} LC_ALL=C TZ=UTC0 SLURM_TIME_FORMAT=%s timeout -k 5 {READ_SECONDS}"
_MARK = 'printf "%s\\n" "$0"; '
_ASK = f'{_MARK}exec {_READING} "$@"'
_ASK_WHO = f'{_MARK}id -un; id -u; exec {_READING} "$@"'
_ASK_EACH = (
    f"{_MARK}exec 3>&1; ids=$1; shift; IFS=,; for i in $ids; do "
    f'e=$({_READING} "$@" "--jobs=$i" 2>&1 >&3) || {{ r=$?; case $e in *"{UNKNOWN_JOB}"*) ;; '
    f'*) printf "%s\\n" "$e" >&2; exit "$r" ;; esac; }}; done'
)
"""Of one job squeue asks for that one, of several for all of ours; and over a single unknown one it fails."""
_SUBMIT = (
    f'{_MARK}s=$(cat); case $s in *"$1") ;; *) exit {INCOMPLETE} ;; esac; s=${{s%"$1"}}; shift; '
    f'printf "%s" "$s" | {_CLEAN} timeout -k 5 {SUBMIT_SECONDS} "$@"'
)
_DIGEST = (
    f'{_MARK}f=$(cat; printf x); f=${{f%x}}; [ -f "$f" ] || exit {NO_FILE}; '
    f'[ -z "$(find -L "$f" -size +{LARGEST_DIGEST_BYTES}c)" ] || exit {TOO_LARGE}; '
    f'exec {_CLEAN} LC_ALL=C timeout -k 5 {DIGEST_SECONDS} "$@" < "$f"'
)
"""The path comes on standard input; what stands behind it keeps a line end of its own from being lost."""
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=%/+@-]+")

LIVE = {
    "JobID": 16,
    "Name": 64,
    "UserName": 64,
    "State": 24,
    "Reason": 64,
    "SubmitTime": 20,
    "StartTime": 20,
    "EndTime": 20,
    "RestartCnt": 8,
    "Partition": 64,
    "Account": 64,
    "QOS": 64,
    "NodeList": 1024,
    "NumNodes": 8,
    "tres-alloc": 256,
    "TimeLimit": 20,
    "exit_code": 12,
    "STDOUT": 1024,
    "Comment": 2048,
}
"""squeue's fields, and the bytes that each may take: what is longer is cut, what is shorter is filled with blanks."""
LIGHT = {name: LIVE[name] for name in ("JobID", "State")}
NAMED = {name: LIVE[name] for name in ("JobID", "Name")}
ACCOUNTED = (
    *("JobIDRaw", "JobName", "User", "Cluster", "State", "Reason", "Submit", "Start", "End", "Partition", "Account"),
    *("QOS", "NodeList", "NNodes", "AllocTRES", "ReqTRES", "TimelimitRaw", "ExitCode", "Comment"),
)
"""sacct's fields, all of which 22.05 has."""

ASSOCIATED = (
    *("Cluster", "Account", "User", "Partition", "QOS", "DefaultQOS"),
    *("GrpSubmit", "GrpJobs", "MaxSubmit", "MaxJobs", "DefaultAccount"),
)
"""sacctmgr's fields of a user with its associations, all of which 22.05 has; accounts have no DefaultAccount."""

_ENDED = "BOOT_FAIL,CANCELLED,COMPLETED,DEADLINE,FAILED,NODE_FAIL,OUT_OF_MEMORY,PREEMPTED,TIMEOUT"


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the login shell, and what goes to its standard input once the mark has come back."""

    line: str
    mark: str
    content: bytes = b""


def who_answers(mark: str) -> Command:
    """The user's name and number, and slurmctld's own configuration."""
    return _command(_ASK_WHO, mark, ["scontrol", "show", "config"])


def submit(mark: str, batch: Batch) -> Command:
    """sbatch, with the script on its standard input.

    A script that is cut off with the connection must not become a job: so it ends with a second mark, and sbatch gets
    it once that has arrived. --export=ALL hands on the environment of sbatch, which is next to nothing and is undone
    in the script: NONE and NIL have 22.05 read the login profile on the node. --ignore-pbs: no line of the script is an
    option of another batch system. --propagate=NONE: the login node's limits are not the job's.
    """
    end = f"end-{mark}"
    words = [end, "sbatch", "--parsable", "--ignore-pbs", "--export=ALL", "--propagate=NONE"]
    return _command(_SUBMIT, mark, words, (script(batch) + end).encode())


def script(batch: Batch) -> str:
    """What sbatch reads: the options and the environment, above the script's own text.

    What sbatch itself was given is taken away, with its own SLURM_EXPORT_ENV, by which srun would choose for its
    steps.
    """
    shell, _, rest = batch.script.partition("\n")
    own = ["unset PATH HOME SLURM_EXPORT_ENV", *(export(name, value) for name, value in batch.environment)]
    return headed(Batch(options=batch.options, environment=(), script="\n".join([shell, *own, rest])))


def states(mark: str) -> Command:
    """The light listing: every job of ours that slurmctld knows."""
    return _squeue(mark, LIGHT)


def names(mark: str) -> Command:
    """What every job of ours is called."""
    return _squeue(mark, NAMED)


def live(mark: str, job_ids: Collection[str] = ()) -> Command:
    """Full records of these jobs of ours, or of all."""
    return _squeue(mark, LIVE, [f"--jobs={','.join(sorted(job_ids))}"] if job_ids else [])


def each(mark: str, job_ids: Collection[str]) -> Command:
    """Full records of these jobs of ours, by a squeue for each: unknown ones are left out."""
    return _command(_ASK_EACH, mark, [",".join(sorted(job_ids)), *_listing(LIVE, mark)])


def accounted_ids(mark: str, job_ids: Collection[str]) -> Command:
    """Rows of the accounting, whatever their age: by ids sacct takes no window, and reads those rows alone."""
    return _sacct(mark, [f"--jobs={','.join(sorted(job_ids))}"])


def accounted_names(mark: str, names: Collection[str], window: Window) -> list[Command]:
    """Rows of jobs that waited, ran or ended in this window. By name sacct sees only jobs that were once eligible, and
    so misses one that was held until its end: a second search, by how they ended, finds those.
    """
    end = [f"--endtime={window.end}"] if window.end is not None else []
    by_name = [f"--name={','.join(sorted(names))}", f"--starttime={window.start}"]
    return [
        _sacct(mark, [*by_name, *end]),
        _sacct(mark, [*by_name, *(end or ["--endtime=now"]), f"--state={_ENDED}"]),
    ]


def _sacct(mark: str, search: list[str]) -> Command:
    common = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable", f"--delimiter={mark}"]
    return _command(_ASK, mark, [*common, f"--format={','.join(ACCOUNTED)}", *search])


def cancel(mark: str, job_id: str) -> Command:
    return _command(_ASK, mark, ["scancel", job_id])


def warn(mark: str, job_id: str, signal: str) -> Command:
    """A signal for the batch script alone: --batch is older than any release that is spoken here."""
    return _command(_ASK, mark, ["scancel", "--batch", f"--signal={signal}", job_id])


def partitions(mark: str) -> Command:
    """Those that our user may see."""
    return _command(_ASK, mark, ["scontrol", "show", "partitions", "--oneliner"])


def charged(mark: str, user: str) -> Command:
    """Our own user's associations. Raises ValueError for a user whose name is no plain word."""
    return _sacctmgr(mark, ["user", f"name={user}", "withassoc"])


def accounts(mark: str, names: Collection[str]) -> Command:
    """The accounts' own associations, which are of no user."""
    return _sacctmgr(mark, ["associations", f"accounts={','.join(sorted(names))}", "user="])


def clock(mark: str) -> Command:
    return _command(_ASK, mark, ["date", "+%s"])


def _sacctmgr(mark: str, what: list[str]) -> Command:
    common = ["sacctmgr", "--readonly", "--noheader", "--parsable", "show", *what]
    return _command(_ASK, mark, [*common, f"format={','.join(ASSOCIATED)}"])


def digest(mark: str, path: str) -> Command:
    """SHA-256 of a file, which goes to the program's standard input: so no name of it is printed."""
    return _command(_DIGEST, mark, ["sha256sum"], path.encode())


def _squeue(mark: str, fields: dict[str, int], which: Iterable[str] = ()) -> Command:
    return _command(_ASK, mark, [*_listing(fields, mark), *which])


def _listing(fields: dict[str, int], mark: str) -> list[str]:
    form = ",".join(f"{name}:{size}{mark}" for name, size in fields.items())
    return ["squeue", "--me", "--local", "--all", "--states=all", "--noheader", f"--Format={form}"]


def _command(program: str, mark: str, words: list[str], content: bytes = b"") -> Command:
    for word in [mark, *words]:
        if not _PLAIN.fullmatch(word):
            raise ValueError(f"{word!r} is no word for a login shell")
    return Command(shlex.join(["exec", "/bin/sh", "-c", program, mark, *words]), mark, content)
