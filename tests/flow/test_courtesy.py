"""How politely a site is asked: seldom, within an hour's budget, less where it is sick; and no job suffers from it."""

from __future__ import annotations

import asyncio
import bisect
import copy
import itertools
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast
from unittest.mock import Mock

import pytest

from little_world import SITE, AccountedDoor, CarryingDoor, KubeClient, Points, World
from passerelle.batch import Batch
from passerelle.errors import Deferred, Unauthorized, Unavailable
from passerelle.gate import kind_of
from passerelle.gateways import meter
from passerelle.gateways.base import Probe
from passerelle.gateways.breaker import FAILURES
from passerelle.gateways.courtesy import Courtesy, Kind
from passerelle.gateways.memory import Fate, Memory
from passerelle.gateways.purpose import Purpose, made_for, purpose
from passerelle.haste import EARLY
from passerelle.kube import Kube
from passerelle.looks import NEWS_WHEN_FULL
from passerelle.marker import Run
from passerelle.objects import Key, TrainingJob
from passerelle.reconcile import Reconciler
from passerelle.records import PIECE
from passerelle.reports import Reports
from passerelle.sites import Service
from passerelle.slurm import JobState, RemoteJob
from passerelle.v1alpha1.site import CALLS_PER_HOUR
from stories import finished, running, told

LONG = Fate(queued=10, running=100_000)
HOUR = 3600


def about(world: World, kind: str) -> list[tuple[str, str, str]]:
    return [
        (each["status"], each["reason"], each["message"]) for each in world.site_conditions() if each["type"] == kind
    ]


def most_in_an_hour(times: Sequence[float]) -> int:
    return max(last + 1 - bisect.bisect_left(times, times[last] - HOUR) for last in range(len(times)))


class Counted(AccountedDoor):
    """A door that tells of jobs one by one, as slurmrestd's does, and notes when each request left."""

    times: list[float]

    def _request(self, many: int = 1) -> None:
        for _ in range(many - 1):
            meter.called()  # the site itself counts one
        self.times += [asyncio.get_running_loop().time()] * many

    async def probe(self) -> Probe:
        self._request()
        return await super().probe()

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        self._request()
        return await super().states(job_ids)

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        self._request(len(job_ids))
        return await super().get(job_ids)

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        self._request()
        return await super().find(ended_of)

    async def accounted(
        self, *, names: Collection[str] = (), job_ids: Collection[str] = (), **how: float
    ) -> Sequence[RemoteJob]:
        self._request()
        return await super().accounted(names=names, job_ids=job_ids, **how)

    async def submit(self, batch: Batch) -> str:
        self._request()
        return await super().submit(batch)

    async def cancel(self, job_id: str) -> None:
        self._request()
        await super().cancel(job_id)


def counted() -> type[Counted]:
    return type("CountedHere", (Counted,), {"times": []})


class Crowd(World):
    """A world whose jobs all report, and whose door counts."""

    def __init__(self, **site_spec: Any) -> None:
        super().__init__(**site_spec)
        self.door = self.counting = counted()
        self.reports = 0

    async def report(self) -> None:
        """Every job writes a step each half minute."""
        while True:
            self.reports += 1
            for job_id in list(self.site._jobs):
                at = int(self.loop.time())
                self.site.set_comment(job_id, f'{{"v":1,"s":{self.reports},"n":100000,"t":{at}}}')
            await asyncio.sleep(30)

    def step(self, key: Key) -> int:
        found: int = self.status(key).get("progress", {}).get("step", 0)
        return found


def crowded(story: Any, jobs: int, **site_spec: Any) -> None:
    import virtual_time  # noqa: PLC0415

    async def main() -> None:
        world = Crowd(**site_spec)
        world.site.fates = lambda _: LONG
        await world.start_operator()
        reporting = asyncio.create_task(world.report())
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(jobs)]
        try:
            await story(world, keys)
        finally:
            reporting.cancel()
            await world.end_operator()

    virtual_time.run(main())


