"""/metrics: the table in docs/metrics.md is true, series come and go in time, and labels stay bounded."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import tracemalloc
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from kubernetes.aio.client.exceptions import ApiException
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from passerelle.attempts import rfc3339
from passerelle.batch import Batch
from passerelle.collectors import KEPT_SECONDS
from passerelle.errors import Deferred, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.exposition import PIECE_LINES, pieces
from passerelle.gateways import base
from passerelle.gateways.base import (
    Accounting,
    Credential,
    Entry,
    Files,
    HandedIn,
    HandedOut,
    Handover,
    Identity,
    Info,
    Listing,
    Opens,
    Probe,
    Signals,
    Traits,
    Transfer,
    Upload,
)
from passerelle.gateways.courtesy import Courtesy, courteous
from passerelle.gateways.measured import measured
from passerelle.gateways.meter import answered, called
from passerelle.gateways.purpose import Purpose
from passerelle.gateways.surveys import Survey
from passerelle.health import Health
from passerelle.job_secrets import JobSecrets
from passerelle.kube import Conflict, Gone, Kube
from passerelle.marker import Run
from passerelle.metrics import Metrics
from passerelle.objects import Key, Site, TrainingJob, site, trainingjob
from passerelle.planning import Planner
from passerelle.reconcile import Reconciler
from passerelle.slurm import JobState, RemoteJob
from passerelle.views import Inquiry
from passerelle.watch import SiteWatch
from passerelle.work import WorkQueue
from unit.gateways.scripted_server import BATCH

TABLE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ENDED = 1_800_000_000
UID = "6f1a3c1e-0000-4000-8000-000000000001"
JOB = {"namespace": "team", "trainingjob": "llm", "site": "lumi"}


class Clock:
    """The wall clock of a test."""

    def __init__(self, time: float = ENDED) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


def conditions(**statuses: str) -> list[dict[str, Any]]:
    return [
        {
            "type": kind,
            "status": status,
            "reason": "Told",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": rfc3339(ENDED),
        }
        for kind, status in statuses.items()
    ]


def attempt(**facts: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "marker": "psr-a-1",
        "cluster": "lumi",
        "user": "startup",
        "runDirectory": "/scratch/run",
        "scriptDigest": "0" * 64,
        **facts,
    }


def job(**status: Any) -> TrainingJob:
    return trainingjob(
        {
            "metadata": {"namespace": "team", "name": "llm", "uid": UID, "resourceVersion": "1"},
            "spec": {"site": "lumi", "image": "/i.sif", "command": ["train"], "gpus": 8, "timeLimit": "1h"},
            "status": status,
        }
    )


def running(**status: Any) -> TrainingJob:
    return job(
        **{
            "summary": "Running",
            "conditions": conditions(Accepted="True", Running="True", Succeeded="Unknown", Finished="False"),
            "attempts": [attempt(jobId="7", submitTime=rfc3339(ENDED - 100), startTime=rfc3339(ENDED - 60))],
            "attemptsTotal": 2,
            "plan": {
                "nodes": 2,
                "gpus": 8,
                "gpusPerNode": 4,
                "tasks": 8,
                "cpusPerTask": 7,
                "partition": "p",
                "timeLimitMinutes": 60,
            },
            "progress": {
                "step": 40,
                "totalSteps": 100,
                "percentage": 40,
                "metrics": [{"name": f"m{number}", "value": f"{number}.5"} for number in range(8)],
                "updatedAt": rfc3339(ENDED - 5),
            },
            **status,
        }
    )


def finished() -> TrainingJob:
    return running(summary="Succeeded", conditions=conditions(Succeeded="True", Finished="True"))


def of_jobs(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if "trainingjob" in sample.labels
    ]


def described(metrics: Metrics) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as it is scraped -> type and labels of every family of ours that may be shown."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for collector in list(metrics.registry._collector_to_names):
        describe = getattr(collector, "describe", None)
        families: list[Any] = list(describe()) if describe is not None else []
        for family in families:
            labels: tuple[str, ...] = getattr(collector, "_labelnames", getattr(family, "_labelnames", ()))
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = (family.type, tuple(labels))
    return {name: family for name, family in found.items() if name.startswith("passerelle_")}


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}


def test_the_table_names_what_is_served_and_nothing_else() -> None:
    assert documented() == described(Metrics())


def test_no_label_is_named_job_nor_instance() -> None:
    """Prometheus owns both."""
    for _, labels in described(Metrics()).values():
        assert not {"job", "instance"} & set(labels)


def test_every_row_of_the_table_has_a_meaning_and_stands_once() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `passerelle_")]

    assert len(rows) == len(documented())


def test_a_running_job_shows_what_its_status_says() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(running())

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"passerelle_{name}", JOB | labels)

    assert value("trainingjob_state", state="Running") == 1
    assert value("trainingjob_condition", condition="Succeeded", status="Unknown") == 1
    assert value("trainingjob_condition", condition="Succeeded", status="True") is None
    assert value("trainingjob_attempts") == 2
    assert value("trainingjob_requested_gpus") == 8
    assert value("trainingjob_queue_wait_seconds") == 40
    assert value("training_progress_ratio") == pytest.approx(0.4)
    assert value("training_step") == 40
    assert value("training_metric", metric="m3") == 3.5
    assert value("training_report_timestamp_seconds") == ENDED - 5


def test_a_job_that_reports_nothing_has_no_training_series() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(job(summary="Queued"))

    assert {name for name, _, _ in of_jobs(metrics)} == {
        "passerelle_trainingjob_state",
        "passerelle_trainingjob_attempts",
    }


def test_series_go_ten_minutes_after_the_end() -> None:
    clock = Clock()
    metrics = Metrics(now=clock)
    metrics.kept(finished())

    clock.time = ENDED + KEPT_SECONDS - 1
    assert of_jobs(metrics)
    clock.time = ENDED + KEPT_SECONDS
    assert not of_jobs(metrics)
    metrics.kept(finished())  # kube-apiserver lists it again
    assert not of_jobs(metrics)
    assert KEPT_SECONDS == 10 * 60


def test_a_job_that_is_tried_again_after_its_end_is_shown_again() -> None:
    clock = Clock(ENDED + KEPT_SECONDS)
    metrics = Metrics(now=clock)
    metrics.kept(finished())
    assert not of_jobs(metrics)

    metrics.kept(running())

    assert of_jobs(metrics)


def test_series_of_a_deleted_job_go_at_once() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(running())

    metrics.forgotten(Key("team", "llm"))

    assert not of_jobs(metrics)


def test_the_series_of_a_job_are_bounded_however_it_changes() -> None:
    """A trainer that names a new metric with every report leaves no old ones behind, nor does a change of state."""
    metrics = Metrics(now=Clock())
    for report in range(50):
        metrics.kept(
            running(
                summary=("Queued", "Running", "Ending")[report % 3],
                conditions=conditions(Running=("True", "False", "Unknown")[report % 3], Finished="False"),
                progress={"step": 1, "metrics": [{"name": f"m{report}x{n}", "value": "1"} for n in range(8)]},
            )
        )

    shown = of_jobs(metrics)
    assert sum(name == "passerelle_training_metric" for name, _, _ in shown) == 8
    assert sum(name == "passerelle_trainingjob_state" for name, _, _ in shown) == 1
    assert sum(name == "passerelle_trainingjob_condition" for name, _, _ in shown) == 2


def test_more_than_eight_metrics_of_a_job_are_never_shown() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(running(progress={"metrics": [{"name": f"m{number}", "value": "1"} for number in range(9)]}))

    assert sum(name == "passerelle_training_metric" for name, _, _ in of_jobs(metrics)) <= 8


def lag(metrics: Metrics, change: str) -> tuple[float | None, float | None]:
    labels = {"site": "lumi", "change": change}
    name = "passerelle_status_lag_seconds"
    value = metrics.registry.get_sample_value
    return value(f"{name}_count", labels), value(f"{name}_sum", labels)


def test_the_lag_counts_from_slurms_stamp_once_a_change() -> None:
    clock = Clock()
    metrics = Metrics(now=clock)
    queued = attempt(jobId="7", submitTime=rfc3339(ENDED - 100))
    started = queued | {"startTime": rfc3339(ENDED - 60)}
    ended = started | {"endTime": rfc3339(ENDED)}
    metrics.kept(running(attempts=[queued]))
    clock.time = ENDED - 57
    metrics.kept(running(attempts=[started]))
    metrics.kept(running(attempts=[started]))  # the watch delivers our own patch
    clock.time = ENDED + 2
    metrics.kept(running(attempts=[ended]))

    assert lag(metrics, "start") == (1, 3)
    assert lag(metrics, "end") == (1, 2)


def test_what_is_adopted_or_read_at_start_up_says_nothing_of_the_lag() -> None:
    metrics = Metrics(now=Clock(ENDED + 500))
    metrics.kept(running())
    metrics.kept(running(attempts=[]))  # somebody emptied the status
    metrics.kept(running())

    assert lag(metrics, "start") == (None, None)


def test_a_site_whose_clock_is_ahead_shows_no_negative_lag() -> None:
    metrics = Metrics(now=Clock(ENDED - 70))
    metrics.kept(running(attempts=[attempt()]))
    metrics.kept(running())

    assert lag(metrics, "start") == (1, 0)


class Door:
    """A gateway that answers, or fails with `error`."""

    settle_seconds = 3.0
    traits = Traits(listing=Listing.STATES)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[object] = []

    def _answer(self, asked: object, *sizes: int) -> None:
        self.asked.append(asked)
        for size in sizes:
            called()
            answered(size)
        if not sizes:
            called()  # and nobody answers
        if self.error is not None:
            raise self.error

    async def probe(self) -> Probe:
        self._answer("probe", 10)
        return Probe(Identity("lumi", "startup"), "26.05", "v0.0.45")

    async def submit(self, batch: Batch) -> str:
        self._answer(batch, 20)
        return "7"

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        async def one() -> None:
            self._answer(job_ids, 100)

        await asyncio.gather(*(one() for _ in job_ids))
        return {}

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        self._answer(job_ids)
        return []

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:  # noqa: ARG002 -- none
        self._answer("find")
        return []

    async def cancel(self, job_id: str) -> None:
        self._answer(job_id)

    async def close(self) -> None:
        self.asked.append("close")


class DoorWithMemory(Door):
    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **_: float
    ) -> Sequence[RemoteJob]:
        self._answer((names, job_ids), 1000)
        return []


class DoorWithFiles(Door):
    async def size(self, path: str) -> int | None:
        self._answer(path)
        return 10

    async def read(self, path: str, offset: int, length: int) -> bytes:
        self._answer((path, offset, length))
        return b"read"


class DoorWithUpload(Door):
    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        self._answer((path, content, mode))

    async def make_directory(self, path: str) -> None:
        self._answer(("make", path))


class DoorWithTransfer(Door):
    part_bytes = 7

    async def append(self, path: str, offset: int, content: bytes) -> None:
        self._answer((path, offset, content))

    async def entries(self, path: str) -> Sequence[Entry] | None:
        self._answer(("entries", path))
        return [Entry(name="a", size=1, is_directory=False)]

    async def rename(self, old: str, new: str) -> None:
        self._answer((old, new))

    async def remove(self, path: str) -> None:
        self._answer(("remove", path))

    async def digest(self, path: str) -> str | None:
        self._answer(("digest", path))
        return "0f"


class DoorWithHandover(Door):
    part_bytes, small_bytes, store_authority = 7, 8, b"ca"
    transfer_names = frozenset({"carries"})

    async def whose(self) -> Identity:
        self._answer("whose")
        return Identity("alps", "ada")

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        self._answer(("in", path, size, parts, account))
        return HandedIn(job="1", parts=("u",), complete="c", most_bytes=9)

    async def hand_out(self, path: str, account: str) -> HandedOut:
        self._answer(("out", path, account))
        return HandedOut(job="2", url="u", stamp="s")

    async def waiting_for(self, path: str) -> Sequence[str]:
        self._answer(("waiting", path))
        return ["1"]

    async def complaint(self, error_log: str) -> PasserelleError | None:
        self._answer(("complaint", error_log))
        return None

    async def stamp(self, path: str) -> str | None:
        self._answer(("stamp", path))
        return "s"

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        self._answer(("resembles", path, offset, content))
        return True

    entries, rename = DoorWithTransfer.entries, DoorWithTransfer.rename
    remove, digest = DoorWithTransfer.remove, DoorWithTransfer.digest


class DoorWithSignals(Door):
    async def warn(self, job_id: str, signal: str) -> bool:
        self._answer((job_id, signal))
        return True


class DoorWithInfo(Door):
    async def survey(self) -> Survey:
        self._answer("survey")
        return Survey(clock=1.0)


class DoorThatOpens(DoorWithTransfer):
    async def open_files(self) -> None:
        self._answer("open_files")


class DoorWithAll(
    DoorWithMemory,
    DoorWithSignals,
    DoorWithFiles,
    DoorWithUpload,
    DoorThatOpens,
    DoorWithHandover,
    DoorWithInfo,
):
    pass


CAPABILITIES = {
    name: kind
    for name, kind in vars(base).items()
    if inspect.isclass(kind) and getattr(kind, "_is_runtime_protocol", False)
}
"""What a driver may be able to do: every protocol of gateways/base.py."""


def capabilities(gateway: object) -> set[str]:
    return {name for name, kind in CAPABILITIES.items() if isinstance(gateway, kind)}


@pytest.mark.parametrize(
    "door",
    [
        Door(),
        DoorWithMemory(),
        DoorWithSignals(),
        DoorWithFiles(),
        DoorWithUpload(),
        DoorWithTransfer(),
        DoorThatOpens(),
        DoorWithHandover(),
        DoorWithInfo(),
        DoorWithAll(),
    ],
    ids=["nothing else", "accounting", "signals", "files", "upload", "transfer", "opens", "handover", "info", "all"],
)
def test_a_measured_gateway_can_what_the_one_inside_can(door: Door) -> None:
    around = measured(door, lambda _: None, Clock())

    assert capabilities(around) == capabilities(door)
    assert around.settle_seconds == door.settle_seconds
    assert around.traits is door.traits


def test_no_capability_is_hidden() -> None:
    """A new capability of gateways/base.py must pass through the measured gateway, too."""
    assert capabilities(measured(DoorWithAll(), lambda _: None, Clock())) == set(CAPABILITIES) >= {"Gateway"}


LOOKS = {"probe", "states", "get", "find", "accounted", "size", "read", "entries", "digest", "survey", "close"} | {
    *("whose", "waiting_for", "complaint", "stamp", "resembles")
}
"""All else changes something at the site."""


async def test_whoever_does_not_lead_looks_and_does_nothing() -> None:
    def fence() -> None:
        raise Unavailable("another one acts", reason="NotLeading", sent=False)

    door = DoorWithAll()
    around = measured(door, lambda _: None, Clock(), fence)
    methods = {
        name: method for name, method in inspect.getmembers(around, inspect.iscoroutinefunction) if name[0] != "_"
    }
    assert methods.keys() >= LOOKS
    for name in methods.keys() - LOOKS:
        needed = [
            each
            for each in inspect.signature(methods[name]).parameters.values()
            if each.default is inspect.Parameter.empty
        ]
        with pytest.raises(Unavailable, match="another one acts"):
            await methods[name](*(BATCH if each.name == "batch" else each for each in needed))
    assert door.asked == []
    await around.get(["1"])
    assert door.asked == [["1"]]


async def test_what_is_asked_arrives_unchanged() -> None:
    door = DoorWithAll()
    around = measured(door, lambda _: None, Clock())
    assert isinstance(around, Accounting)
    assert isinstance(around, Signals)
    assert isinstance(around, Files)
    assert isinstance(around, Upload)
    assert isinstance(around, Transfer)
    assert isinstance(around, Opens)
    assert isinstance(around, Handover)
    assert isinstance(around, Info)

    await around.get(["1", "2"])
    await around.find()
    await around.cancel("3")
    await around.accounted(names=["a"], job_ids=["4"])
    assert await around.warn("5", "USR1")
    assert await around.size("/a") == 10
    assert await around.read("/a", 1, 2) == b"read"
    await around.write("/a", b"x", mode=0o700)
    await around.make_directory("/b")
    assert around.part_bytes == 7
    await around.append("/b/c", 3, b"x")
    assert await around.entries("/b") == [Entry(name="a", size=1, is_directory=False)]
    await around.rename("/b/c", "/b/d")
    await around.remove("/b/d")
    assert await around.digest("/b/e") == "0f"
    await around.open_files()
    assert (around.small_bytes, around.store_authority) == (8, b"ca")
    assert around.transfer_names == {"carries"}
    assert await around.whose() == Identity("alps", "ada")
    assert (await around.hand_in("/f", 1, 2, "acc")).job == "1"
    assert (await around.hand_out("/g", "acc")).job == "2"
    assert await around.waiting_for("/f") == ["1"]
    assert await around.complaint("/log") is None
    assert await around.stamp("/g") == "s"
    assert await around.resembles("/f", 4, b"x")
    assert await around.survey() == Survey(clock=1.0)
    await around.close()

    files = ["/a", ("/a", 1, 2), ("/a", b"x", 0o700), ("make", "/b")]
    moved = [("/b/c", 3, b"x"), ("entries", "/b"), ("/b/c", "/b/d"), ("remove", "/b/d"), ("digest", "/b/e")]
    handed = ["whose", ("in", "/f", 1, 2, "acc"), ("out", "/g", "acc"), ("waiting", "/f"), ("complaint", "/log")]
    looked = [("stamp", "/g"), ("resembles", "/f", 4, b"x")]
    files += [*moved, "open_files", *handed, *looked]
    assert door.asked == [["1", "2"], "find", "3", (["a"], ["4"]), ("5", "USR1"), *files, "survey", "close"]


async def test_calls_answers_and_bytes_are_counted_by_operation() -> None:
    metrics = Metrics()
    gateway = metrics.measure("lumi", DoorWithMemory())
    answered(5_000)  # of nobody's call
    await gateway.probe()
    await gateway.states(["1", "2", "3"])
    assert isinstance(gateway, Accounting)
    await gateway.accounted(names=["psr-a-1"])

    def total(name: str, operation: str, **labels: str) -> float | None:
        labels |= {"site": "lumi", "operation": operation}
        return metrics.registry.get_sample_value(f"passerelle_gateway_{name}", labels)

    assert total("requests_total", "states", outcome="ok") == 1
    assert total("request_seconds_count", "states") == 1
    assert total("responses_total", "states") == total("calls_total", "states") == 3
    await gateway.find()
    assert (total("calls_total", "find"), total("responses_total", "find")) == (1, None)
    assert total("response_bytes_total", "states") == 300
    assert total("response_bytes_total", "probe") == 10
    assert total("response_bytes_total", "accounted") == 1000


@pytest.mark.parametrize(
    "error,outcome,result",
    [
        (None, "ok", "accepted"),
        (Rejected("no such partition"), "rejected", "rejected"),
        (Unauthorized("expired"), "unauthorized", "unauthorized"),
        (Unavailable("timeout", sent=True), "unavailable", "unknown"),
        (Unavailable("refused", sent=False), "unavailable", "unsent"),
        (KeyError("job_id"), "defect", "unknown"),
    ],
    ids=["accepted", "rejected", "unauthorized", "answer lost", "not sent", "defect"],
)
async def test_a_submission_is_counted_by_what_became_of_it(error: Exception | None, outcome: str, result: str) -> None:
    metrics = Metrics()
    gateway = metrics.measure("lumi", Door(error))
    with pytest.raises(type(error)) if error is not None else contextlib.nullcontext():
        await gateway.submit(BATCH)

    value = metrics.registry.get_sample_value
    requests = {"site": "lumi", "operation": "submit", "outcome": outcome}
    assert value("passerelle_gateway_requests_total", requests) == 1
    assert value("passerelle_submissions_total", {"site": "lumi", "result": result}) == 1


async def test_a_missing_file_is_no_defect() -> None:
    metrics = Metrics()
    gateway = metrics.measure("lumi", DoorWithFiles(Missing("The site has no file /a.")))
    assert isinstance(gateway, Files)
    with pytest.raises(Missing):
        await gateway.read("/a", 0, 1)

    requests = {"site": "lumi", "operation": "read", "outcome": "missing"}
    assert metrics.registry.get_sample_value("passerelle_gateway_requests_total", requests) == 1


async def test_a_call_that_ends_with_the_operator_is_not_counted() -> None:
    metrics = Metrics()

    class Slow(Door):
        async def probe(self) -> Probe:
            await asyncio.sleep(60)
            return await super().probe()

    task = asyncio.create_task(metrics.measure("lumi", Slow()).probe())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    labels = {"site": "lumi", "operation": "probe"}
    assert metrics.registry.get_sample_value("passerelle_gateway_request_seconds_count", labels) is None


@dataclass
class Here:
    """A Site in service."""

    site: Site
    queue: WorkQueue[Key]
    courtesy: Courtesy
    watch: SiteWatch | None = None
    credential: Credential | None = None
    trouble: PasserelleError | None = None


async def nothing(_: Key) -> None:
    return None


async def test_a_sites_gauges_are_read_from_what_is_in_service() -> None:
    metrics = Metrics()

    async def renew() -> None:
        return None

    watch = SiteWatch(
        "lumi",
        Door(),
        period=30,
        progress_period=60,
        renew=renew,
        run_directory=lambda *_: None,
        on_change=lambda _: None,
        on_site=lambda: None,
    )
    here = Here(
        site({"metadata": {"name": "lumi", "uid": "u", "resourceVersion": "1"}}),
        WorkQueue("lumi", nothing),
        watch.courtesy,
        watch,
        Credential(user="startup", expires=ENDED),
    )
    homeless: WorkQueue[Key] = WorkQueue("", nothing)
    services = [here]
    metrics.read_sites(lambda: services, homeless)
    here.queue.add(Key("team", "llm"))

    def value(name: str, site: str = "lumi") -> float | None:
        return metrics.registry.get_sample_value(f"passerelle_{name}", {"site": site})

    assert value("site_last_look_timestamp_seconds") is None
    await watch.look()
    assert value("site_last_look_timestamp_seconds") == watch.looked_at
    assert value("site_reachable") == 1
    assert value("site_credential_expiry_timestamp_seconds") == ENDED
    assert value("site_live_jobs") == value("site_looked_for") == 0
    assert value("site_stray_jobs") == 0
    watch.look_up(Run.of_uid(UID), Inquiry(highest=0, thorough=False))
    assert value("site_looked_for") == 1
    assert value("work_queue_depth") == 1
    assert value("work_queue_depth", "") == 0
    here.trouble = Unauthorized("expired")
    assert value("site_reachable") == 0
    services.clear()
    assert value("site_reachable") is None


async def test_how_a_site_is_spared_is_read_from_its_courtesy() -> None:
    metrics = Metrics()
    courtesy = Courtesy(asyncio.get_running_loop().time, calls_per_hour=500)
    here = Here(
        site({"metadata": {"name": "lumi", "uid": "u", "resourceVersion": "1"}}), WorkQueue("lumi", nothing), courtesy
    )
    metrics.read_sites(lambda: [here], WorkQueue("", nothing))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"passerelle_site_{name}", {"site": "lumi", **labels})

    assert value("calls_budget") == 500
    assert value("stretch_ratio", period="progress") == value("stretch_ratio", period="polling") == 1
    assert {value("spared", calls=each) for each in ("all", "submits", "ends", "files")} == {0}
    gateway = courteous(Door(Unavailable("lost", reason="Unreachable")), courtesy)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await gateway.submit(BATCH)
    with pytest.raises(Deferred):
        await gateway.submit(BATCH)
    courtesy.budget.note(Purpose.PROGRESS)
    courtesy.look_stretch, courtesy.progress_stretch = 1.5, 4.0
    assert value("spared", calls="submits") == 1
    assert value("spared", calls="files") == 0
    assert value("deferred_total", purpose="submit") == 1
    assert value("calls_last_hour", purpose="progress") == 1
    assert value("stretch_ratio", period="polling") == 1.5
    assert value("stretch_ratio", period="progress") == 4
    courtesy._asked_for_patience(60)
    assert value("spared", calls="all") == 1


class Api:
    """kube-apiserver's custom objects, each call with the same end."""

    def __init__(self, ends: Exception | dict[str, Any]) -> None:
        self.ends = ends

    def __getattr__(self, _: str) -> Any:
        async def call(*_: object, **__: object) -> dict[str, Any]:
            if isinstance(self.ends, Exception):
                raise self.ends
            return self.ends

        return call


