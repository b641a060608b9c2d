"""Batch -> the one command by which the compute node makes and starts the job. Pure.

A-REX would take the script as a file of its own, by a second request: a job whose file never came would wait for it,
under our marker, and fail ten minutes later. So the script travels inside the description, and a job is there whole or
not at all. A-REX puts each argument between double quotes in a script of its own and cuts it at line ends, where a `$`
would be read by a shell: what travels is base64, which has nothing for a shell to read.

What starts there makes the difference good between A-REX's job and Slurm's own: the environment of the Batch and none
of the submitter, its working directory and its log. It also leaves two notes in the session directory, for what A-REX
does not tell: what Slurm has given (`record`), and the script's own end (`exit`), since A-REX tells a job that Slurm
ended early from one that succeeded by an exit code, and Slurm's code may be 0 for both.

And it looks for one (`signal`): A-REX has no word for a signal to the script alone, but lets files be put there. One
that was meant for an earlier life of a requeued job is removed first, as is that life's process id. A note that is only
half there yet names no signal, and is read again.
"""

from __future__ import annotations

import base64
import gzip

from passerelle.batch import Batch, Options
from passerelle.onsite.codes import SITE_FAULT
from passerelle.shell import quoted

START, SCRIPT, LOG, REPORT, RECORD, EXIT = "start", "script", "log", "report", "record", "exit"
"""Names in the session directory. `log` and `report` lead to the job's log and report file, wherever those lie."""
SIGNAL, PID = "signal", "pid"
"""Names there, too: the signal that the script shall get, and its process."""

LOOK_SECONDS = 2
"""Between two looks for a signal."""

SHELL = "/bin/sh"
ARGUMENT_LIMIT = 128 * 1024 - 1
"""Bytes of one argument that Linux takes (MAX_ARG_STRLEN)."""

_KEPT = "SLURM*|SPANK*|CUDA_*|NVIDIA_*|ROCR_*|HIP_*|GPU_*|ZE_*|PMI_*|PMI2_*|PMIX_*|PALS_*|KRB5CCNAME|TMPDIR"
"""Variables that Slurm and its plugins give to a job; every other one is A-REX's or the login shell's. So is
SLURM_EXPORT_ENV, which would keep the environment from the job's steps."""

_START = """\
#!/bin/sh
# Written by Passerelle. A-REX has started this in the session directory; what follows is the job as it was asked for.
session=$PWD
rm -f {signal} {pid}
chmod 700 {script}
for name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do
    case $name in
        SLURM_EXPORT_ENV) unset "$name" ;;
        {kept} | PATH | PWD) ;;
        *) unset "$name" ;;
    esac
done
out={out}
err={err}
report={report_path}
ln -s "$out" {log}
[ -z "$report" ] || ln -s "$report" {report}
{{
    date +%s
    echo "$out"
    echo "$report"
    timeout 30 scontrol --oneliner show job "$SLURM_JOB_ID"
}} > {record}.new 2> /dev/null
mv {record}.new {record}
cd {directory} || exit {fault}
{open} "$out" && {open} "$err" || exit {fault}
exec >> "$out" 2>> "$err" < /dev/null
(
    until kill -s "$(cat "$session/{signal}")" "$(cat "$session/{pid}")"; do
        kill -0 $$ || exit
        sleep {look}
    done
) 2> /dev/null &
watcher=$!
{environment}
ended=
trap 'ended=1' TERM  # by which Slurm ends a job: how the script ends then is no word of its own
{shell} -c 'echo "$$" > "$1"; exec "$2"' {script} "$session/{pid}" "$session/{script}"
code=$?
kill "$watcher" 2> /dev/null
[ -n "$ended" ] || {{ echo "$code $(date +%s)" > "$session/{exit}.new" && mv "$session/{exit}.new" "$session/{exit}"; }}
exit "$code"
"""


def arguments(batch: Batch) -> list[str]:
    """The arguments of /bin/sh. Raises ValueError where they'd be longer than a command line may be."""
    packed = (_packed(batch.script), _packed(start(batch)))
    unpack = [f"echo {each} | base64 -d | gzip -d > {name}" for each, name in zip(packed, (SCRIPT, START), strict=True)]
    command = " && ".join([*unpack, f"exec {SHELL} ./{START}"])
    if len(command) > ARGUMENT_LIMIT:
        raise ValueError(f"the script takes {len(command)} bytes of a command line, which has {ARGUMENT_LIMIT}")
    return ["-c", command]


def start(batch: Batch) -> str:
    """What runs on the first node, in front of the script."""
    asked = batch.options
    return _START.format(
        script=SCRIPT,
        log=LOG,
        report=REPORT,
        report_path=quoted(batch.report or ""),
        record=RECORD,
        exit=EXIT,
        signal=SIGNAL,
        pid=PID,
        look=LOOK_SECONDS,
        shell=SHELL,
        kept=_KEPT.replace("|", " | "),
        out=_path(asked.standard_output),
        err=_path(asked.standard_error),
        directory=quoted(asked.working_directory),
        open=_opening(asked),
        fault=SITE_FAULT,
        environment="\n".join(f"export {name}={quoted(value)}" for name, value in _environment(batch)),
    )


def _environment(batch: Batch) -> list[tuple[str, str]]:
    """Without PATH in the Batch, the node's own is kept."""
    for name, value in batch.environment:
        if not (name.isascii() and name.isidentifier()) or "\0" in value:
            raise ValueError(f"{name!r} can't be a variable of a shell")
    return list(batch.environment)


def _opening(asked: Options) -> str:
    """A command that fails where the log can't be opened; `:` would end the shell instead."""
    return "true >>" if asked.open_mode_append else "true >"


def _path(path: str) -> str:
    """A path as the shell reads it; of sbatch's words for file names, `%j` alone is known."""
    if "%" in path.replace("%j", ""):
        raise ValueError(f"{path!r} has another word of sbatch than %j")
    return '"$SLURM_JOB_ID"'.join(quoted(piece) if piece else "" for piece in path.split("%j"))


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
