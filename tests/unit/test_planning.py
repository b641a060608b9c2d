"""What planning reads from kube-apiserver, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from passerelle.kube import Gone, Kube
from passerelle.objects import Key, TrainingJob
from passerelle.planning import LABELS_SECONDS, Planner
from passerelle.sites import Service
from passerelle.v1alpha1.site import Admission

JOB = cast("TrainingJob", SimpleNamespace(key=Key("team-a", "llm")))


@dataclass
class Namespaces:
    labels: dict[str, str] | None
    asked: list[str] = field(default_factory=list)

    async def namespace_labels(self, name: str) -> dict[str, str]:
        self.asked.append(name)
        if self.labels is None:
            raise Gone(name)
        return self.labels


def service(*admission: Admission) -> Service:
    return cast("Service", SimpleNamespace(site=SimpleNamespace(spec=SimpleNamespace(admission=list(admission)))))


async def test_a_burst_reads_a_namespace_s_labels_once_and_a_change_counts_soon() -> None:
    now, kube = [100.0], Namespaces({"tier": "gold"})
    planner = Planner(cast("Kube", kube), clock=lambda: now[0])
    selecting = service(Admission(selector={"tier": "gold"}))

    assert [await planner._labels_of(JOB, selecting) for _ in range(3)] == [{"tier": "gold"}] * 3
    assert kube.asked == ["team-a"]

    kube.labels = {}
    now[0] += LABELS_SECONDS
    assert await planner._labels_of(JOB, selecting) == {}


async def test_labels_are_not_read_where_no_selector_asks_for_them() -> None:
    kube = Namespaces({})

    assert await Planner(cast("Kube", kube))._labels_of(JOB, service(Admission(namespaces=["team-a"]))) == {}
    assert kube.asked == []


async def test_a_namespace_that_is_gone_has_no_labels() -> None:
    planner = Planner(cast("Kube", Namespaces(None)))

    assert await planner._labels_of(JOB, service(Admission(selector={"tier": "gold"}))) == {}