@pytest.mark.parametrize(
    "ends,outcome",
    [
        ({}, "ok"),
        (ApiException(status=409), "conflict"),
        (ApiException(status=404), "gone"),
        (ApiException(status=500), "error"),
        (TimeoutError(), "error"),
    ],
    ids=["ok", "conflict", "gone", "server error", "timeout"],
)
async def test_a_write_is_counted_by_what_it_is_and_how_it_ended(
    ends: Exception | dict[str, Any], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    kube = Kube(Mock(), metrics.wrote)
    monkeypatch.setattr(kube, "_custom", Api(ends))
    key = Key("team", "llm")
    for call in (
        kube.patch_trainingjob_status(key, "1", {"summary": "Running", "progress": {}}),
        kube.patch_trainingjob_status(key, "1", {"progress": {}}),
        kube.patch_trainingjob_status(key, "1", {"progress": {}, "attempts": []}),
        kube.patch_trainingjob_status(key, "1", {"attempts": []}),
        kube.patch_trainingjob(key, "1", {"metadata": {"finalizers": []}}),
        kube.patch_site_status("lumi", "1", {}),
        kube.trainingjob(key),
    ):
        with contextlib.suppress(Conflict, Gone, Unavailable):
            await call

    family = next(found for found in metrics.registry.collect() if found.name == "passerelle_kubernetes_writes")
    assert {(sample.labels["kind"], sample.labels["outcome"]): sample.value for sample in family.samples} == {
        ("trainingjob_status", outcome): 2,
        ("trainingjob_progress", outcome): 2,
        ("trainingjob_metadata", outcome): 1,
        ("site_status", outcome): 1,
    }


async def test_the_reconciler_tells_of_each_trainingjob_and_of_its_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(now=Clock())
    kube = Kube(Mock())
    reconciler = Reconciler(
        kube, Planner(kube, JobSecrets(kube, home="", of_sites=tuple)), clock=Clock(), witness=metrics
    )
    monkeypatch.setattr(reconciler, "sites", Nowhere(), raising=False)
    body = {
        "metadata": {"namespace": "team", "name": "llm", "uid": UID, "resourceVersion": "1"},
        "spec": {"site": "lumi"},
        "status": {"summary": "Queued"},
    }

    reconciler.observe(body, deleted=False)
    assert metrics.registry.get_sample_value("passerelle_trainingjob_state", JOB | {"state": "Queued"}) == 1
    reconciler.observe(body, deleted=True)
    assert not of_jobs(metrics)


class Nowhere:
    """No Site exists."""

    def get(self, _: str) -> None:
        return None


def test_a_pass_is_counted_by_how_it_ended() -> None:
    metrics = Metrics()
    with metrics.one_pass():
        pass
    with pytest.raises(RuntimeError), metrics.one_pass():
        raise RuntimeError

    value = metrics.registry.get_sample_value
    assert value("passerelle_reconcile_passes_total", {"outcome": "ok"}) == 1
    assert value("passerelle_reconcile_passes_total", {"outcome": "error"}) == 1
    assert value("passerelle_reconcile_pass_seconds_count") == 2


def unchunked(body: bytes) -> bytes:
    """RFC 9112, 7.1. Raises ValueError where the end is missing."""
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return whole
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]


