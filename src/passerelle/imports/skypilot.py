"""A SkyPilot task -> TrainingJob. Pure.

`run` is a shell script that SkyPilot starts once on each node; `setup` prepares a rented machine, and belongs into the
image here. Clouds, regions and prices have no place at a site.
"""

from __future__ import annotations

import re

from passerelle.errors import Invalid
from passerelle.imports import scripts
from passerelle.imports.draft import Draft, joined
from passerelle.imports.fields import Fields, scalar

_PLACE = ("cloud", "infra", "region", "zone", "instance_type", "any_of", "ordered", "autostop", "cpus",
          "memory", "disk_size", "disk_tier", "network_tier", "ports", "labels", "accelerator_args")  # fmt: skip
_DATA = re.compile(r"^(s3|gs|gcs|r2|cos|oci|az|azure|hf|nebius|https?)://")
_REFUSED = {"service": "a SkyServe service", "pool": "a SkyPilot pool"}


def convert(document: Fields) -> Draft:
    """Raises Invalid for what is no training task."""
    for key, what in _REFUSED.items():
        if key in document:
            raise Invalid(f"The file describes {what}, which serves; import reads tasks that train.")
    name = document.text("name")
    draft = Draft(f"SkyPilot task {name or ''}".strip(), name or "training")
    resources = document.under("resources")
    nodes = document.count("num_nodes") or 1
    gpus = _accelerators(draft, resources)
    draft.put(gpus=nodes * gpus)
    _image(draft, resources)
    _place(draft, resources)
    _variables(draft, document)
    _data(draft, document)
    setup = document.text("setup")
    if setup:
        draft.note("setup is left out: compute nodes may have no internet; build what it installs into the image.")
    _run(draft, document.text("run"), gpus)
    return draft


def _run(draft: Draft, text: str | None, gpus: int) -> None:
    if not text:
        return
    found = scripts.read(text, draft.environment)
    if found is None:
        draft.training(["bash", "-c", text])
        return
    draft.script(found)
    draft.one_process_per_gpu(found, gpus)


def _accelerators(draft: Draft, resources: Fields) -> int:
    """GPUs of a node: `A100:8`, `{A100: 8}`, or the first of several alternatives."""
    value = resources.raw("accelerators")
    if isinstance(value, list) and value:
        draft.note(f"accelerators names {len(value)} choices: the first is taken.")
        value = value[0]
    elif isinstance(value, dict) and value:
        if len(value) > 1:
            draft.note(f"accelerators names {len(value)} choices: the first is taken.")
        kind, number = next(iter(value.items()))
        value = f"{kind}:{1 if number is None else number}"
    if value is None:
        draft.note("The task asks for no accelerator: one GPU a node is taken.")
        return 1
    text = scalar(value) or ""
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(?::(\d+(?:\.\d+)?))?", text)
    if not found:
        raise Invalid(f"resources.accelerators is {text!r}; write a kind and a number, like A100:8.")
    number = float(found[2] or 1)
    draft.note(f"accelerators {found[1]}: the Site decides which GPU it is.")
    if number != int(number) or not number:
        draft.note(f"accelerators {text}: a part of a GPU can't be had; one is taken.")
    return max(int(number), 1)


def _image(draft: Draft, resources: Fields) -> None:
    value = resources.raw("image_id")
    text = scalar(next(iter(value.values()), None) if isinstance(value, dict) else value)
    if text and text.startswith("docker:"):
        draft.image(text.removeprefix("docker:"))
    elif text:
        draft.note(f"image_id {text} is a cloud's machine image: build a container image, and write it as image.")


def _place(draft: Draft, resources: Fields) -> None:
    named = [key for key in _PLACE if key in resources]
    if named:
        draft.note(
            f"resources {joined(named)}: left out, a Site is one machine, and a GPU comes with a share of its node."
        )
    recovery = resources.raw("job_recovery")
    if isinstance(recovery, dict):
        again = Fields(recovery, "resources.job_recovery").count("max_restarts_on_errors")
        if again:
            draft.attempts(again + 1, f"max_restarts_on_errors {again}")
    elif resources.flag("use_spot"):
        draft.note("use_spot: a site takes no nodes back for a price; write retry.maxAttempts for nodes that fail.")


def _variables(draft: Draft, document: Fields) -> None:
    envs = document.under("envs")
    draft.environment |= {name: envs.text(name) or "" for name in envs.names()}
    asked = [name for name in envs.all_names() if name not in envs]
    if asked:
        draft.note(f"env {joined(asked)}: asked for at launch; write a value as env.")
    secrets = document.under("secrets").all_names()
    if secrets:
        draft.note(
            f"Secrets {joined(secrets)} are left out: make a Kubernetes Secret of them, and name that by envFrom."
        )


def _data(draft: Draft, document: Fields) -> None:
    if "workdir" in document:
        draft.note("workdir is not sent along: copy the code to the site, or into the image, and write workingDir.")
    mounts = document.under("file_mounts")
    for target in mounts.names():
        source = mounts.raw(target)
        if isinstance(source, dict) and not source.get("source"):
            draft.note(
                f"{target} is a bucket that the task fills: write checkpoints to the directory that "
                "PASSERELLE_CHECKPOINT_DIR names; it stays at the site."
            )
            continue
        text = scalar(source) or Fields(source, mounts.at(target)).text("source") or "a bucket"
        kind = "is a bucket" if _DATA.match(text) or not isinstance(source, str) else "comes from your machine"
        draft.note(f"{target} {kind} ({text}): bring it to the site before, once, and use its path there.")
    for key in ("volumes", "inputs", "outputs"):
        if key in document:
            draft.note(f"{key}: left out; bring the data to the site, and use their path there.")
    for key in ("config", "event_callback", "experimental"):
        if key in document:
            draft.note(f"{key}: left out, it steers SkyPilot.")
