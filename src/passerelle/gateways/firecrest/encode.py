"""Batch -> the body of `POST compute/{system}/jobs`. It has no field for nodes, time or GPUs: the script holds those.

What has a field is said twice. In ssh mode fields become sbatch's options, and win over the script's equal ones; in
rest mode they are all that counts. `env` is left out: in ssh mode its values are cut at commas.
"""

from __future__ import annotations

from typing import Any

from passerelle.batch import Batch
from passerelle.gateways.firecrest.script import script


def submit(batch: Batch, script_path: str | None = None) -> dict[str, Any]:
    """`script_path` is where the script lies already, for hybrid mode."""
    asked = batch.options
    job = {
        "name": asked.name,
        "account": asked.account,
        "partition": asked.partition,
        "reservation": asked.reservation,
        "constraints": asked.constraint,
        "workingDirectory": asked.working_directory,
        "standardOutput": asked.standard_output,
        "standardError": asked.standard_error,
        "script": None if script_path else script(batch),
        "scriptPath": script_path,
    }
    return {"job": {key: value for key, value in job.items() if value is not None}}
