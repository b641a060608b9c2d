"""Plan -> the text of the batch script. Pure.

Three parts: this attempt's own values, all of them ours; the files of onsite/ and one JSON, spec.json, with whatever
the user wrote, in quoted here-documents; and onsite/batch.sh, the same for every attempt. The text is ASCII throughout.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from passerelle.onsite import codes
from passerelle.shell import assignment, here_document

if TYPE_CHECKING:
    from passerelle.plan import Plan

_PACKAGE = "passerelle.onsite"
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
mkdir -p "$lib/passerelle/onsite" || fault "$lib can't be made"
: > "$lib/passerelle/__init__.py"
"""


def script(plan: Plan) -> str:
    """The whole script."""
    own: dict[str, str | int] = {
        "marker": plan.marker,
        "run": plan.run_directory,
        "attempt": plan.attempt,
        "nodes": plan.nodes,
        "tasks": plan.tasks,
        "tasks_per_node": plan.tasks_per_node,
        "cpus_per_task": plan.cpus_per_task,
    }
    values = "".join(f"{assignment(name, value)}\n" for name, value in own.items())
    sources, body = _onsite()
    documents = [("$lib/" + path, text) for path, text in sources]
    documents.append(("$spec", json.dumps(_spec(plan), sort_keys=True) + "\n"))
    failure = 'fault "$here can\'t be written"'
    written = "".join(here_document(f'"{path}"', text, failure) for path, text in documents)
    head = (
        f"#!/bin/bash\n# Attempt {plan.attempt} of TrainingJob {plan.namespace}/{plan.name}, written by Passerelle.\n"
    )
    return "\n".join([head + _HEAD, values + _PLACES, written, body])


def _spec(plan: Plan) -> dict[str, Any]:
    """What onsite/ reads: the only place of what the user wrote."""
    container = plan.container and {
        "image": plan.image,
        "options": list(plan.container.options),
        "binds": [plan.run_directory, *plan.container.binds],
    }
    return {
        "tasks": plan.tasks,
        "tasksPerNode": plan.tasks_per_node,
        "agent": list(plan.agent),
        "command": list(plan.command),
        "environment": dict(plan.environment),
        "workingDir": plan.working_dir,
        "container": container,
        "folders": list(plan.mounts.folders),
        "files": [
            {"folder": file.folder, "path": file.path, "data": base64.b64encode(file.data).decode()}
            for file in plan.mounts.files
        ],
        "progressPeriod": plan.progress_period_seconds,
    }


@cache
def _onsite() -> tuple[tuple[tuple[str, str], ...], str]:
    """The files of onsite/ at their paths in LIB, and the script's body. They are part of this program, read once."""
    texts = {
        each.name: each.read_text(encoding="ascii")
        for each in resources.files(_PACKAGE).iterdir()
        if each.name.endswith((".py", ".sh"))
    }
    body = texts.pop("batch.sh")
    main = texts.pop("__main__.py")
    placed = [(f"passerelle/onsite/{name}", text) for name, text in sorted(texts.items())]
    return (("__main__.py", main), *placed), body
