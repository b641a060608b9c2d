"""TrainJob, trainer.kubeflow.org/v1alpha1 -> TrainingJob. Pure.

A TrainJob leaves much to its runtime: image, nodes, processes, the launcher. The runtime is read where it stands in the
same file; else its name says which framework it is for.
"""

from __future__ import annotations

from collections.abc import Sequence

from passerelle.imports import lifecycle, pods
from passerelle.imports.draft import Draft
from passerelle.imports.fields import Fields

_RUNTIMES = ("ClusterTrainingRuntime", "TrainingRuntime")
_LAUNCHERS = {"deepspeed": "deepspeed", "mpi": "mpi", "mlx": "mpi", "jax": "jax"}
"""By a word in the runtime's name. torch needs none: torchrun stands in the command where it is used."""


def convert(document: Fields, beside: Sequence[Fields]) -> Draft:
    """Raises Invalid for a shape that no TrainJob has. `beside` are the other documents of the file."""
    draft = lifecycle.begin(document)
    spec, own = document.under("spec"), document.under("spec").under("trainer")
    name = spec.under("runtimeRef").text("name")
    runtime = next(
        (each for each in beside if each.text("kind") in _RUNTIMES and each.under("metadata").text("name") == name),
        None,
    )
    policy = Fields(None) if runtime is None else runtime.under("spec").under("mlPolicy")
    container = None if runtime is None else _node(runtime)
    if container is not None:
        pods.take(draft, container)
    if runtime is None and name:
        draft.note(
            f"Runtime {name} is not in this file: what it sets (image, command, nodes) is unknown here; write it, or "
            "add the runtime to the file."
        )
    if own.text("image"):
        draft.image(own.text("image"))
    pods.environment(draft, own)
    pods.resources(draft, own.under("resourcesPerNode"))
    gpus = pods.gpus(own.under("resourcesPerNode")) or (container.gpus if container is not None else 0)
    _size(draft, own, policy, gpus)
    lifecycle.suspend(draft, spec)
    draft.time_limit(spec.count("activeDeadlineSeconds"))
    draft.time_to_live(spec.count("ttlSecondsAfterFinished"))
    _initializer(draft, spec)
    for overrides in ("podTemplateOverrides", "podSpecOverrides", "runtimePatches"):
        if overrides in spec:
            draft.note(f"{overrides}: left out; volumes become paths at the site, and placement is the Site's.")
    _command(draft, own, container, policy, name or "", gpus)
    return draft


def _node(runtime: Fields) -> pods.Container | None:
    """The container that trains: of the job whose trainjob-ancestor-step is trainer, or which is called node."""
    jobs = list(runtime.under("spec").under("template").under("spec").each("replicatedJobs"))
    chosen = next((job for job in jobs if job.text("name") in {"node", "trainer-node"}), jobs[-1] if jobs else None)
    if chosen is None:
        return None
    return pods.trainer(chosen.under("template").under("spec").under("template"), "node", "trainer")


def _size(draft: Draft, own: Fields, policy: Fields, gpus: int) -> None:
    nodes = own.count("numNodes") or policy.count("numNodes") or 1
    text = own.text("numProcPerNode") or next(
        (found for name in ("torch", "mpi") if (found := policy.under(name).text("numProcPerNode"))), None
    )
    if not gpus:
        draft.note("The nodes ask for no GPU: gpus is the number of processes.")
    elif text is not None and lifecycle.processes(text, gpus) != gpus:
        draft.note(f"numProcPerNode is {text} on nodes with {gpus} GPUs; here each GPU has one process.")
    draft.put(gpus=nodes * (gpus or lifecycle.processes(text, 0)))


def _initializer(draft: Draft, spec: Fields) -> None:
    for part in ("dataset", "model"):
        source = spec.under("initializer").under(part)
        if source:
            draft.note(
                f"The {part}'s initializer downloads {source.text('storageUri') or 'something'}: bring it to the site "
                "before, once, and use its path there."
            )


def _command(
    draft: Draft, own: Fields, container: pods.Container | None, policy: Fields, runtime: str, gpus: int
) -> None:
    words = pods.words(draft, _joined(own, container))
    found = draft.training(words) if words else None
    if found is not None and found.trainer.launcher != "srun":
        return
    launcher = next((word for part, word in _LAUNCHERS.items() if part in policy or part in runtime), None)
    draft.put(launcher=launcher)
    if launcher is None:
        draft.one_process_per_gpu(found, gpus)


def _joined(own: Fields, container: pods.Container | None) -> Fields:
    """Each of command and args is the TrainJob's where it has one, else the runtime's, as Kubeflow joins them."""
    base = Fields(None) if container is None else container.fields
    return Fields({key: own.texts(key) or base.texts(key) for key in ("command", "args")})
