"""Plan -> the text of the batch script. Pure.

Three parts: this attempt's own values, all of them ours; the program of onsite/ and one JSON, spec.json, with whatever
the user wrote, in quoted here-documents; and onsite/batch.sh, the same for every attempt. The text is ASCII throughout.

The program is one zip, which python3 runs as it is. Its texts are deflated together, to a third of their size, which
leaves room for the user's files; and it is one file, which each of thousands of ranks reads once (onsite/__main__.py).
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from passerelle.onsite import codes
from passerelle.onsite.__main__ import TEXTS
from passerelle.shell import assignment, here_document

if TYPE_CHECKING:
    from passerelle.parcels import Payload
    from passerelle.plan import Plan

_PACKAGE = "passerelle.onsite"
_BINARIES = ("apptainer", "singularity")
"""Runtimes that are a command; the others are options of srun."""
_HEAD = f"""\
set -uo pipefail
umask 027
fault() {{
    echo "passerelle: $1" >&2
    exit {codes.SITE_FAULT}
}}
"""
_PLACES = """\
here=$run/attempt-$attempt-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
lib=$here/lib spec=$here/spec.json
mkdir -p "$here" || fault "$here can't be made"
"""


def script(plan: Plan, payload: Payload | None = None) -> str:
    """The whole script. The content of files stands in it, unless a payload has it."""
    entered, step = plan.container, plan.step
    own: dict[str, str | int] = {
        "marker": plan.marker,
        "run": plan.run_directory,
        "attempt": plan.attempt,
        "cpus_per_task": plan.cpus_per_task,
        "grace": plan.grace_seconds or 0,
        "module_paths": " ".join(entered.module_paths) if entered else "",
        "modules": " ".join(entered.modules) if entered else "",
        "runtime": entered.binary if entered and entered.kind in _BINARIES else "",
        "pull": "yes" if entered and entered.pull else "",
        "sealed": plan.sealed_path if plan.is_sealed else "",
        "host_suffix": step.host_suffix,
        "address": step.address,
    }
    values = "".join(f"{assignment(name, value)}\n" for name, value in own.items())
    values += "".join(f"export {assignment(name, value)}\n" for name, value in step.prologue)
    program, body = _onsite()
    failure = 'fault "$here can\'t be written"'
    written = here_document('"$lib"', program, failure, command="base64 -d")
    written += here_document('"$spec"', json.dumps(_spec(plan, payload), sort_keys=True) + "\n", failure)
    shell = "#!/bin/bash -l" if step.login_shell else "#!/bin/bash"
    head = f"{shell}\n# Attempt {plan.attempt} of TrainingJob {plan.namespace}/{plan.name}, written by Passerelle.\n"
    head += f"# Questions about it: {plan.contact}\n" if plan.contact else ""
    return "\n".join([head + _HEAD, values + _PLACES, written, body])


def _spec(plan: Plan, payload: Payload | None) -> dict[str, Any]:
    """What onsite/ reads: the only place of what the user wrote."""
    entered, step = plan.container, plan.step
    return {
        "nodes": plan.nodes,
        "tasks": plan.tasks,
        "tasksPerNode": plan.tasks_per_node,
        "cpusPerTask": plan.cpus_per_task,
        "worldSize": plan.world_size,
        "mpi": step.mpi,
        "cpuBind": step.cpu_bind,
        "gpuBind": step.gpu_bind,
        "isBody": plan.is_body,
        "agent": list(plan.agent),
        "checkpoint": plan.grace_seconds is not None,
        "command": list(plan.command),
        "commentPeriod": plan.comment_period_seconds,
        "environment": dict(plan.environment),
        "variables": dict(plan.variables),
        "workingDir": plan.working_dir,
        "image": plan.image,
        "container": entered
        and {
            "kind": entered.kind,
            "binary": entered.binary,
            "image": entered.image,
            "pull": entered.pull,
            "pullSeconds": plan.pull_seconds,
            "options": list(entered.options),
            "binds": [plan.run_directory, *entered.binds],
            "annotations": dict(entered.annotations),
        }
        | ({"disks": [list(each) for each in entered.disks]} if entered.disks else {}),
        "folders": list(plan.mounts.folders),
        "sealedFolders": list(plan.mounts.sealed),
        "files": [
            {"folder": file.folder, "path": file.path}
            | ({"data": base64.b64encode(file.data).decode()} if payload is None else {})
            for file in plan.mounts.files
        ],
        "payload": payload and {"path": payload.path, "sha256": payload.digest},
        "progressPeriod": plan.progress_period_seconds,
    }


@cache
def _onsite() -> tuple[str, str]:
    """The program of onsite/, a zip in base64, and the script's body. They are part of this program, read once."""
    texts = {
        each.name: each.read_text(encoding="ascii")
        for each in resources.files(_PACKAGE).iterdir()
        if each.name.endswith((".py", ".sh"))
    }
    body = texts.pop("batch.sh")
    main = texts.pop("__main__.py")
    files = {"passerelle/__init__.py": ""} | {f"passerelle/onsite/{name}": text for name, text in sorted(texts.items())}
    return base64.encodebytes(archive(main, files)).decode(), body


def archive(main: str, files: Mapping[str, str]) -> bytes:
    """What python3 runs: `main`, which imports from the texts that are beside it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as whole:
        for name, text in (("__main__.py", main), (TEXTS, json.dumps(files))):
            whole.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # of 1980: no clock, no difference
    return made.getvalue()