def test_an_hour_of_200_running_jobs_stays_within_the_budget_and_hides_nothing() -> None:
    async def story(world: Crowd, keys: list[Key]) -> None:
        began = world.loop.time()
        await world.until(lambda: all(running(world, key)() for key in keys), 300)
        await asyncio.sleep(45 * 60)
        assert all(world.reports - world.step(key) <= 10 for key in keys), "each was heard of in the last five minutes"
        (told_of,) = about(world, "WithinBudget")
        assert told_of[:2] == ("False", "CallsSpent")
        assert "running jobs are asked for their progress in turns" in told_of[2]
        assert world.service.courtesy.progress_stretch > 2

        world.site.end(world.status(keys[0])["attempts"][0]["jobId"], "COMPLETED")
        await world.until(finished(world, keys[0]), 34)
        doomed = world.status(keys[1])["attempts"][0]["jobId"]
        world.api.delete(keys[1])
        await asyncio.sleep(1)
        assert world.site._state(world.site._jobs[doomed]).base == "CANCELLED"
        new = world.api.create("new", timeLimit="1h")
        await asyncio.sleep(5)
        assert world.status(new)["attempts"][0]["jobId"]
        await asyncio.sleep(HOUR - 60 - (world.loop.time() - began))

        times = world.counting.times
        assert most_in_an_hour(times) <= CALLS_PER_HOUR
        assert len(times) > CALLS_PER_HOUR / 2, "it is not slower than need be"
        assert world.service.courtesy.budget.spent() == len(times)
        assert [key for key in keys[2:] if world.condition(key, "ProgressAvailable") != ("", "")] == []
        assert [key for key in keys[2:] if not running(world, key)()] == []

    crowded(story, 200, period="30s", progressPeriod="60s", callsPerHour=CALLS_PER_HOUR)


def test_fifty_running_jobs_live_at_their_periods() -> None:
    async def story(world: Crowd, keys: list[Key]) -> None:
        await asyncio.sleep(50 * 60)

        assert all(world.reports - world.step(key) <= 4 for key in keys)
        assert about(world, "WithinBudget") == []
        assert world.service.courtesy.budget.spent() < CALLS_PER_HOUR / 2

    crowded(story, 50, period="30s", progressPeriod="60s", callsPerHour=CALLS_PER_HOUR)


def test_where_calls_run_short_a_job_that_waits_for_its_turn_is_not_called_silent() -> None:
    """Its relay has posted, and nobody has asked."""

    async def story(world: Crowd, keys: list[Key]) -> None:
        await asyncio.sleep(40 * 60)

        assert world.service.courtesy.progress_stretch > 10
        assert [key for key in keys if world.condition(key, "ProgressAvailable") != ("", "")] == []

    crowded(story, 60, period="30s", progressPeriod="60s", callsPerHour=500)


def test_a_budget_that_is_used_up_holds_submits_and_nothing_else_and_loses_no_job() -> None:
    async def story(world: World) -> None:
        world.door = door = counted()
        await world.edit_site(runRoot="/scratch/passerelle2")  # by which the door is opened anew
        world.site.fates = lambda _: LONG
        first = world.api.create("first", timeLimit="1h")
        await world.until(running(world, first))
        world.site.fates = lambda _: Fate(queued=1, running=100)
        keys = [world.api.create(f"j{number}") for number in range(100)]
        await asyncio.sleep(300)
        sent = world.site.calls.count("submit")
        assert 30 < sent < 90
        assert about(world, "WithinBudget")[0][1] == "CallsSpent"
        assert "nothing is submitted for a while" in about(world, "WithinBudget")[0][2]
        assert about(world, "Ready")[0][0] == "True"
        held = [key for key in keys if world.condition(key, "Submitted") == ("False", "SiteSpared")]
        assert len(held) > 10
        world.api.delete(first)
        await asyncio.sleep(2)
        assert world.states()[0] == "CANCELLED", "a person wants that"
        await world.until(lambda: all(finished(world, key)() for key in keys), 5 * HOUR)

        names = [job.name for job in world.site.snapshot()]
        assert len(names) == len(set(names)) == 101
        assert {world.condition(key, "Succeeded")[0] for key in keys} == {"True"}
        assert most_in_an_hour(door.times) <= 400

    told(story, period="60s", callsPerHour=400)


