"""Job, batch/v1 -> TrainingJob. Pure.

An indexed Job whose Pods run together is a distributed training; one with more completions than parallelism works
through a list, and a TrainingJob does not.
"""

from __future__ import annotations

from passerelle.imports import lifecycle, pods
from passerelle.imports.draft import Draft
from passerelle.imports.fields import Fields


def convert(document: Fields) -> Draft:
    """Raises Invalid for a shape that no Job has."""
    draft = lifecycle.begin(document)
    spec = document.under("spec")
    template = spec.under("template")
    container = pods.trainer(template, "trainer", "train", "main")
    pods.take(draft, container)
    draft.time_limit(spec.count("activeDeadlineSeconds") or template.under("spec").count("activeDeadlineSeconds"))
    draft.time_to_live(spec.count("ttlSecondsAfterFinished"))
    lifecycle.suspend(draft, spec)
    lifecycle.retries(draft, "Never", spec.count("backoffLimit"))
    together = spec.count("parallelism")
    together = 1 if together is None else together
    completions = spec.count("completions")
    if completions is not None and completions > together:
        draft.note(
            f"completions {completions} at a parallelism of {together} is a list of tasks: a TrainingJob is one "
            "training, create one for each task."
        )
    if "podFailurePolicy" in spec:
        draft.note("podFailurePolicy: left out, a trainer's exit code is final, and a site's fault is tried again.")
    if not container.gpus:
        draft.note("The Pod asks for no GPU: gpus is the number of Pods.")
    draft.put(gpus=max(together * max(container.gpus, 1), 1))
    words = pods.words(draft, container.fields)
    if words:
        draft.one_process_per_gpu(draft.training(words), container.gpus)
    return draft
