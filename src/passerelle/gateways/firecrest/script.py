"""Batch -> the script that FirecREST hands to sbatch. Pure.

In ssh mode sbatch runs in a login shell with `--export=ALL`, which no directive can undo, and FirecREST's own `env` is
cut at commas. So the script begins with a few lines that start it again, in exactly the Batch's environment and what
Slurm itself sets for a job. Slurm's names are kept by pattern: which node, which tasks, which GPUs.
"""

from __future__ import annotations

import dataclasses
import shlex

from passerelle.batch import Batch
from passerelle.header import headed

_AGAIN = "passerelle-again"
_DEFAULT_SHELL = "/bin/bash"

_KEPT = (
    "SLURM_* | SLURMD_*",
    "*_VISIBLE_DEVICES | GPU_DEVICE_ORDINAL | ZE_AFFINITY_MASK",  # the job's own GPUs
    "SLINGSHOT_*",  # and its own network
    "HOSTNAME | ENVIRONMENT",
)
"""What slurmd sets, as patterns of the shell. SLURM_EXPORT_ENV is sbatch's: it would give steps what FirecREST adds."""

_BEGIN = f"""\
if [ "${{1-}}" != {_AGAIN} ]; then
    set --
    for name in $(compgen -e); do
        case $name in
            SLURM_EXPORT_ENV) ;;
            {" | ".join(_KEPT)}) eval "set -- \\"\\$@\\" \\"$name=\\$$name\\"" ;;
        esac
    done
"""
"""Read by the Batch's own shell, too, as far as its end: so no array."""

_END = "fi\nshift"


def script(batch: Batch) -> str:
    """The whole script, its `#SBATCH` lines included. bash runs it first, whatever Bourne shell the Batch names:
    that one runs it then.
    """
    shell, _, rest = batch.script.partition("\n")
    words = shlex.split(shell.removeprefix("#!")) or [_DEFAULT_SHELL]
    command = ["/usr/bin/env", "-i", '"$@"']
    command += [shlex.quote(f"{name}={value}") for name, value in batch.environment]
    command += [shlex.quote(word) for word in words]
    start = f'    exec {" ".join(command)} "$0" {_AGAIN}\n'
    again = dataclasses.replace(batch, script="\n".join([f"#!{_DEFAULT_SHELL}", _BEGIN + start + _END, rest]))
    return headed(again)
