"""PyTorchJob, kubeflow.org/v1 -> TrainingJob. Pure.

Every replica, the Master among them, is one agent or one process with GPUs of its own: their GPUs add up to gpus. The
rendezvous that the training operator sets is the launcher's affair here.
"""

from __future__ import annotations

from passerelle.errors import Invalid
from passerelle.imports import lifecycle, pods
from passerelle.imports.draft import Draft
from passerelle.imports.fields import Fields

_ROLES = ("Master", "Worker")


def convert(document: Fields) -> Draft:
    """Raises Invalid for a shape that no PyTorchJob has."""
    draft = lifecycle.begin(document)
    spec = document.under("spec")
    replicas = spec.under("pytorchReplicaSpecs")
    roles = [replicas.under(role) for role in _ROLES if role in replicas]
    if not roles:
        raise Invalid(f"{replicas.path} has neither Master nor Worker; write one of them.")
    containers = [pods.trainer(role.under("template"), "pytorch") for role in roles]
    lead = containers[-1]  # the workers are the many
    pods.take(draft, lead)
    words = pods.words(draft, lead.fields)
    policy = spec.under("runPolicy")
    lifecycle.run_policy(draft, policy)
    lifecycle.retries(draft, roles[-1].text("restartPolicy"), policy.count("backoffLimit"))
    counts = [1 if role.count("replicas") is None else role.count("replicas") or 0 for role in roles]
    _size(draft, spec, counts, containers)
    _differences(draft, containers)
    if words:
        draft.one_process_per_gpu(draft.training(words), lead.gpus)
    return draft


def _size(draft: Draft, spec: Fields, counts: list[int], containers: list[pods.Container]) -> None:
    elastic = spec.under("elasticPolicy")
    number = spec.text("nprocPerNode") or elastic.text("nProcPerNode")
    if elastic:
        least, most = elastic.text("minReplicas"), elastic.text("maxReplicas")
        draft.note(
            f"elasticPolicy ({least or '?'} to {most or '?'} replicas): left out, a Slurm job has the size that it "
            "asked for; a failed attempt starts again with all of it."
        )
    total = sum(
        count * (container.gpus or lifecycle.processes(number, 0))
        for count, container in zip(counts, containers, strict=True)
    )
    if not any(container.gpus for container in containers):
        draft.note("The Pods ask for no GPU: gpus is the number of processes.")
    draft.put(gpus=max(total, 1))


def _differences(draft: Draft, containers: list[pods.Container]) -> None:
    """A training has one command: what the Master does differently is said."""
    if len(containers) < len(_ROLES):
        return
    master, worker = containers
    told = [
        name
        for name in ("image", "command", "args")
        if master.fields.raw(name) is not None and master.fields.raw(name) != worker.fields.raw(name)
    ]
    if told:
        draft.note(
            f"The Master's {' and '.join(told)} differ from the Worker's: the Worker's count, rank 0 among them."
        )
    if master.gpus != worker.gpus:
        draft.note(
            f"The Master has {master.gpus} GPUs and a Worker {worker.gpus}: every node of a Slurm job has equally many."
        )
