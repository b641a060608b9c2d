"""Batch -> the body of `job/submit`, one function a family of API versions.

Every option is a JSON field: slurmrestd ignores `#SBATCH` lines, and a field that a version does not know is dropped
with a mere warning (refused by v0.0.38). The script stands beside `job`, which every version takes. Sources: the
OpenAPI documents of each version, and submits to 22.05, 24.11 and 26.05.
"""

from __future__ import annotations

from typing import Any

from passerelle.batch import Batch, Options

Body = dict[str, Any]


def submit_v38(batch: Batch) -> Body:
    """v0.0.38 (22.05): sbatch's words, the environment as an object.

    No warning signal: this version's parser takes `USR1@60` but refuses `B:USR1@60`, and a signal that goes to the
    steps instead of the batch script would kill the trainers. And no excluded nodes: `excluded_nodes` is a
    disabled key.
    """
    asked = batch.options
    job = _common(asked) | {
        "environment": dict(batch.environment),
        "nodes": asked.nodes,
        "time_limit": asked.time_limit_minutes,
        "memory_per_node": asked.memory_per_node_mib,
        **_gpus_v38(asked),
        "open_mode": "append" if asked.open_mode_append else "truncate",
        "requeue" if asked.requeue else "no_requeue": True,  # `"requeue": false` turns requeueing on here
    }
    return _body(job, batch)


def submit_v39(batch: Batch) -> Body:
    """v0.0.39 (23.02) to v0.0.45 (26.05): structs for numbers that may be unset, the environment as `NAME=value`."""
    asked = batch.options
    job = _common(asked) | {
        "environment": [f"{name}={value}" for name, value in batch.environment],
        "nodes": str(asked.nodes),
        "time_limit": _number(asked.time_limit_minutes),
        "memory_per_node": _number(asked.memory_per_node_mib),
        **_gpus_v39(asked),
        "excluded_nodes": list(asked.exclude) or None,
        "open_mode": ["APPEND" if asked.open_mode_append else "TRUNCATE"],
        "requeue": asked.requeue,
    }
    if asked.warning_seconds is not None:
        job |= {
            "kill_warning_signal": asked.warning_signal,
            "kill_warning_delay": _number(asked.warning_seconds),
            "kill_warning_flags": ["BATCH_JOB"],  # to the batch script, which tells its steps in its own way
        }
    return _body(job, batch)


def _common(asked: Options) -> Body:
    return {
        "name": asked.name,
        "account": asked.account,
        "partition": asked.partition,
        "qos": asked.qos,
        "reservation": asked.reservation,
        "tasks": asked.tasks,  # without it the allocation may count one task a node
        "tasks_per_node": asked.tasks_per_node,
        "cpus_per_task": asked.cpus_per_task,
        "threads_per_core": asked.threads_per_core,
        "constraints": asked.constraint,
        "current_working_directory": asked.working_directory,
        "standard_output": asked.standard_output,
        "standard_error": asked.standard_error,
    }


def _body(job: Body, batch: Batch) -> Body:
    return {"job": {key: value for key, value in job.items() if value is not None}, "script": batch.script}


def _gpus_v38(asked: Options) -> Body:
    if not asked.gpus:
        return {}
    each, total = asked.gpu_count(asked.gpus_per_node), asked.gpu_count(asked.gpus)
    words = {"gpus-per-node": ("gpus_per_node", each), "gres": ("gres", f"gpu:{each}"), "gpus": ("gpus", total)}
    return dict([words[asked.gpu_request]])


def _gpus_v39(asked: Options) -> Body:
    """These versions have no sbatch words for GPUs; Slurm reads `--gpus-per-node` and `--gres` as TRES a node, too."""
    if not asked.gpus:
        return {}
    if asked.gpu_request == "gpus":
        return {"tres_per_job": f"gres/gpu:{asked.gpu_count(asked.gpus)}"}
    return {"tres_per_node": f"gres/gpu:{asked.gpu_count(asked.gpus_per_node)}"}


def _number(value: int | None) -> Body | None:
    return None if value is None else {"set": True, "infinite": False, "number": value}
