"""What planning reads from kube-apiserver, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from passerelle.errors import Invalid
from passerelle.job_secrets import JobSecrets
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


def planner(kube: Namespaces, clock: Callable[[], float] = lambda: 0.0) -> Planner:
    api = cast("Kube", kube)
    return Planner(api, JobSecrets(api, home="passerelle-system", of_sites=tuple), clock)


async def test_a_burst_reads_a_namespace_s_labels_once_and_a_change_counts_soon() -> None:
    now, kube = [100.0], Namespaces({"tier": "gold"})
    subject = planner(kube, clock=lambda: now[0])
    selecting = service(Admission(selector={"tier": "gold"}))

    assert [await subject._labels_of(JOB, selecting) for _ in range(3)] == [{"tier": "gold"}] * 3
    assert kube.asked == ["team-a"]

    kube.labels = {}
    now[0] += LABELS_SECONDS
    assert await subject._labels_of(JOB, selecting) == {}


async def test_labels_are_not_read_where_no_selector_asks_for_them() -> None:
    kube = Namespaces({})

    assert await planner(kube)._labels_of(JOB, service(Admission(namespaces=["team-a"]))) == {}
    assert kube.asked == []


async def test_a_namespace_that_is_gone_has_no_labels() -> None:
    subject = planner(Namespaces(None))

    assert await subject._labels_of(JOB, service(Admission(selector={"tier": "gold"}))) == {}


class Shelf:
    """Secrets that anybody might read."""

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        return {"token": f"{namespace}/{name}".encode()}


def shelf(*listed: str) -> JobSecrets:
    return JobSecrets(cast("Kube", Shelf()), home="passerelle-system", listed=listed, of_sites=lambda: {"lumi", "ca"})


async def test_the_operator_s_own_secrets_are_no_training_s() -> None:
    assert await shelf().read("team-a", "lumi") == {"token": b"team-a/lumi"}
    for listed in [(), ("*",), ("team-a",)]:
        with pytest.raises(Invalid, match="are the operator's own, and no TrainingJob gets one; create") as refused:
            await shelf(*listed).read("passerelle-system", "wandb")
        assert refused.value.reason == "SecretForbidden"


async def test_where_it_is_listed_all_but_the_sites_are() -> None:
    assert await shelf("passerelle-system").read("passerelle-system", "wandb") == {"token": b"passerelle-system/wandb"}
    for name in ("lumi", "ca"):
        with pytest.raises(Invalid, match=f"Secret {name} in namespace passerelle-system belongs to a Site"):
            await shelf("passerelle-system").read("passerelle-system", name)
