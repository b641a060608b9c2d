"""A TrainingJob's plan and batch, with what planning must read first: ConfigMaps, and the namespace's labels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from passerelle import admission
from passerelle.batch import Batch
from passerelle.body import body, filled
from passerelle.errors import Invalid, Unavailable
from passerelle.kube import Gone, Kube
from passerelle.objects import TrainingJob
from passerelle.plan import Plan, plan
from passerelle.preflight import Finding, preflight
from passerelle.render import render
from passerelle.sites import Service

log = logging.getLogger("passerelle.planning")

LABELS_SECONDS = 5.0
"""How long a namespace's labels are believed: a burst of TrainingJobs reads them once, not once a pass."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and its batch, or why there is none. `held`: it was not made again, since nothing may be submitted now.
    `findings` None: preflight had nothing to look at.
    """

    plan: Plan | None = None
    batch: Batch | None = None
    invalid: Invalid | None = None
    findings: tuple[Finding, ...] | None = None
    held: bool = False


class Planner:
    """Reads what a plan needs, then plans purely."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._labels: dict[str, tuple[float, dict[str, str]]] = {}  # namespace -> read when, its labels

    async def plan(
        self, job: TrainingJob, service: Service | None, attempt: int, exclude: Sequence[str] = ()
    ) -> Planned:
        """The plan of this attempt, away from the nodes of `exclude`. Raises Unavailable while kube-apiserver can't be
        read.
        """
        if job.spec is None:
            return Planned(invalid=job.invalid)
        if service is None:
            text = f"There is no Site named {job.site!r}; `kubectl get hpcsites` lists them."
            return Planned(invalid=Invalid(text, reason="SiteNotFound"))
        site, profile = service.site.spec, service.profile
        if site is None or profile is None:
            text = f"Site {job.site} can't be used: {service.refused}"
            return Planned(invalid=Invalid(text, reason="SiteInvalid"))
        namespace, labels = job.key.namespace, await self._labels_of(job, service)
        spec = job.spec
        try:
            files = await self._files(job)
            spec = filled(spec, body(spec, files))
            made = plan(
                job.spec,
                site,
                profile,
                run=job.run,
                attempt=attempt,
                namespace=namespace,
                name=job.key.name,
                namespace_labels=labels,
                files=files,
                exclude=exclude,
            )
            planned = Planned(plan=made, batch=render(made))
        except Invalid as error:
            planned = Planned(invalid=error)
        except Unavailable:
            raise
        except Exception:  # a run whose end is never written down would be worse than a repeated defect
            log.exception("planning failed", extra={"trainingjob": str(job.key)})
            text = "The operator failed to plan this TrainingJob, which is a defect of it; its log tells more."
            return Planned(invalid=Invalid(text, reason="Defect"))
        entry = admission.entry(site, namespace, labels)
        found = _advice(job, planned, partial(preflight, spec, site, profile, entry=entry))
        return _judged(planned, found, begun=bool(job.status.attempts))

    async def _labels_of(self, job: TrainingJob, service: Service) -> dict[str, str]:
        """The namespace's labels, read only where a selector asks for them."""
        spec, namespace = service.site.spec, job.key.namespace
        if spec is None or not any(entry.selector for entry in spec.admission):
            return {}
        read_at, labels = self._labels.get(namespace, (-LABELS_SECONDS, {}))
        if self._clock() - read_at >= LABELS_SECONDS:
            try:
                labels = await self._kube.namespace_labels(namespace)
            except Gone:
                return {}
            self._labels[namespace] = (self._clock(), labels)
        return labels

    async def _files(self, job: TrainingJob) -> list[tuple[str, bytes]]:
        """Absolute path in the container, and content, of every file; in the order of spec.files, keys sorted."""
        files = []
        for entry in job.spec.files if job.spec is not None else []:
            try:
                data = await self._kube.config_map(job.key.namespace, entry.config_map)
            except Gone:
                where = f"{entry.config_map!r} in namespace {job.key.namespace}"
                text = f"There is no ConfigMap named {where}; create it first."
                raise Invalid(text, reason="ConfigMapNotFound") from None
            files += [(f"{entry.path.rstrip('/')}/{key}", data[key]) for key in sorted(data)]
        return files


def _advice(job: TrainingJob, planned: Planned, look: Callable[..., tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """What preflight finds. Where it fails it neither stops a run nor hides its end."""
    try:
        return look(refused=planned.invalid)
    except Exception:  # a defect of advice is logged, and the job goes on without it
        log.exception("preflight failed", extra={"trainingjob": str(job.key)})
        return ()


def _judged(planned: Planned, found: tuple[Finding, ...], *, begun: bool) -> Planned:
    """What was planned, refused where preflight finds an error: before the first intent only, since a run that has
    begun is not stopped by a check that a newer release brings.
    """
    worst = next((each for each in found if each.severity == "error"), None)
    planned = replace(planned, findings=found)
    if worst is None or (planned.plan is not None and begun):
        return planned
    if planned.invalid is not None and planned.invalid.reason == worst.id:
        return planned
    return Planned(invalid=Invalid(str(worst), reason=worst.id), findings=found)
