"""Gauges that are read when Prometheus asks: what is true of each TrainingJob and each Site at that moment.

A TrainingJob's series stand here from the first sight of it until ten minutes after its end, or until it is deleted.
They are made when they are read, one after the other: of ten thousand TrainingJobs there are too many for a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.samples import Sample as Shown
from prometheus_client.utils import floatToGoString

from passerelle.errors import PasserelleError
from passerelle.exposition import label
from passerelle.gateways.base import Credential
from passerelle.gateways.courtesy import WAITED_IN_PLACE, Courtesy, Kind
from passerelle.gateways.purpose import Purpose
from passerelle.objects import Key, Site, TrainingJob
from passerelle.series import FAMILIES, JOB_LABELS, Sample, Stamps, finished_at, samples, stamps
from passerelle.watch import SiteWatch
from passerelle.work import WorkQueue

KEPT_SECONDS = 600
"""How long a TrainingJob's series outlive its end: ten scrapes a minute apart."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A TrainingJob's series, ready to be shown. `text` are its labels, as they stand in a line."""

    labels: tuple[str, str, str]
    text: str
    samples: tuple[Sample, ...]
    stamps: Stamps
    goes_at: float | None


class _Samples:
    """The samples of one family, of the rows that there were when it was asked for."""

    def __init__(self, name: str, labels: tuple[str, ...], rows: Sequence[_Row]) -> None:
        self._name = name
        self._labels = (*JOB_LABELS, *labels)
        self._rows = rows

    def __iter__(self) -> Iterator[Shown]:
        for row in self._rows:
            for each in row.samples:
                if each.family == self._name:
                    labels = dict(zip(self._labels, (*row.labels, *each.labels), strict=True))
                    yield Shown(self._name, labels, each.value)

    def lines(self) -> Iterator[str]:
        names = self._labels[len(JOB_LABELS) :]
        for row in self._rows:
            for each in row.samples:
                if each.family == self._name:
                    more = "".join(f',{name}="{label(word)}"' for name, word in zip(names, each.labels, strict=True))
                    value = floatToGoString(each.value)  # type: ignore[no-untyped-call]
                    yield f"{self._name}{{{row.text}{more}}} {value}\n"


class TrainingJobGauges:
    """The collector of the TrainingJobs in view. `now` is the wall clock, in epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rows: dict[Key, _Row] = {}

    def keep(self, job: TrainingJob) -> Stamps:
        """Take in what kube-apiserver has; the times that were on record before."""
        before = self._rows.pop(job.key, None)
        finished = finished_at(job)
        goes_at = None if finished is None else finished + KEPT_SECONDS
        if goes_at is None or self._now() < goes_at:
            labels = (job.key.namespace, job.key.name, job.site)
            text = ",".join(f'{name}="{label(value)}"' for name, value in zip(JOB_LABELS, labels, strict=True))
            self._rows[job.key] = _Row(labels, text, tuple(samples(job)), stamps(job), goes_at)
        return before.stamps if before is not None else {}

    def forget(self, key: Key) -> None:
        self._rows.pop(key, None)

    def describe(self) -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(name, family.meaning, labels=[*JOB_LABELS, *family.labels])
            for name, family in FAMILIES.items()
        ]

    def collect(self) -> list[GaugeMetricFamily]:
        now = self._now()
        for key in [key for key, row in self._rows.items() if row.goes_at is not None and row.goes_at <= now]:
            del self._rows[key]
        rows, families = list(self._rows.values()), self.describe()
        for family in families:
            family.samples = cast("Any", _Samples(family.name, FAMILIES[family.name].labels, rows))
        return families


class Service(Protocol):
    """A Site in service, as far as its gauges need it."""

    @property
    def site(self) -> Site: ...
    @property
    def queue(self) -> WorkQueue[Key]: ...
    @property
    def watch(self) -> SiteWatch | None: ...
    @property
    def courtesy(self) -> Courtesy: ...
    @property
    def credential(self) -> Credential | None: ...
    @property
    def trouble(self) -> PasserelleError | None: ...


