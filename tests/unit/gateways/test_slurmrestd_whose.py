"""Before v0.0.40 no answer names its cluster: what a proof of it costs, and that another cluster's answer is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from passerelle.errors import Misaddressed, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.allowance import MOST_SECONDS
from passerelle.gateways.slurmrestd.decode import live_job
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.slurmrestd.whose import (
    AGAIN_SECONDS,
    FRESH_SECONDS,
    LISTING_SECONDS,
    WITNESSES,
    Seen,
)
from unit.gateways.scripted_server import BATCH, OPTIONS, Server, client

SEVERAL = {"clusters": [{"name": "site"}, {"name": "other"}]}
AWAY = httpx.Response(500, json={"errors": [{"error_number": 7000}]})
UNKNOWN = httpx.Response(404, json={"errors": [{"error_number": 2017}]})


def job(number: int, cluster: str = "site", **more: object) -> dict[str, Any]:
    return {"job_id": number, "cluster": cluster, "job_state": "RUNNING", "user_name": "bob", "name": "x"} | more


class Site(Server):
    """22.05 in a centre whose slurmdbd serves two clusters; job 9 runs longest."""

    def __init__(self) -> None:
        super().__init__(38)
        self.now = 1_000.0
        self.replies |= {"GET licenses": {"meta": {"Slurm": {"release": "22.05.8"}}}, "GET db/clusters": SEVERAL}
        running = [job(8, time_limit=10), job(9, time_limit=1000)]
        self.jobs(*running, job(7, job_state="PENDING", time_limit=9000))
        self.replies |= {f"GET job/{record['job_id']}": {"jobs": [record]} for record in running} | {
            "GET job/5": UNKNOWN
        }
        self.replies |= {"POST job/submit": {"job_id": 4711}, "GET db/jobs": {"jobs": []}}

    def jobs(self, *records: dict[str, Any]) -> None:
        self.replies["GET jobs"] = {"jobs": list(records)}

    def calls(self, after: float = 0.0) -> list[str]:
        """What was asked since this was called last, beside what every probe asks; then time passes."""
        asked = [each for each in self.asked if each != "GET licenses"]
        self.asked.clear()
        self.now += after
        return asked


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))
    return Site()


@pytest.fixture
def door(site: Site) -> Slurmrestd:
    made = client(site)
    made._whose._clock = lambda: site.now
    return made


@pytest.mark.parametrize("accounting", [SEVERAL, AWAY])
async def test_probes_share_one_proof(site: Site, door: Slurmrestd, accounting: Any) -> None:
    site.replies["GET db/clusters"] = accounting
    for _ in range(50):
        assert (await door.probe()).identity.cluster == "site"
        site.now += 6.0

    assert site.calls() == ["GET db/clusters", "GET jobs"]


async def test_it_is_proven_again_hourly_by_one_record(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    site.calls(after=AGAIN_SECONDS)
    await door.probe()

    assert site.calls() == ["GET job/9"]


async def test_a_witness_that_is_gone_is_followed_by_the_next(site: Site, door: Slurmrestd) -> None:
    site.replies["GET job/9"] = UNKNOWN
    await door.probe()
    site.calls(after=AGAIN_SECONDS)
    await door.probe()
    assert site.calls(after=AGAIN_SECONDS) == ["GET job/9", "GET job/8"]
    await door.probe()
    assert site.calls(after=AGAIN_SECONDS) == ["GET job/8"]
    site.replies["GET job/8"] = UNKNOWN
    await door.probe()

    assert site.calls() == ["GET job/8", "GET db/clusters", "GET jobs"]


async def test_what_was_proven_stands_where_nothing_proves_it_again(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    site.calls(after=AGAIN_SECONDS)
    site.jobs()
    site.replies |= {"GET job/9": UNKNOWN, "GET job/8": UNKNOWN}
    for _ in range(6):
        assert (await door.probe()).identity.cluster == "site"
        site.now += 6.0

    assert site.calls() == ["GET job/9", "GET job/8", "GET db/clusters", "GET jobs"]


async def test_a_site_that_never_told_is_not_listed_at_every_probe(site: Site, door: Slurmrestd) -> None:
    site.jobs()
    for _ in range(5):
        with pytest.raises(Unavailable, match="does not tell its cluster's name") as caught:
            await door.probe()
        assert caught.value.reason == "ClusterUnknown"
        site.now += LISTING_SECONDS / 5
    assert site.calls().count("GET jobs") == 1
    site.jobs(job(8))

    assert (await door.probe()).identity.cluster == "site"


async def test_listings_that_take_long_come_less_often(site: Site, door: Slurmrestd) -> None:
    async def slow(_: object) -> Seen:
        site.now += 4.0
        listed.append(site.now)
        return Seen()

    listed: list[float] = []
    door._whose._listing = slow
    for _ in range(200):
        with pytest.raises(Unavailable):
            await door.probe()
        site.now += 10.0

    gaps = [later - earlier for earlier, later in pairwise(listed)]
    assert all(200.0 <= gap <= MOST_SECONDS for gap in gaps)


async def test_a_listing_proves_itself(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    site.calls(after=FRESH_SECONDS)
    assert await door.find() == []
    assert await door.get(["5"]) == []
    await door.submit(BATCH)

    assert site.calls() == ["GET jobs", "GET job/5", "POST job/submit"]


ASKS: dict[str, Callable[[Slurmrestd], Awaitable[Any]]] = {
    "states": lambda door: door.states(["5"]),
    "find": lambda door: door.find(),
    "get": lambda door: door.get(["5"]),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_what_names_no_cluster_is_no_absence_without_a_proof(
    site: Site, door: Slurmrestd, ask: Callable[[Slurmrestd], Awaitable[Any]]
) -> None:
    """As of another cluster, which knows none of the jobs that were seen here."""
    await door.probe()
    site.jobs()
    assert not await ask(door), "it was proven in this look"
    site.now += MOST_SECONDS
    site.replies |= {"GET job/9": UNKNOWN, "GET job/8": UNKNOWN}
    with pytest.raises(Unavailable) as caught:
        await ask(door)
    assert caught.value.reason == "ClusterUnknown"
    site.replies["GET db/clusters"] = {"clusters": [{"name": "site"}]}

    assert not await ask(door)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("proof", ["witness", "accounting"])
async def test_another_cluster_is_told_and_then_it_is_who_answers(
    site: Site, door: Slurmrestd, ask: Callable[[Slurmrestd], Awaitable[Any]], proof: str
) -> None:
    await door.probe()
    site.now += MOST_SECONDS
    site.jobs()
    if proof == "witness":
        site.replies["GET job/9"] = {"jobs": [job(9, "other")]}
    else:
        site.replies |= {"GET job/9": UNKNOWN, "GET job/8": UNKNOWN}
        site.replies["GET db/clusters"] = {"clusters": [{"name": "other"}]}
    with pytest.raises(Misaddressed, match="Cluster other answers, where site did") as caught:
        await ask(door)
    assert caught.value.reason == "AnotherCluster"
    site.replies["GET db/clusters"] = {"clusters": [{"name": "other"}]}

    assert (await door.probe()).identity.cluster == "other"
    assert not await ask(door)


@pytest.mark.parametrize("ask", [ASKS["states"], ASKS["find"]])
async def test_another_clusters_listing_is_no_answer(
    site: Site, door: Slurmrestd, ask: Callable[[Slurmrestd], Awaitable[Any]]
) -> None:
    await door.probe()
    site.jobs(job(8, "other"), job(9, "other"))
    with pytest.raises(Misaddressed):
        await ask(door)
    site.now += LISTING_SECONDS

    assert (await door.probe()).identity.cluster == "other", "and not an hour later"


async def test_another_clusters_job_of_that_number_is_no_answer(site: Site, door: Slurmrestd) -> None:
    site.replies["GET job/5"] = {"jobs": [job(5, "other", name=OPTIONS.name, user_name="ada")]}
    await door.probe()
    with pytest.raises(Misaddressed):
        await door.get(["5"])


async def test_nothing_is_submitted_where_another_cluster_answers(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    site.calls(after=FRESH_SECONDS)
    site.replies["GET job/9"] = {"jobs": [job(9, "other")]}
    with pytest.raises(Unavailable) as caught:
        await door.submit(BATCH)

    assert (caught.value.sent, caught.value.reason) == (False, "AnotherCluster")
    assert site.calls() == ["GET job/9"]


async def test_a_thousand_submits_cost_a_proof_a_minute(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    site.calls(after=FRESH_SECONDS)
    for _ in range(100):
        await door.submit(BATCH)
        site.now += 1.0

    assert site.calls().count("GET job/9") == 2


async def test_accounting_says_nothing_of_a_cluster_that_it_does_not_serve(site: Site, door: Slurmrestd) -> None:
    await door.probe()
    assert await door.accounted(job_ids=["5"]) == []
    assert "GET db/clusters" not in site.calls(after=FRESH_SECONDS)[2:], "it has told whom it serves"
    site.replies["GET db/clusters"] = {"clusters": [{"name": "other"}, {"name": "another"}]}
    with pytest.raises(Misaddressed, match="Cluster another and other answers, where site did"):
        await door.accounted(job_ids=["5"])
    site.calls()
    site.replies["GET db/jobs"] = {"jobs": [{"job_id": 5, "user": "ada", "cluster": "site", "name": "x"}]}

    assert len(await door.accounted(job_ids=["5"])) == 1
    assert site.calls() == ["GET db/jobs"]


async def test_where_accounting_does_not_tell_whom_it_serves_the_scheduler_must(site: Site, door: Slurmrestd) -> None:
    site.replies["GET db/clusters"] = {"clusters": []}
    await door.probe()
    site.calls(after=FRESH_SECONDS)
    assert await door.accounted(job_ids=["5"]) == []

    assert site.calls() == ["GET db/jobs", "GET db/clusters", "GET job/9"]


def test_few_witnesses_are_kept_of_a_large_site() -> None:
    seen = Seen.of(live_job(job(number, time_limit=number)) for number in range(1, 1000))

    assert sorted(job_id for _, job_id in seen.running) == [str(number) for number in range(1000 - WITNESSES, 1000)]