def test_a_site_is_asked_no_more_often_than_its_machine_allows_and_says_so() -> None:
    async def story(world: World) -> None:
        world.door = door = counted()
        await world.edit_site(progressPeriod="10s")
        await asyncio.sleep(20 * 60)

        probes = sorted({round(each, 1) for each in door.times})
        looks = [later - earlier for earlier, later in itertools.pairwise(probes)]
        assert min(looks[2:]) >= 0.9 * 120
        ((status, reason, message),) = about(world, "PeriodAsWritten")
        assert (status, reason) == ("False", "BelowFloor")
        assert message == (
            "pollingPeriod and progressPeriod are shorter than 120s, the least at a machine of profile lumi-g: each "
            "counts as 120s. progressPeriod is 10s, and this gateway shows a job's progress by its comment alone, "
            "which the job writes every 300s: it counts as 300s. Write 120s or more, or leave them out. Write a "
            "progressPeriod of 300s or more, or leave it out; or a shorter commentPeriod, if the site agrees to so "
            "many requests to its slurmctld."
        )
        await world.edit_site(pollingPeriod="120s", progressPeriod="5m")
        await asyncio.sleep(120)
        assert about(world, "PeriodAsWritten") == []

    told(story, LONG, profile="lumi-g", period="1s")


def test_one_failed_look_is_nobodys_news_however_long_the_period_is() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(200)
        world.site.faults.gateway_down = True
        await world.until(lambda: about(world, "Ready")[0][0] == "False")
        await asyncio.sleep(30)
        world.site.faults.gateway_down = False
        assert world.condition(key, "SiteReachable") == ("", "")
        await asyncio.sleep(200)
        assert about(world, "Ready")[0][0] == "True"
        world.site.faults.gateway_down = True
        await asyncio.sleep(500)
        assert world.condition(key, "SiteReachable") == ("False", "Unreachable")

    told(story, LONG, period="120s")


def test_a_stream_of_trainingjobs_makes_no_period_of_its_own_and_a_single_one_goes_at_once() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(60)
        began = world.loop.time()
        key = world.api.create("single")
        await world.until(lambda: bool(world.status(key).get("attempts", [{}])[0].get("jobId")), 60)
        assert world.loop.time() - began < 5, "a submit is no poll"
        await asyncio.sleep(300)
        world.site.calls.clear()
        for number in range(300):
            world.api.create(f"j{number}")
            await asyncio.sleep(1)

        assert world.site.calls.count("probe") <= 10 * (EARLY + 1) + EARLY
        await asyncio.sleep(15)
        assert len(world.site.snapshot()) == 301, "each look serves all who came since the last"

    told(story, Fate(queued=100_000), period="30s")


def test_a_stream_of_cancels_makes_no_period_of_its_own() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}") for number in range(150)]
        await world.until(
            lambda: all("jobId" in each for key in keys for each in world.status(key).get("attempts", [{}]))
        )
        await asyncio.sleep(120)
        world.site.calls.clear()
        for key in keys:
            world.api.delete(key)
            await asyncio.sleep(2)
        assert world.site.calls.count("states") <= 10 * (EARLY + 1) + EARLY
        assert world.site.calls.count("cancel") == 150, "none waits for a look"

    told(story, Fate(queued=100_000), period="30s")


def most_in_a_second(times: Sequence[float]) -> int:
    return max(last + 1 - bisect.bisect_left(times, times[last] - 0.999) for last in range(len(times)))


