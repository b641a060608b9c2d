"""A TrainingJob's plan and batch, with what planning must read first: ConfigMaps, Secrets, and the namespace's labels.

A Secret is read each time that a plan is made, and kept nowhere: what an attempt gets is what stands there when it is
submitted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from passerelle import admission, brought
from passerelle.batch import Batch
from passerelle.body import body, filled
from passerelle.brought import Brought
from passerelle.errors import Invalid, Unavailable
from passerelle.gateways.base import Upload
from passerelle.job_secrets import JobSecrets, Withheld
from passerelle.kube import Gone, Kube
from passerelle.objects import TrainingJob
from passerelle.parcels import Parcel, check_size, no_way, sealed
from passerelle.plan import Plan, plan
from passerelle.preflight import Finding, preflight
from passerelle.render import NeedsFiles, packed
from passerelle.run_directory import recorded_root
from passerelle.sites import Service
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

log = logging.getLogger("passerelle.planning")

LABELS_SECONDS = 5.0
"""How long a namespace's labels are believed: a burst of TrainingJobs reads them once, not once a pass."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, its batch and the parcels that travel beside that, or why there is none. `held`: it was not made again,
    since nothing may be submitted now. `findings` None: preflight had nothing to look at.
    """

    plan: Plan | None = None
    batch: Batch | None = None
    parcels: tuple[Parcel, ...] = field(default=(), repr=False)
    invalid: Invalid | None = None
    findings: tuple[Finding, ...] | None = None
    held: bool = False


class Planner:
    """Reads what a plan needs, then plans purely. `secrets` are those that TrainingJobs may name."""

    def __init__(self, kube: Kube, secrets: JobSecrets, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self.secrets = secrets
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
        spec, along = job.spec, Brought()
        try:
            admission.admitted(site, job.site, namespace, labels)  # of others nothing is read
            carried = _carries(service)
            along = await self._brought(job, service, carried=carried)
            spec = filled(spec, body(spec, along.files))
            made = plan(
                job.spec,
                site,
                profile,
                run=job.run,
                attempt=attempt,
                namespace=namespace,
                name=job.key.name,
                namespace_labels=labels,
                brought=along,
                exclude=exclude,
                run_root=recorded_root(job, service, attempt),
            )
            planned = _packed(made, along, carried=carried)
        except Invalid as error:
            planned = Planned(invalid=error)
        except Unavailable:
            raise
        except Exception:  # a run whose end is never written down would be worse than a repeated defect
            log.exception("planning failed", extra={"trainingjob": str(job.key)})
            text = "The operator failed to plan this TrainingJob, which is a defect of it; its log tells more."
            return Planned(invalid=Invalid(text, reason="Defect"))
        entry = admission.entry(site, namespace, labels)
        look = partial(preflight, spec, site, profile, entry=entry, passed_over=along.passed_over)
        found = _advice(job, planned, look)
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

    async def _brought(self, job: TrainingJob, service: Service, *, carried: bool) -> Brought:
        """What the job's ConfigMaps and Secrets hold for it."""
        assert job.spec is not None  # noqa: S101 -- plan() has looked
        namespace, secrets = job.key.namespace, brought.secrets(job.spec)
        if secrets and not carried:
            assert service.site.spec is not None  # noqa: S101 -- plan() has looked
            text = no_way(secrets, service.site.name, service.site.spec.gateway.driver)
            raise NeedsFiles(text, field=brought.field_of(job.spec, secrets[0]))
        brought.check_sources(job.spec)
        names = brought.config_maps(job.spec)
        asked = [self._kube.config_map(namespace, name) for name in names]
        asked_secrets = [self._secret(job.spec, namespace, name) for name in secrets]
        found = await asyncio.gather(*map(_there, [*asked, *asked_secrets]), return_exceptions=True)
        read: list[Mapping[str, bytes] | None] = []
        for each in found:
            if isinstance(each, BaseException):
                raise each
            read.append(each)
        config_maps = dict(zip(names, read[: len(names)], strict=True))
        return brought.bring(job.spec, namespace, config_maps, dict(zip(secrets, read[len(names) :], strict=True)))

    async def _secret(self, spec: TrainingJobSpec, namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            return await self.secrets.read(namespace, name)
        except Withheld as error:
            raise Withheld(error.message, field=brought.field_of(spec, name)) from None


async def _there(read: Awaitable[Mapping[str, bytes]]) -> Mapping[str, bytes] | None:
    """The keys, None where there is no such object."""
    try:
        return await read
    except Gone:
        return None


def _carries(service: Service) -> bool:
    """Whether the Site's gateway carries files. Of one that isn't open nothing is known, and nothing is sent."""
    return service.watch is None or isinstance(service.watch.gateway, Upload)


def _packed(made: Plan, along: Brought, *, carried: bool) -> Planned:
    batch, payload = packed(made, carried=carried)
    parcels = [payload.parcel] if payload is not None else []
    if along.sealed is not None:
        parcels.append(sealed(made, along.sealed))
    for each in parcels:
        check_size(each)
    return Planned(plan=made, batch=batch, parcels=tuple(parcels))


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
