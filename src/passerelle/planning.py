"""A TrainingJob's plan and batch, with what planning must read first: ConfigMaps, and the namespace's labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from passerelle.batch import Batch
from passerelle.errors import Invalid
from passerelle.kube import Gone, Kube
from passerelle.objects import TrainingJob
from passerelle.plan import Plan, plan
from passerelle.render import render
from passerelle.sites import Service

LABELS_SECONDS = 5.0
"""How long a namespace's labels are believed: a burst of TrainingJobs reads them once, not once a pass."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and its batch, or why there is none. `held`: it was not made again, since nothing may be submitted now."""

    plan: Plan | None = None
    batch: Batch | None = None
    invalid: Invalid | None = None
    held: bool = False


class Planner:
    """Reads what a plan needs, then plans purely."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._labels: dict[str, tuple[float, dict[str, str]]] = {}  # namespace -> read when, its labels

    async def plan(self, job: TrainingJob, service: Service | None, attempt: int) -> Planned:
        """The plan of this attempt. Raises Unavailable while kube-apiserver can't be read."""
        if job.spec is None:
            return Planned(invalid=job.invalid)
        try:
            if service is None:
                text = f"There is no Site named {job.site!r}; `kubectl get hpcsites` lists them."
                raise Invalid(text, reason="SiteNotFound")
            if service.site.spec is None or service.profile is None:
                text = f"Site {job.site} can't be used: {service.refused}"
                raise Invalid(text, reason="SiteInvalid")
            made = plan(
                job.spec,
                service.site.spec,
                service.profile,
                run=job.run,
                attempt=attempt,
                namespace=job.key.namespace,
                name=job.key.name,
                namespace_labels=await self._labels_of(job, service),
                files=await self._files(job),
            )
            return Planned(plan=made, batch=render(made))
        except Invalid as error:
            return Planned(invalid=error)

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
