"""Plan against job: what was planned, and what Slurm made of it, in the same words. Pure."""

from __future__ import annotations

import re
from typing import Any

from passerelle.batch import Options
from passerelle.gateways.slurmrestd.decode import number
from passerelle.plan import Plan

Words = dict[str, object]
_GPUS = re.compile(r"gres/gpu(?::(\w+))?=(\d+)")


def planned(plan: Plan, options: Options, default_qos: str | None) -> Words:
    """From the Plan; from its Options only what they alone decide. What the site is left to choose is left out."""
    asks_for_gpus = plan.gpu_request != "none"
    words: Words = {
        "name": plan.marker,
        "account": None if plan.account is None else plan.account.lower(),  # as slurmdbd keeps it
        "partition": plan.partition,
        "qos": plan.qos or default_qos,
        "reservation": plan.reservation or "",
        "nodes": (plan.nodes, plan.nodes),
        "tasks": plan.tasks,
        "tasks a node": plan.tasks_per_node,
        "CPUs a task": plan.cpus_per_task,
        "GPUs": plan.nodes * plan.gpus_per_node if asks_for_gpus else None,
        "type of GPU": (plan.gpu_type or "") if asks_for_gpus else None,
        "memory a node": plan.memory_per_node_mib,
        "excluded nodes": ",".join(plan.exclude),
        "threads a core": plan.threads_per_core,
        "minutes": plan.time_limit_minutes,
        "requeue": options.requeue,
        "directory": plan.run_root,
        "output": plan.log_path,
        "error": plan.log_path,
    }
    return {word: value for word, value in words.items() if value is not None}


def found(record: dict[str, Any]) -> Words:
    """From a record of `job/{id}`; the request stands there, since the job never got a node."""
    tres = dict(_GPUS.findall(record["tres_req_str"]))
    asked = re.search(r"gpu:([a-z]\w*)[:=]", f"{record['tres_per_node']},{record['tres_per_job']}")
    return {
        "name": record["name"],
        "account": record["account"],
        "partition": record["partition"],
        "qos": record["qos"],
        "reservation": record["resv_name"],
        "nodes": (number(record["node_count"]), number(record["max_nodes"])),
        "tasks": number(record["tasks"]),
        "tasks a node": number(record["tasks_per_node"]),
        "CPUs a task": number(record["cpus_per_task"]),
        "GPUs": int(tres.get("", 0)),
        "type of GPU": asked[1] if asked else "",
        "memory a node": number(record["memory_per_node"]),
        "excluded nodes": record["excluded_nodes"],
        "threads a core": number(record["threads_per_core"]),
        "minutes": number(record["time_limit"]),
        "requeue": record["requeue"],
        "directory": record["current_working_directory"],
        "output": record["standard_output"],
        "error": record["standard_error"],
    }


def differences(wanted: Words, got: Words) -> list[str]:
    """One sentence a field that differs."""
    return [
        f"{word}: planned {value!r}, Slurm has {got[word]!r}" for word, value in wanted.items() if got[word] != value
    ]
