"""Options -> the `#SBATCH` lines of sbatch(1), for every door that hands a script to sbatch. Pure.

The counterpart of slurmrestd's JSON fields: the same Options ask for the same job in both dialects. The order is fixed,
so equal Options are equal text. The job's environment is no option: what carries the script to the site sets it.

sbatch cuts a line at whitespace, takes quotes and backslashes away and ends it at a `#`; a value with any of them would
mean something else than it says, and a newline would start a line of its own. Values are checked where they enter; this
is the last fence.
"""

from __future__ import annotations

import re

from passerelle.batch import Batch, Options

_PLAIN = re.compile(r"[!-~]+")
_MEANS_SOMETHING = frozenset("#'\"\\")


def header(asked: Options) -> list[str]:
    """One line an option, without line ends. Raises ValueError for a value that sbatch would not read as it stands."""
    return [
        f"#SBATCH --{name}" if value is None else f"#SBATCH --{name}={_plain(name, value)}"
        for name, value in _options(asked)
    ]


def headed(batch: Batch) -> str:
    """The script with its options below the line that names its shell: what sbatch(1) is handed."""
    shell, _, rest = batch.script.partition("\n")
    return "\n".join([shell, *header(batch.options), rest])


def _options(asked: Options) -> list[tuple[str, str | None]]:
    """Long option and value; None for an option that takes none."""
    found: list[tuple[str, str | int | None]] = [
        ("job-name", asked.name),
        ("account", asked.account),
        ("partition", asked.partition),
        ("qos", asked.qos),
        ("reservation", asked.reservation),
        ("constraint", asked.constraint),
        ("nodes", asked.nodes),
        ("exclude", ",".join(asked.exclude) or None),
        ("ntasks", asked.tasks),
        ("ntasks-per-node", asked.tasks_per_node),
        ("cpus-per-task", asked.cpus_per_task),
        ("threads-per-core", asked.threads_per_core),
        ("mem", None if asked.memory_per_node_mib is None else f"{asked.memory_per_node_mib}M"),
        _gpus(asked),
        ("time", asked.time_limit_minutes),
        ("signal", None if asked.warning_seconds is None else f"B:{asked.warning_signal}@{asked.warning_seconds}"),
        ("chdir", asked.working_directory),
        ("output", asked.standard_output),
        ("error", asked.standard_error),
        ("open-mode", "append" if asked.open_mode_append else "truncate"),
    ]
    written: list[tuple[str, str | None]] = [(name, str(value)) for name, value in found if value is not None]
    return [*written, ("requeue" if asked.requeue else "no-requeue", None)]


def _gpus(asked: Options) -> tuple[str, str | None]:
    each = asked.gpu_count(asked.gpus_per_node)
    values = {"gpus-per-node": each, "gres": f"gpu:{each}", "gpus": asked.gpu_count(asked.gpus)}
    return asked.gpu_request, values.get(asked.gpu_request) if asked.gpus else None


def _plain(name: str, value: str) -> str:
    if not _PLAIN.fullmatch(value) or _MEANS_SOMETHING & set(value):
        raise ValueError(f"--{name}={value!r} holds whitespace, a quote, a backslash, a # or more than ASCII")
    return value