def test_a_crowd_is_submitted_and_deleted_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    called, acts = Memory._called, list[tuple[float, str]]()

    def noted(self: Memory, call: str) -> None:
        if call in ("submit", "cancel"):
            acts.append((asyncio.get_running_loop().time(), call))
        called(self, call)

    monkeypatch.setattr(Memory, "_called", noted)

    def times(of: str) -> list[float]:
        return [time for time, call in acts if call == of]

    async def story(world: World) -> None:
        await asyncio.sleep(60)
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(300)]
        await world.until(lambda: len(times("submit")) == 300, 60)
        assert most_in_a_second(times("submit")) <= 50 + 10
        assert 20 <= times("submit")[-1] - times("submit")[0] <= 30, "it is no slower than need be"
        await asyncio.sleep(60)
        for key in keys:
            world.api.delete(key)
        await world.until(lambda: not world.api.objects, 180)
        assert len(times("cancel")) == 300
        assert most_in_a_second(times("cancel")) <= 50 + 10
        assert 50 <= times("cancel")[-1] - times("cancel")[0] <= 65, "to read each job's record is an act, too"

    told(story, LONG, profile="meluxina-gpu", period="30s")


def test_of_a_crowd_that_starts_at_once_the_records_are_read_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    get, times = AccountedDoor.get, list[float]()

    async def one_by_one(self: AccountedDoor, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        for _ in range(len(job_ids) - 1):
            meter.called()  # the site itself counts one
        if purpose() is Purpose.NEWS:
            times.extend([asyncio.get_running_loop().time()] * len(job_ids))
        return await get(self, job_ids)

    monkeypatch.setattr(AccountedDoor, "get", one_by_one)

    async def story(world: World) -> None:
        start = world.loop.time() + 300
        world.site.fates = lambda _: Fate(queued=start - world.loop.time(), running=100_000)
        keys = [world.api.create(f"j{number}", timeLimit="30h") for number in range(500)]
        await asyncio.sleep(295)
        times.clear()
        await world.until(lambda: all(running(world, key)() for key in keys), 90)

        assert len(times) >= 500
        assert most_in_a_second(times) <= 5 * 30 + PIECE
        assert 9 <= times[499] - times[0] <= 15, "it is no slower than need be"

    told(story, LONG, profile="meluxina-gpu", period="30s")


def test_jobs_are_deleted_beyond_a_budget_that_is_used_up_and_the_site_says_so() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(60)]
        await world.until(lambda: all(running(world, key)() for key in keys))
        await world.edit_site(callsPerHour=100)
        await asyncio.sleep(60)
        assert "cancels go beyond it" not in str(about(world, "WithinBudget"))
        for key in keys:
            world.api.delete(key)
        await world.until(lambda: not world.api.objects, 1200)

        assert world.site.calls.count("cancel") == 60, "that one has ended is seen as it is read again"
        await asyncio.sleep(60)
        assert "cancels go beyond it" in about(world, "WithinBudget")[0][2]
        assert set(world.states()) == {"CANCELLED"}

    told(story, LONG, period="30s")


def test_submits_that_get_no_answer_are_left_alone_while_looks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    submit, sick = Memory.submit, [True]

    async def timed_out(self: Memory, batch: Batch) -> str:
        if not sick[0]:
            return await submit(self, batch)
        self._called("submit")
        await asyncio.sleep(60)
        raise Unavailable("The gateway did not answer in time.", reason="Unreachable", sent=True)

    monkeypatch.setattr(Memory, "submit", timed_out)

    async def story(world: World) -> None:
        await asyncio.sleep(30)
        keys = [world.api.create(f"j{number}") for number in range(40)]
        await asyncio.sleep(1200)
        assert world.site.calls.count("submit") <= 16 + FAILURES + 5
        ((status, reason, message),) = about(world, "CallsAllowed")
        assert (status, reason) == ("False", "Unreachable")
        assert message.startswith("Several submits in a row got no answer, so nothing is submitted but one job now")
        assert about(world, "Ready") == [("True", "Answering", "The site answers and accepts the credential.")]
        assert world.site.calls.count("states") == 0 or world.site.calls.count("probe") > 30
        held = [key for key in keys if world.condition(key, "Submitted") == ("False", "SiteSpared")]
        assert len(held) > 15
        sick[0] = False
        await world.until(lambda: all(finished(world, key)() for key in keys), 1200)

        assert len({job.name for job in world.site.snapshot()}) == len(world.site.snapshot()) == 40
        await asyncio.sleep(120)
        assert about(world, "CallsAllowed") == []

    told(story, Fate(queued=1, running=10), period="30s")


