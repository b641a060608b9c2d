"""What the batch kinds of Kubernetes share: the object's metadata, deadlines, retries, suspension. Pure."""

from __future__ import annotations

from passerelle.errors import Invalid
from passerelle.imports.draft import Draft
from passerelle.imports.fields import Fields, whole

_QUEUES = "kueue.x-k8s.io/"
_WITHOUT_LIMIT = 4
"""Attempts in all where the source restarts for ever: enough for failing nodes, too few to burn an allocation."""


def begin(document: Fields) -> Draft:
    """A draft with the object's metadata. Raises Invalid for a shape that no such object has."""
    metadata = document.under("metadata")
    kind = document.text("kind") or "object"
    name = metadata.text("name") or (metadata.text("generateName") or "").rstrip("-")
    if not document.under("spec"):
        raise Invalid(f"{kind} {name or 'without a name'} has no spec; write one.")
    labels = metadata.under("labels")
    draft = Draft(
        f"{kind} {name}".strip(),
        name or kind.lower(),
        namespace=metadata.text("namespace"),
        labels={key: labels.text(key) or "" for key in labels.names() if not key.startswith(_QUEUES)},
    )
    if not name:
        draft.note("metadata.name: the source has none; write one.")
    queue = labels.text(f"{_QUEUES}queue-name")
    if queue:
        draft.note(f"The Kueue queue {queue}: left out, the site's own queue decides when the job starts.")
    return draft


def run_policy(draft: Draft, policy: Fields) -> None:
    """Kubeflow's runPolicy, without its backoffLimit."""
    draft.time_limit(policy.count("activeDeadlineSeconds"))
    draft.time_to_live(policy.count("ttlSecondsAfterFinished"))
    suspend(draft, policy)
    if "schedulingPolicy" in policy:
        draft.note("schedulingPolicy: left out, Slurm starts all processes of a job together.")


def suspend(draft: Draft, fields: Fields) -> None:
    if fields.flag("suspend"):
        draft.put(suspend=True)


def retries(draft: Draft, restart_policy: str | None, backoff_limit: int | None) -> None:
    """RestartPolicy and backoffLimit -> retry.maxAttempts."""
    if restart_policy == "Never" and backoff_limit is None:
        return
    if backoff_limit is not None:
        draft.attempts(backoff_limit + 1, f"backoffLimit {backoff_limit}")
    elif restart_policy is not None:
        draft.attempts(_WITHOUT_LIMIT, f"restartPolicy {restart_policy}")


def processes(text: str | None, gpus: int) -> int:
    """Kubeflow's processes per node, a number or a word (auto, gpu, cpu), else one for each GPU."""
    return (whole(text) if text is not None else None) or max(gpus, 1)