class SiteGauges:
    """The collector of the Sites. Nothing is in service before `services` is set."""

    def __init__(self) -> None:
        self.services: Callable[[], Sequence[Service]] = list
        self.homeless: WorkQueue[Key] | None = None

    def describe(self) -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(name, meaning, labels=["site"])
            for name, meaning in (
                ("passerelle_site_reachable", "1 while the site answers and accepts the credential, else 0."),
                (
                    "passerelle_site_credential_expiry_timestamp_seconds",
                    "When the site's credential ends, in epoch seconds.",
                ),
                (
                    "passerelle_site_last_look_timestamp_seconds",
                    "When the last look at the site went well, in epoch seconds.",
                ),
                ("passerelle_site_live_jobs", "Jobs of ours at the site that have not ended."),
                ("passerelle_site_stray_jobs", "Live jobs of ours at the site that belong to no TrainingJob here."),
                ("passerelle_site_looked_for", "TrainingJobs whose Slurm jobs are looked for at the site."),
                ("passerelle_work_queue_depth", "TrainingJobs that wait for a pass."),
            )
        ]

    def collect(self) -> list[GaugeMetricFamily]:
        reachable, expiry, look, live, stray, looked_for, depth = families = self.describe()
        for service in self.services():
            site, watch = [service.site.name], service.watch
            reachable.add_metric(site, watch is not None and service.trouble is None)
            if service.credential is not None and service.credential.expires is not None:
                expiry.add_metric(site, service.credential.expires)
            if watch is not None and watch.looked_at is not None:
                look.add_metric(site, watch.looked_at)
            live.add_metric(site, watch.live_jobs if watch is not None else 0)
            stray.add_metric(site, len(watch.strays()) if watch is not None else 0)
            looked_for.add_metric(site, watch.looked_for if watch is not None else 0)
            depth.add_metric(site, service.queue.depth)
        if self.homeless is not None:
            depth.add_metric([self.homeless.name], self.homeless.depth)
        return families


Family = GaugeMetricFamily | CounterMetricFamily


class CourtesyGauges:
    """The collector of how each Site is spared. Nothing is in service before `services` is set."""

    def __init__(self) -> None:
        self.services: Callable[[], Sequence[Service]] = list

    def describe(self) -> list[Family]:
        spent = "Requests or commands that were sent to the site in the last hour."
        return [
            GaugeMetricFamily("passerelle_site_calls_last_hour", spent, labels=["site", "purpose"]),
            GaugeMetricFamily("passerelle_site_calls_budget", "The most that may be sent in an hour.", labels=["site"]),
            GaugeMetricFamily(
                "passerelle_site_stretch_ratio",
                "How many times as long a period is as it should be.",
                labels=["site", "period"],
            ),
            GaugeMetricFamily("passerelle_site_spared", "1 while such calls are held back.", labels=["site", "calls"]),
            CounterMetricFamily("passerelle_site_deferred", "Calls that were held back.", labels=["site", "purpose"]),
        ]

    def collect(self) -> list[Family]:
        spent, budget, stretch, spared, deferred = families = self.describe()
        for service in self.services():
            site, courtesy = service.site.name, service.courtesy
            budget.add_metric([site], courtesy.budget.limit)
            stretch.add_metric([site, "polling"], courtesy.look_stretch)
            stretch.add_metric([site, "progress"], courtesy.progress_stretch)
            spared.add_metric([site, "all"], courtesy.patience_left > WAITED_IN_PLACE)
            for kind in Kind:
                spared.add_metric([site, kind], kind in courtesy.open())
            spent.add_metric([site, "former"], courtesy.budget.former)
            for purpose in Purpose:
                spent.add_metric([site, purpose], courtesy.budget.spent(purpose))
                deferred.add_metric([site, purpose], courtesy.deferred[purpose])
        return families