def test_cancels_of_many_jobs_at_a_sick_gateway_are_one_call_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    get, sick, asked = Memory.get, [False], [0]

    async def late(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        if not sick[0]:
            return await get(self, job_ids)
        asked[0] += 1
        await asyncio.sleep(1)
        raise Unavailable("The gateway did not answer in time.", reason="Unreachable", sent=True)

    monkeypatch.setattr(Memory, "get", late)

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(60)]
        await world.until(lambda: all(running(world, key)() for key in keys))
        assert world.service.watch is not None
        world.service.watch._looks._next_progress = float("inf")  # looks read no records meanwhile
        await asyncio.sleep(60)
        sick[0] = True
        for key in keys:
            world.api.delete(key)
        await asyncio.sleep(600)
        assert asked[0] <= 16 + FAILURES + 20
        assert about(world, "CallsAllowed")[0][2].startswith("Several cancels in a row got no answer")
        assert about(world, "Ready")[0][0] == "True"
        sick[0] = False
        await world.until(lambda: all(key not in world.api.objects for key in keys), 200)

        assert set(world.states()) == {"CANCELLED"}

    told(story, LONG, period="30s")


def test_whoever_submits_or_cancels_says_for_whom_so_that_trials_go_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    trying, submits_wait = Courtesy.trying, Courtesy.submits_wait
    tried, asked = set[tuple[Kind, str | None]](), set[str | None]()

    def noted(self: Courtesy, kind: Kind, whom: str | None = None) -> AbstractContextManager[None]:
        tried.add((kind, whom))
        return trying(self, kind, whom)

    def waited(self: Courtesy, marker: str | None = None) -> Deferred | None:
        asked.add(marker)
        return submits_wait(self, marker)

    monkeypatch.setattr(Courtesy, "trying", noted)
    monkeypatch.setattr(Courtesy, "submits_wait", waited)

    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(3)]
        await world.until(lambda: all(running(world, key)() for key in keys))
        attempts = [world.status(key)["attempts"][-1] for key in keys]
        assert tried == {(Kind.SUBMITS, each["marker"]) for each in attempts}
        assert {each["marker"] for each in attempts} <= asked
        tried.clear()
        for key in keys:
            world.api.delete(key)
        await world.until(lambda: not world.api.objects)

        assert tried == {(Kind.ENDS, each["jobId"]) for each in attempts}

    told(story, LONG)


