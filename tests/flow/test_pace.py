"""How often a site is looked at, and how rarely it is asked for everything."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from little_world import World
from passerelle import hush
from passerelle.gateways.allowance import TURN_SECONDS
from passerelle.gateways.base import DAY_SECONDS, HORIZON_SECONDS, Identity, Probe
from passerelle.gateways.host import Host
from passerelle.gateways.memory import Fate, Memory
from passerelle.listings import BUSY_SECONDS, Listings, distance
from passerelle.marker import Run
from passerelle.objects import trainingjob
from passerelle.passes import age
from passerelle.picture import Picture
from passerelle.slurm import JobState, RemoteJob
from passerelle.views import Asked, Inquiry
from stories import at, running, told

LONG = Fate(queued=1, running=1_000_000)


def test_no_look_comes_sooner_than_a_period_after_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    states = Memory.states

    async def timed(self: Memory, job_ids: Collection[str]) -> Mapping[str, JobState]:
        times.append(self.clock())
        return await states(self, job_ids)

    monkeypatch.setattr(Memory, "states", timed)

    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(60)
        times.clear()
        await asyncio.sleep(3000)

    told(story, LONG, period="30s")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) > 90
    assert min(gaps) >= 30
    assert max(gaps) <= 33.5


@pytest.mark.parametrize("took,most", [(0, 31), (4, 10)])
def test_where_a_look_lists_everybody_it_is_paced_as_such(
    monkeypatch: pytest.MonkeyPatch, took: float, most: int
) -> None:
    probe, states = Memory.probe, Memory.states

    async def legacy(self: Memory) -> Probe:
        return replace(await probe(self), everybody=True)

    async def slow(self: Memory, job_ids: Collection[str]) -> Mapping[str, JobState]:
        await asyncio.sleep(took)
        return await states(self, job_ids)

    monkeypatch.setattr(Memory, "probe", legacy)
    monkeypatch.setattr(Memory, "states", slow)

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(30)]
        await asyncio.sleep(600)
        world.site.calls.clear()
        for key in keys[1:]:
            world.api.delete(key)
            await asyncio.sleep(60)
        assert 5 <= world.site.calls.count("states") <= most

    told(story, LONG, period="30s")


def submitted(world: World) -> bool:
    return all(each.get("status", {}).get("attempts") for each in world.api.objects.values())


@pytest.mark.parametrize("what", ["delete", "suspend"])
@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "none"])
def test_a_stream_of_ends_costs_no_listing_or_one_a_minute(what: str, *, accounting: bool) -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(100)]
        await asyncio.sleep(300)
        assert submitted(world)
        world.site.calls.clear()
        for key in keys:
            world.api.delete(key) if what == "delete" else world.api.edit(key, suspend=True)
            await asyncio.sleep(6)
        listings = world.site.calls.count("find")
        await world.until(lambda: set(world.states()) == {"CANCELLED"}, 60)
        if what == "delete":
            await world.until(lambda: not world.api.objects, 150)
        assert listings <= (1 if accounting else 11)

    told(story, LONG, period="30s", accounting=accounting)


def test_trainingjobs_with_a_run_id_share_a_listing_a_minute() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(200)
        world.site.calls.clear()
        for number in range(100):
            world.api.create(f"j{number}", runId=f"run-{number:05d}")
            await asyncio.sleep(6)
        assert world.site.calls.count("find") <= 12
        await world.until(lambda: len(world.states()) == 100, 90)

    told(story, LONG, period="30s")


def test_where_a_listing_takes_long_the_next_one_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Memory.find

    async def slow(self: Memory) -> Sequence[RemoteJob]:
        await asyncio.sleep(4)
        return await find(self)

    monkeypatch.setattr(Memory, "find", slow)

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(100)]
        await asyncio.sleep(300)
        world.site.calls.clear()
        for key in keys:
            world.api.delete(key)
            await asyncio.sleep(10)
        assert world.site.calls.count("find") <= 7, "a fiftieth of 1,000 s, and what was saved up before"
        await world.until(lambda: not world.api.objects, 300)

    told(story, LONG, period="30s", accounting=False)


@pytest.mark.parametrize(
    "period,took,apart", [(1, 0, 2), (30, 0.1, 60), (120, 0, 120), (30, 2, 100), (30, 60, 300), (600, 60, 600)]
)
def test_how_far_listings_are_apart(period: float, took: float, apart: float) -> None:
    assert distance(period, took) == apart


def test_a_listing_that_fails_counts_and_one_that_served_not_all_who_waited_holds_up_nobody() -> None:
    now = [0.0]
    host = Host(lambda: now[0])
    listings = Listings(lambda: now[0], lambda: host)

    def fail() -> None:
        with listings.one(30):
            now[0] = 2.0
            raise TimeoutError

    with pytest.raises(TimeoutError):
        fail()
    assert listings.wait == 60
    with listings.one(30, more_wait=True):
        pass
    assert listings.wait == 0


def test_listings_are_saved_up_for_five_minutes_and_paid_back_within_five() -> None:
    now = [0.0]
    host = Host(lambda: now[0])
    listings = Listings(lambda: now[0], lambda: host)

    def one(took: float) -> float:
        now[0] += listings.wait
        with listings.one(30):
            now[0] += took
        return listings.wait

    waits = [round(one(3)) for _ in range(6)]
    assert waits[:2] == [60, 60], "what an operator takes over is known after two"
    assert waits[-2:] == [147, 147], "then a fiftieth of the time, their own included"
    assert one(1000) == 300
    now[0] += 10_000
    assert [round(one(3)) for _ in range(2)] == [60, 60]


def test_sites_of_one_host_have_one_listing_made_at_a_time() -> None:
    now = [0.0]
    host = Host(lambda: now[0])
    one, other = (Listings(lambda: now[0], lambda: host) for _ in range(2))
    with one.one(30):
        now[0] += 1
        assert other.wait == BUSY_SECONDS
    assert other.wait == 0
    with pytest.raises(TimeoutError), one.one(30):
        raise TimeoutError
    assert other.wait == 0


def test_all_sites_of_a_host_together_spend_a_fiftieth_of_the_time_in_listings_and_none_is_passed_over() -> None:
    now = [0.0]
    host = Host(lambda: now[0])
    sites = [Listings(lambda: now[0], lambda: host) for _ in range(20)]
    had, spent = [0] * len(sites), 0.0
    while now[0] < 2 * 3600:
        for number, each in enumerate(sites):  # the first of them is always the first to come
            if each.wait > 0:
                continue
            with each.one(30):
                now[0] += 3
            had[number], spent = had[number] + 1, spent + 3
        now[0] += 0.5

    assert spent <= 0.02 * now[0] + 0.02 * 300 + 3, "and what was saved up"
    assert max(had) - min(had) <= 1
    assert sum(had) > 40


def test_whose_turn_it_is_and_does_not_come_holds_up_the_others_for_a_moment() -> None:
    now = [0.0]
    host = Host(lambda: now[0])
    one, other = (Listings(lambda: now[0], lambda: host) for _ in range(2))
    for _ in range(4):
        with one.one(30):
            now[0] += 3
    now[0] += other.wait
    assert other.wait == 0, "it could have one now"
    assert 0 < one.wait <= TURN_SECONDS, "and so is left alone with it"
    now[0] += TURN_SECONDS
    assert one.wait == 0


def test_what_is_looked_at_by_listing_everybody_s_jobs_is_paced_for_all_sites_of_the_host() -> None:
    assert distance(30, 1) == 60
    assert distance(30, 1, 5) == 250


def test_a_deletion_ends_by_a_listing_while_accounting_is_silent() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        world.site.faults.accounting_down = True
        world.api.create("b")
        await asyncio.sleep(2000)  # look-ups by name are rare by now
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 130)

    told(story, LONG, period="30s")


@pytest.mark.parametrize("run_id", [None, "run-1"])
def test_accounting_is_searched_back_to_the_trainingjob_or_to_the_horizon(
    monkeypatch: pytest.MonkeyPatch, run_id: str | None
) -> None:
    real, reaches = Memory.accounted, list[float]()

    async def accounted(
        self: Memory, *, names: Collection[str] = (), job_ids: Collection[str] = (), within: float
    ) -> Sequence[RemoteJob]:
        reaches.append(within)
        return await real(self, names=names, job_ids=job_ids, within=within)

    monkeypatch.setattr(Memory, "accounted", accounted)

    async def story(world: World) -> None:
        key = world.api.create("a", **({"runId": run_id} if run_id else {}))
        await world.until(running(world, key))

    told(story, LONG, period="30s")
    assert reaches
    least = HORIZON_SECONDS if run_id else DAY_SECONDS
    assert all(least - 1 <= each <= least + 120 for each in reaches)


def test_a_run_s_age_is_that_of_whatever_is_oldest_and_a_day() -> None:
    now = 1_782_907_200.0  # 2026-07-01, at noon
    meta = {"name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1", "generation": 1}
    meta |= {"creationTimestamp": "2026-06-29T12:00:00Z"}
    spec = {"site": "s", "image": "/i.sif", "command": ["x"], "nodes": 1, "timeLimit": "1h"}
    assert age(trainingjob({"metadata": meta, "spec": spec}), now) == 3 * DAY_SECONDS
    assert age(trainingjob({"metadata": meta, "spec": spec | {"runId": "run-1"}}), now) == HORIZON_SECONDS
    attempt = {"number": 1, "marker": "m", "cluster": "c", "user": "u", "runDirectory": "/x", "scriptDigest": ""}
    status = {"attempts": [attempt | {"submitTime": "2026-06-21T12:00:00Z"}]}
    assert age(trainingjob({"metadata": meta, "spec": spec, "status": status}), now) == 11 * DAY_SECONDS


# What accounting's word is worth

RUN = Run("psr-" + "a" * 26)
SETTLE = 15.0


def job(job_id: str, attempt: int = 1, state: str = "CANCELLED", cluster: str = "c") -> RemoteJob:
    name = RUN.marker(attempt)
    return RemoteJob(
        job_id=job_id, name=name, user="u", cluster=cluster, state=JobState(state), submit_time=1, start_time=2
    )


def asked(*jobs: RemoteJob) -> Picture:
    picture = Picture()
    picture.meet(Identity("c", "u"))
    picture.ask(RUN, Inquiry(highest=1, thorough=False, last=True))
    for each in jobs:
        picture.take_in(each)
    return picture


def quiet(picture: Picture, rows: list[RemoteJob], now: float) -> bool:
    return hush.by_name(picture, [RUN], rows, at(now), SETTLE) == {RUN} and picture.views[RUN].quiet


def test_accounting_must_say_twice_that_none_lives_as_far_apart_as_it_may_lag() -> None:
    picture = asked(job("7"))
    assert not quiet(picture, [job("7")], 0)
    assert not quiet(picture, [job("7")], 14)
    assert quiet(picture, [job("7")], 15)


def test_the_settle_time_since_the_last_submit_must_have_passed() -> None:
    picture = asked(job("7"))
    picture.sent(RUN, 10)
    picture.ask(RUN, Inquiry(highest=1, thorough=False, last=True))
    assert not quiet(picture, [job("7")], 9)
    assert not quiet(picture, [job("7")], 24)
    assert quiet(picture, [job("7")], 25)


def test_the_last_word_is_of_what_was_asked_once_it_was_due() -> None:
    picture = asked(job("7"))
    assert not quiet(picture, [job("7")], 0)
    late = Asked(SETTLE - 1, SETTLE + 60)
    assert not hush.by_name(picture, [RUN], [job("7")], late, SETTLE)
    picture.views[RUN].sent_at = 100
    assert not hush.by_listing(picture, [RUN], Asked(99 + SETTLE, 160 + SETTLE), SETTLE)


def test_a_copy_that_comes_to_light_in_between_begins_it_anew() -> None:
    picture = asked(job("7"))
    assert not quiet(picture, [job("7")], 0)
    assert not quiet(picture, [job("7"), job("8", state="PENDING")], 15)
    assert not quiet(picture, [job("7"), job("8")], 20)
    assert quiet(picture, [job("7"), job("8")], 35)


@pytest.mark.parametrize("rows", [[], [job("7", 1)]], ids=["none", "an earlier attempt's"])
def test_rows_without_the_newest_attempt_s_end_leave_it_to_a_listing(rows: list[RemoteJob]) -> None:
    picture = asked(job("9", 2))
    for now in (0, 15, 30, 300):
        assert not quiet(picture, rows, now)
    assert picture.views[RUN].word.to_listing
    assert hush.by_listing(picture, [RUN], at(301), SETTLE) == {RUN}


def test_rows_of_another_cluster_say_nothing() -> None:
    picture = asked(job("7"))
    assert not quiet(picture, [job("7", cluster="d")], 0)
    assert not quiet(picture, [job("7", cluster="d")], 60)


def test_what_lives_is_the_answer() -> None:
    picture = asked(job("7", state="RUNNING"))
    assert not quiet(picture, [job("7")], 60)
    assert not picture.views[RUN].hushing
