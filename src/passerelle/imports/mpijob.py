"""MPIJob, kubeflow.org/v2beta1 (and v1) -> TrainingJob. Pure.

The Launcher says what runs, the Workers say where: at a site srun starts all of it, and no ssh and no Launcher are
needed.
"""

from __future__ import annotations

from passerelle.errors import Invalid
from passerelle.imports import lifecycle, pods
from passerelle.imports.draft import Draft
from passerelle.imports.fields import Fields


def convert(document: Fields) -> Draft:
    """Raises Invalid for a shape that no MPIJob has."""
    draft = lifecycle.begin(document)
    spec = document.under("spec")
    replicas = spec.under("mpiReplicaSpecs")
    if "Worker" not in replicas and "Launcher" not in replicas:
        raise Invalid(f"{replicas.path} has neither Launcher nor Worker; write both.")
    launcher = (
        pods.trainer(replicas.under("Launcher").under("template"), "launcher") if "Launcher" in replicas else None
    )
    worker = pods.trainer(replicas.under("Worker").under("template"), "worker") if "Worker" in replicas else None
    if launcher is not None:
        pods.environment(draft, launcher.fields)
    trains = worker or launcher
    if trains is None:
        raise Invalid(f"{replicas.path} is empty; write Launcher and Worker.")
    pods.take(draft, trains)
    policy = spec.under("runPolicy") or spec
    lifecycle.run_policy(draft, policy)
    lifecycle.retries(draft, replicas.under("Launcher").text("restartPolicy"), policy.count("backoffLimit"))
    tasks = _command(draft, (launcher or trains).fields)
    _size(draft, spec, replicas, trains, tasks)
    return draft


def _command(draft: Draft, fields: Fields) -> int | None:
    """The trainer's command, and how many processes mpirun was to start."""
    words = pods.words(draft, fields)
    found = draft.training(words) if words else None
    if found is None or "mpi" not in found.trainer.layers:
        draft.put(launcher="mpi")
        if found is not None:
            draft.note("The Launcher's command starts no mpirun that can be seen: write the trainer's own command.")
    return found.trainer.tasks if found is not None else None


def _size(draft: Draft, spec: Fields, replicas: Fields, trains: pods.Container, tasks: int | None) -> None:
    worker = replicas.under("Worker")
    count = 1 if worker.count("replicas") is None else worker.count("replicas") or 0
    count += spec.flag("runLauncherAsWorker")
    slots = spec.count("slotsPerWorker") or 1
    gpus = count * (trains.gpus or slots)
    if not trains.gpus:
        draft.note("The Workers ask for no GPU: gpus is the number of processes.")
    elif tasks is not None and tasks != gpus:
        draft.note(f"mpirun started {tasks} processes on {gpus} GPUs; here each GPU has one.")
    draft.put(gpus=max(gpus, 1))
