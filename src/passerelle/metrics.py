"""What Prometheus reads. docs/metrics.md lists it; a test compares the two.

What is true now (TrainingJobs, Sites) is read when Prometheus asks, so nothing can be left behind; what has happened is
counted where it happens. Labels are bounded by what people declare and by words of ours: no message, job id, marker or
path is ever one. A TrainingJob's series go ten minutes after its end, and with it when it is deleted.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from passerelle.collectors import CourtesyGauges, Service, SiteGauges, TrainingJobGauges
from passerelle.errors import Missing, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Gateway
from passerelle.gateways.measured import Fence, Request, measured
from passerelle.objects import Key, TrainingJob
from passerelle.series import news, stamps
from passerelle.work import WorkQueue

REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_BUCKETS = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 900, 3600)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # each counter would come twice


class Metrics:
    """All of the operator's metrics, in a registry of their own. `now` is the wall clock, `clock` is monotonic."""

    def __init__(self, *, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.perf_counter) -> None:
        self.registry = CollectorRegistry()
        self._now = now
        self._clock = clock
        self._jobs = TrainingJobGauges(now)
        self._sites = SiteGauges()
        self._courtesy = CourtesyGauges()
        self.registry.register(self._jobs)
        self.registry.register(self._sites)
        self.registry.register(self._courtesy)
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        version = importlib.metadata.version("passerelle")
        Gauge("passerelle_build_info", "1, with the operator's version.", ["version"], registry=self.registry).labels(
            version
        ).set(1)

        self._leader = Gauge(
            "passerelle_leader", "1 where this operator acts, 0 where it stands by.", registry=self.registry
        )
        self._requests = self._counter(
            "passerelle_gateway_requests_total",
            "Calls of a gateway's operations, by how they ended.",
            "site",
            "operation",
            "outcome",
        )
        self._request_seconds = self._histogram(
            "passerelle_gateway_request_seconds", "How long those calls took.", REQUEST_BUCKETS, "site", "operation"
        )
        self._calls = self._counter(
            "passerelle_gateway_calls_total",
            "Requests or commands that they sent, answered or not.",
            "site",
            "operation",
        )
        self._responses = self._counter(
            "passerelle_gateway_responses_total", "Answers that those calls read.", "site", "operation"
        )
        self._received = self._counter(
            "passerelle_gateway_response_bytes_total", "Bytes of those answers, without headers.", "site", "operation"
        )
        self._submissions = self._counter(
            "passerelle_submissions_total", "Submissions, by what the site made of them.", "site", "result"
        )
        self._lag = self._histogram(
            "passerelle_status_lag_seconds",
            "From Slurm's time stamp to the TrainingJob's status.",
            LAG_BUCKETS,
            "site",
            "change",
        )
        self._writes = self._counter(
            "passerelle_kubernetes_writes_total", "Writes to kube-apiserver, by how they ended.", "kind", "outcome"
        )
        self._staged = self._counter(
            "passerelle_staged_bytes_total",
            "Bytes copied from object stores to a site (In), and back (Out).",
            "site",
            "direction",
        )
        self._passes = self._counter(
            "passerelle_reconcile_passes_total", "Passes over TrainingJobs, by how they ended.", "outcome"
        )
        self._pass_seconds = self._histogram(
            "passerelle_reconcile_pass_seconds", "How long those passes took.", PASS_BUCKETS
        )
        for outcome in ("ok", "error"):
            self._passes.labels(outcome)  # so that a rate over errors exists before the first one

    def read_leader(self, leads: Callable[[], bool]) -> None:
        """Read there from now on whether this operator acts."""
        self._leader.set_function(leads)

    def read_sites(self, services: Callable[[], Sequence[Service]], homeless: WorkQueue[Key]) -> None:
        """Read the Sites' gauges there from now on."""
        self._sites.services, self._sites.homeless = services, homeless
        self._courtesy.services = services

    # TrainingJobs: reconcile.py's Witness

    def kept(self, job: TrainingJob) -> None:
        """kube-apiserver has this of a TrainingJob."""
        before = self._jobs.keep(job)
        for change, stamp in news(before, stamps(job)):
            self._lag.labels(job.site, change).observe(max(0.0, self._now() - stamp))

    def forgotten(self, key: Key) -> None:
        """A TrainingJob is no more."""
        self._jobs.forget(key)

    def moved(self, site: str, direction: str, size: int) -> None:
        """So many bytes were copied to a site (In) or from it (Out)."""
        self._staged.labels(site, direction).inc(size)

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """Time a pass and count how it ended."""
        began = self._clock()
        outcome = "error"
        try:
            yield
            outcome = "ok"
        finally:
            self._passes.labels(outcome).inc()
            self._pass_seconds.observe(self._clock() - began)

    # Sites and kube-apiserver

    def measure(self, site: str, gateway: Gateway, fence: Fence = lambda: None) -> Gateway:
        """The site's gateway, measured; nothing is done there where `fence` raises Unavailable."""
        return measured(gateway, lambda request: self._requested(site, request), self._clock, fence)

    def wrote(self, kind: str, outcome: str) -> None:
        """A write to kube-apiserver ended."""
        self._writes.labels(kind, outcome).inc()

    def _requested(self, site: str, request: Request) -> None:
        operation = request.operation
        self._requests.labels(site, operation, _outcome(request.error)).inc()
        self._request_seconds.labels(site, operation).observe(request.seconds)
        if request.calls:
            self._calls.labels(site, operation).inc(request.calls)
        if request.responses:
            self._responses.labels(site, operation).inc(request.responses)
            self._received.labels(site, operation).inc(request.received)
        if operation == "submit":
            self._submissions.labels(site, _result(request.error)).inc()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, registry=self.registry, buckets=buckets)


def _outcome(error: Exception | None) -> str:
    """ok, or the class of the error: by who must act."""
    if error is None:
        return "ok"
    kinds = {Missing: "missing", Rejected: "rejected", Unauthorized: "unauthorized", Unavailable: "unavailable"}
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), "defect")


def _result(error: Exception | None) -> str:
    """accepted; rejected or unauthorized, where nothing runs; unsent, where nothing left; unknown, where a job may
    run.
    """
    if error is None:
        return "accepted"
    if isinstance(error, Rejected | Unauthorized):
        return _outcome(error)
    return "unsent" if isinstance(error, Unavailable) and not error.sent else "unknown"
