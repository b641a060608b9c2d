"""Batch -> a raw UNICORE job of three files. Pure.

- `batch.sh` is what UNICORE hands to sbatch: our `#SBATCH` lines, the environment, and a few lines that run the job's
  script and wait for it. UNICORE appends a line to it, which runs the job's Executable and keeps its exit code.
- `job.sh` is the script.
- `end.sh` is the Executable: it ends with the script's own code, which batch.sh has written into it. Where a site's
  UNICORE does not submit raw jobs as such, the Executable is all that runs, and says so.

The shell that sbatch starts is batch.sh's. It stays until the script has ended, though Slurm asks all processes of the
job to end, and hands USR1 on, which the warning signal gives to this shell alone; at last it ends with the script's
code, so that Slurm's records say of the job what is true. The script's environment is what was asked for and Slurm's
own: --export=NIL keeps out what the site's UNICORE lives in, and what is left of a login is unset.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from passerelle.batch import Batch
from passerelle.header import header
from passerelle.onsite.codes import SITE_FAULT

TAG = "passerelle"
"""On all of our jobs, beside the marker: listing them needs no look at the user's others."""

BATCH, SCRIPT, END = "batch.sh", "job.sh", "end.sh"
_PRIVATE = "rwx------"

_NOT_RAW = f"""\
echo "passerelle: UNICORE did not submit {BATCH} to Slurm; this site runs no raw jobs" >&2
exit {SITE_FAULT}
"""

_CLEAN = "unset HOME LOGNAME MAIL SHELL SLURM_EXPORT_ENV USER"
_RUN = f"""\
files=$PWD
cd {{directory}} || exit {SITE_FAULT}
told='' code={SITE_FAULT}
trap 'told=1; kill -USR1 $!' USR1 # traps come before the script: untrapped, a signal would end this shell
trap 'told=1' TERM # the script is told, too, and may have last words
"$files/{SCRIPT}" &
while
    told=''
    wait "$!"
    status=$?
    [ "$status" -eq 127 ] || code=$status # 127: an earlier wait has told it
    [ -n "$told" ]
do :; done
echo "exit $code" > "$files/{END}"
trap 'exit "$code"' EXIT
cd "$files" # for the line that UNICORE appends
"""


def job(batch: Batch) -> dict[str, Any]:
    """The body of POST jobs."""
    marker = batch.options.name
    files = {BATCH: batch_file(batch), SCRIPT: batch.script, END: _NOT_RAW}
    return {
        "Name": marker,
        "Tags": [TAG, marker],
        "Job type": "raw",
        "BSS file": BATCH,
        "Executable": "/bin/sh",
        "Arguments": [END],
        "Imports": [{"To": name, "Data": text, "Permissions": _PRIVATE} for name, text in files.items()],
        "Umask": "077",
    }


def batch_file(batch: Batch) -> str:
    """What sbatch reads. No `--chdir`: the job begins in its UNICORE directory, where its files lie."""
    lines = [line for line in header(batch.options) if not line.startswith("#SBATCH --chdir=")]
    exports = [f"export {_name(name)}={_quoted(value)}" for name, value in batch.environment]
    run = _RUN.format(directory=shlex.quote(batch.options.working_directory))
    return "\n".join(["#!/bin/bash", *lines, "#SBATCH --export=NIL", _CLEAN, *exports, run])


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name of a shell variable")
    return name


def _quoted(value: str) -> str:
    """One word of bash, in ASCII: the server writes files in an encoding of its own."""
    if "\0" in value:
        raise ValueError("an environment holds no NUL")
    if value.isascii() and value.isprintable():
        return shlex.quote(value)
    return "$'" + "".join(_escaped(byte) for byte in value.encode()) + "'"


def _escaped(byte: int) -> str:
    plain = chr(byte)
    return plain if plain.isascii() and plain.isprintable() and plain not in "'\\" else f"\\{byte:03o}"