@pytest.mark.parametrize("asked", [20, 300])
def test_a_site_that_asks_for_patience_is_sent_nothing_of_any_kind(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, busy = Memory.submit, [True]

    async def overrun(self: Memory, batch: Batch) -> str:
        if not busy[0]:
            return await submit(self, batch)
        busy[0] = False
        self._called("submit")
        meter.patience(asked)
        raise Unavailable("The gateway is busy.", reason="Busy", retry_after=asked)

    monkeypatch.setattr(Memory, "submit", overrun)

    async def story(world: World) -> None:
        old = world.api.create("old", suspend=True)
        await asyncio.sleep(45)
        world.api.edit(old, suspend=False)
        await world.until(lambda: "submit" in world.site.calls)
        world.site.calls.clear()
        keys = [world.api.create(f"j{number}") for number in range(5)]
        await asyncio.sleep(asked - 7)
        assert world.site.calls == []
        assert about(world, "CallsAllowed")[0][:2] == ("False", "Busy")
        assert f"asked for {asked} s of patience" in about(world, "CallsAllowed")[0][2]
        assert about(world, "Ready")[0][0] == ("True" if asked < 30 else "False"), "a long silence is told"
        await world.until(lambda: all(finished(world, key)() for key in [old, *keys]), 400)

        assert len(world.site.snapshot()) == 6
        await asyncio.sleep(61)
        assert about(world, "CallsAllowed") == []

    told(story, Fate(queued=1, running=10), period="30s")


def test_an_end_is_explained_by_its_report_even_while_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied may fail for long; an end waits a minute for its file, and is told without it."""

    async def story(world: World) -> None:
        world.door = CarryingDoor
        key = world.api.create("a")
        await world.until(running(world, key))
        courtesy = world.service.courtesy
        breaker = next(each for kind, each in courtesy._breakers.items() if kind == "files")
        for _ in range(FAILURES):
            breaker.failed(Unavailable("lost", reason="Unreachable"), trial=False)
        world.site.calls.clear()
        await world.until(finished(world, key))

        assert "read" in world.site.calls
        assert list(courtesy.open()) == ["files"]

    told(story, Fate(queued=1, running=5), files=True)


def test_the_hours_calls_outlive_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(300)
        before = world.service.courtesy.budget.spent()
        await world.edit_site(callsPerHour=100, suspend=True)
        await asyncio.sleep(5)

        assert before > 10
        assert world.service.courtesy.budget.spent() >= before
        assert world.service.courtesy.budget.limit == 100

    told(story, period="10s")


def test_the_site_of_the_little_world_is_one_without_a_floor() -> None:
    async def story(world: World) -> None:
        assert world.api.sites[SITE]["spec"]["profile"] == "sandbox"
        await asyncio.sleep(5)
        assert world.site.calls.count("probe") >= 4

    told(story)


def test_a_submit_that_is_held_back_at_the_last_moment_is_no_trouble_of_the_sites() -> None:
    """The trial of another one is in hand, and says nothing of looks."""

    async def story(world: World) -> None:
        await asyncio.sleep(5)
        watch = world.service.watch
        assert watch is not None
        assert watch.probe is not None
        breaker = watch.courtesy._breakers[Kind.SUBMITS]
        for _ in range(FAILURES):
            breaker.failed(Unavailable("lost", reason="Unreachable"), trial=False)
        run = Run.of_uid("6f1a3c1e-0000-4000-8000-000000000001")
        with pytest.raises(Deferred):
            await watch.submit(run, 1, Mock(), watch.probe.identity)

        assert watch.trouble is None
        assert run not in watch._picture.views, "nothing was sent, so nothing is in doubt"

    told(story)


def test_while_a_site_is_left_alone_a_deletion_is_not_worked_on_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [0]
    one_pass = Reconciler._pass

    async def noted(self: Reconciler, job: TrainingJob) -> float | None:
        passes[0] += 1
        return await one_pass(self, job)

    monkeypatch.setattr(Reconciler, "_pass", noted)

    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(60)
        world.service.courtesy._asked_for_patience(250)
        passes[0] = 0
        world.api.delete(key)
        await asyncio.sleep(240)
        assert passes[0] < 10
        await world.until(lambda: key not in world.api.objects, 400)

        assert world.states() == ["CANCELLED"]

    told(story, LONG, period="300s")


def test_what_travels_beside_a_job_is_of_its_submit() -> None:
    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"data.bin": b"x" * 200_000}
        key = world.api.create("a", files=[{"configMap": "code", "path": "/workspace"}])
        await world.until(running(world, key))
        budget = world.service.courtesy.budget

        assert budget.spent(Purpose.SUBMIT) == world.site.calls.count("submit") + world.site.calls.count(
            "write"
        ) + world.site.calls.count("make_directory")
        assert budget.spent(Purpose.FILES) == 0

    told(story, files=True)


def test_when_the_hour_is_used_up_ends_are_told_a_few_at_a_time_and_nobody_asks_why_others_wait() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(40)]
        await world.until(lambda: all(running(world, key)() for key in keys), 300)
        world.site.fates = lambda _: Fate(queued=100_000)
        world.api.create("waits")
        await asyncio.sleep(300)
        for _ in range(10_000):
            world.service.courtesy.budget.note(Purpose.END)
        await world.edit_site(callsPerHour=10_000)
        for key in keys:
            world.site.end(world.status(key)["attempts"][0]["jobId"], "COMPLETED")
        await asyncio.sleep(31)
        done = sum(finished(world, key)() for key in keys)
        assert 1 <= done <= 3 * NEWS_WHEN_FULL
        await world.until(lambda: all(finished(world, key)() for key in keys), 600)
        world.site.calls.clear()
        await asyncio.sleep(300)
        assert world.site.calls.count("states") > 5
        assert "get" not in world.site.calls, "why a job waits can wait itself"

    told(story, LONG, period="30s", progressPeriod="1000s")


def test_an_end_that_is_found_while_progress_is_read_is_a_look_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Purpose | None] = []

    async def ended(_: Reports, __: object, jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
        heard.append(purpose())
        return list(jobs)

    monkeypatch.setattr(Reports, "ended", ended)

    async def story(world: World) -> None:
        assert world.service.watch is not None
        with made_for(Purpose.PROGRESS):
            await world.service.watch._looks.take_in([], running=[])
        assert heard[-1] is Purpose.LOOK

    told(story)


def test_to_be_spared_is_no_other_trouble_than_that_for_which_it_is() -> None:
    """Else every pass of the Site's TrainingJobs would be made anew as the one follows the other."""
    assert kind_of(Deferred("left alone", reason="Busy", retry_after=9.0)) == kind_of(
        Unavailable("busy", reason="Busy")
    )
    assert kind_of(Unauthorized("no", reason="Busy")) != kind_of(Unavailable("busy", reason="Busy"))


def test_an_operator_that_restarts_again_and_again_has_one_budget() -> None:
    async def story(world: Crowd, keys: list[Key]) -> None:
        await world.until(lambda: all(running(world, key)() for key in keys), 300)
        await asyncio.sleep(600)
        began = world.loop.time()
        for _ in range(15):
            await world.end_operator()
            await world.start_operator()
            await asyncio.sleep(120)
        assert sum(time >= began for time in world.counting.times) <= 1000
        assert world.api.sites[SITE]["status"]["calls"]["lastHour"] > 500

        await asyncio.sleep(900)  # before their time limit ends
        assert [key for key in keys if not running(world, key)()] == []

    crowded(story, 60, period="30s", progressPeriod="60s", callsPerHour=1000)


def test_what_was_just_read_to_find_it_again_is_not_read_for_its_progress() -> None:
    async def story(world: Crowd, keys: list[Key]) -> None:
        await world.until(lambda: all(running(world, key)() for key in keys), 300)
        await asyncio.sleep(300)
        await world.end_operator()
        world.counting.times.clear()
        await world.start_operator()
        await asyncio.sleep(50)
        assert len(keys) < len(world.counting.times) < 1.5 * len(keys)
        await asyncio.sleep(60)
        assert all(world.reports - world.step(key) <= 4 for key in keys)

    crowded(story, 40, period="20s", progressPeriod="60s", callsPerHour=100_000)


def test_the_hours_count_is_written_seldom() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(3600)
        world.api.calls.clear()
        await asyncio.sleep(1800)
        assert world.api.calls.count("site status") <= 4

    told(story, LONG, period="30s", callsPerHour=CALLS_PER_HOUR)


TEAMS = 20


def a_site_a_team(story: Any, url: Any = lambda _: "https://memory", **site_spec: Any) -> None:
    """Twenty Sites beside each other; the story gets what was called, when and by which."""
    import virtual_time  # noqa: PLC0415

    async def main() -> None:
        world = World(period="30s", **site_spec)
        world.door = counted()
        for number in range(TEAMS):
            world.behind[url(number)] = world.site
        world.site.fates = lambda _: LONG
        world.reconciler = world.compose(cast("Kube", KubeClient(world.api, Points())), Points())
        assert world._sites is not None
        sites = world._sites
        for number in range(TEAMS):
            body = copy.deepcopy(world.api.sites[SITE])
            body["metadata"] |= {"name": f"team-{number}", "uid": f"u{number}"}
            body["spec"]["gateway"]["url"] = url(number)
            world.api.sites[f"team-{number}"] = body
            await sites.observe(copy.deepcopy(body), deleted=False)
        try:
            await story(world, [sites.get(f"team-{number}") for number in range(TEAMS)])
        finally:
            await world.end_operator()

    virtual_time.run(main())


def test_the_sites_of_one_host_are_first_asked_one_after_the_other_the_first_at_once() -> None:
    async def story(world: World, services: list[Service]) -> None:
        await asyncio.sleep(25)
        answered = sorted(each.watch.looked_at is not None for each in services if each.watch is not None)
        times = world.door.times  # type: ignore[attr-defined]
        began = min(times)
        assert began - world.loop.time() < -24.5
        assert answered == [True] * TEAMS
        assert most_in_a_second(times) <= 2 * 3, "a probe, a listing and a survey each"

    a_site_a_team(story)


def test_sites_of_other_hosts_do_not_wait_for_each_other() -> None:
    async def story(_: World, services: list[Service]) -> None:
        await asyncio.sleep(1)
        assert [each.site.name for each in services if each.watch is None or each.watch.looked_at is None] == []
        services[0].courtesy._asked_for_patience(300)
        assert [bool(each.courtesy.patience_left) for each in services] == [True] + [False] * (TEAMS - 1)

    a_site_a_team(story, lambda number: f"https://memory-{number}")


def test_sites_of_one_host_share_its_pace_and_its_patience_whatever_their_paths_are_called() -> None:
    async def story(world: World, services: list[Service]) -> None:
        await asyncio.sleep(100)
        assert len({id(each.courtesy.pace) for each in services}) == 1
        assert services[0].courtesy.pace.rate == 10
        assert len({id(each.courtesy.budget) for each in services}) == TEAMS, "the hour's calls are each one's own"
        services[0].courtesy._asked_for_patience(300)
        assert {round(each.courtesy.patience_left) for each in services} == {300}
        await asyncio.sleep(5)
        told_of = [world.api.sites[f"team-{number}"]["status"]["conditions"] for number in range(TEAMS)]
        assert all("CallsAllowed" in {each["type"] for each in conditions} for conditions in told_of)
        world.door.times.clear()  # type: ignore[attr-defined]
        await asyncio.sleep(280)
        assert world.door.times == []  # type: ignore[attr-defined]

    a_site_a_team(story, lambda number: f"https://Memory:443/team-{number}", profile="meluxina-gpu")


@pytest.mark.parametrize("asked", [20, 300], ids=["less than a period", "more"])
def test_the_sites_of_one_host_come_back_one_after_the_other_once_it_has_had_its_patience(asked: int) -> None:
    async def story(world: World, services: list[Service]) -> None:
        await asyncio.sleep(100)
        services[0].courtesy._asked_for_patience(asked)
        times = world.door.times  # type: ignore[attr-defined]
        times.clear()
        until = world.loop.time() + asked
        await asyncio.sleep(asked + 20)  # later each has its own period again
        assert min(times) >= until - 0.1
        assert most_in_a_second(times) <= 2 * 3, "a probe, a listing and a survey each"
        await asyncio.sleep(80)
        answered = [each.watch.trouble is None for each in services if each.watch is not None]
        assert answered == [True] * TEAMS

    a_site_a_team(story)