async def scraped(metrics: Metrics, query: str = "") -> tuple[str, dict[str, Metric]]:
    health = Health("127.0.0.1", 0, metrics.registry, stale_seconds=900, clock=Clock())
    await health.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
        writer.write(f"GET /metrics{query} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    finally:
        await health.stop()
    found = text_string_to_metric_families(unchunked(body).decode())
    return head.decode(), {family.name: family for family in found}


def crowd(metrics: Metrics, count: int) -> None:
    for number in range(count):
        metrics.kept(replace(running(), key=Key("team", f"llm-{number}")))


async def test_the_health_server_serves_them_as_text_that_prometheus_reads() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(running())
    metrics.wrote("event", "ok")
    head, families = await scraped(metrics)
    assert head.startswith("HTTP/1.1 200 OK")
    assert families["passerelle_training_step"].samples[0].labels == JOB
    assert families["passerelle_kubernetes_writes"].samples[0].value == 1
    assert "process_resident_memory_bytes" in families
    assert not [name for name in families if name.endswith("_created")]


async def test_a_label_is_served_as_it_is_whatever_is_in_it() -> None:
    metrics = Metrics(now=Clock())
    name = 'a "metric"\\ of \n two lines'
    metrics.kept(running(progress={"metrics": [{"name": name, "value": "-1e-7"}]}))
    _, families = await scraped(metrics)
    (shown,) = families["passerelle_training_metric"].samples
    assert (shown.labels, shown.value) == (JOB | {"metric": name}, -1e-7)


async def test_of_all_series_some_may_be_asked_for_by_name() -> None:
    metrics = Metrics(now=Clock())
    metrics.kept(running())
    metrics.wrote("event", "ok")
    names = "name[]=passerelle_kubernetes_writes_total&name%5B%5D=passerelle_training_step&name[]=nothing"
    _, families = await scraped(metrics, f"?{names}")

    assert families.keys() == {"passerelle_kubernetes_writes", "passerelle_training_step"}
    assert families["passerelle_training_step"].samples[0].labels == JOB


def in_order(shown: Iterable[tuple[str, dict[str, str], float]]) -> list[tuple[str, list[tuple[str, str]], float]]:
    return sorted((name, sorted(labels.items()), float(value)) for name, labels, value in shown)


async def test_what_is_served_is_what_the_registry_has() -> None:
    metrics = Metrics(now=Clock())
    crowd(metrics, 3)
    _, families = await scraped(metrics)
    shown = [(each.name, each.labels, each.value) for family in families.values() for each in family.samples]
    assert in_order(of_jobs(metrics)) == in_order(each for each in shown if "trainingjob" in each[1])


def test_the_series_of_a_crowd_are_made_in_pieces() -> None:
    metrics = Metrics(now=Clock())
    crowd(metrics, 200)
    made = list(pieces(metrics.registry))

    assert max(piece.count(b"\n") for piece in made) <= PIECE_LINES
    assert b"".join(made).count(b"# TYPE passerelle_training_metric gauge") == 1


def test_what_a_crowd_has_in_common_lies_in_memory_once() -> None:
    metrics = Metrics(now=Clock())
    crowd(metrics, 1)
    tracemalloc.start()
    metrics.kept(replace(job(summary="Queued", conditions=conditions(Accepted="True")), key=Key("team", "other")))
    before = tracemalloc.get_traced_memory()[0]
    many = conditions(**dict.fromkeys(("Accepted", "Submitted", "Running", "Succeeded", "Ready"), "True"))
    for number in range(100):
        metrics.kept(replace(job(summary="Queued", conditions=many), key=Key("team", f"llm-{number}")))
    held = (tracemalloc.get_traced_memory()[0] - before) / 100
    tracemalloc.stop()

    assert held < 1_000


def test_whoever_stands_by_is_ready_once_it_knows_for_whom_and_lives() -> None:
    clock, waits = Clock(), False
    health = Health("127.0.0.1", 0, Metrics().registry, stale_seconds=900, clock=clock)
    health.stand_by(lambda: waits)
    assert (health.ready, health.live) == (False, True)
    waits = True
    assert (health.ready, health.live) == (True, True)
    health.stand_by(None)
    assert not health.ready, "it acts, and has heard of nothing yet"
