"""What every call of a gateway passes through: patience for all, the budget by purpose, a breaker by kind of call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import httpx
import pytest

import virtual_time
from passerelle.errors import Deferred, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.base import OPENING, Files, Gateway, Upload
from passerelle.gateways.breaker import FAILURES
from passerelle.gateways.budget import FULL, READ_OF_A_JOB, SHARES
from passerelle.gateways.courtesy import (
    CALLS_SPENT,
    LONGEST_PATIENCE,
    SLOWED_SECONDS,
    WAITED_IN_PLACE,
    Courtesy,
    Kind,
    courteous,
)
from passerelle.gateways.http import GATEWAY, Carrier, Server
from passerelle.gateways.memory import Memory
from passerelle.gateways.pace import BURST_SECONDS
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.profiles.machine import ACTS_PER_SECOND

LIMIT = 1000
LOST = Unavailable("The answer was lost.", reason="Unreachable", sent=True)


class Site:
    """A site in memory behind the courtesy, whose calls end as a test wants."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = 0
        self.courtesy = Courtesy(self.loop.time, calls_per_hour=LIMIT, changed=self._changed)
        self.memory = Memory(clock=self.loop.time)
        self.ends: PasserelleError | None = None
        self.bad = ""
        self.took = 0.0
        self.sent: list[str] = []
        site = self

        class Door(Memory):
            def _called(self, call: str) -> None:
                super()._called(call)
                site.sent.append(call)

        self.door = courteous(cast("Gateway", Door(clock=self.loop.time)), self.courtesy)

    def _changed(self) -> None:
        self.changed += 1

    async def call(self, operation: str, about: str | None = None) -> None:
        """One call of this kind, which ends as `ends` says, or is about what is `bad`."""

        async def once() -> None:
            meter.called()
            self.sent.append(operation)
            await asyncio.sleep(self.took)
            if self.ends is not None or (about is not None and about == self.bad):
                raise self.ends or LOST

        await self.courtesy.through(operation, once, about)

    async def fails(self, operation: str, times: int = FAILURES) -> None:
        for _ in range(times):
            with pytest.raises(Unavailable):
                await self.call(operation)

    async def refused(self, operation: str) -> Deferred:
        before = len(self.sent)
        with pytest.raises(Deferred) as found:
            await self.call(operation)
        assert len(self.sent) == before, "nothing was sent"
        assert not found.value.sent
        return found.value


def told(story: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(Site())

    virtual_time.run(main())


EVERY = [
    "probe",
    "states",
    "get",
    "find",
    "accounted",
    "submit",
    "cancel",
    "warn",
    "read",
    "write",
    "append",
    "hand_in",
]


@pytest.mark.parametrize("operation", EVERY)
def test_while_a_site_asks_for_patience_nothing_is_sent(operation: str) -> None:
    async def story(site: Site) -> None:
        site.courtesy._asked_for_patience(300)
        assert 295 < (await site.refused(operation)).retry_after <= 300  # type: ignore[operator]
        assert site.changed == 1
        await asyncio.sleep(301)
        await site.call(operation)

        assert site.sent == [operation]

    told(story)


def test_a_moment_of_patience_is_waited_for_in_place() -> None:
    async def story(site: Site) -> None:
        site.courtesy._asked_for_patience(WAITED_IN_PLACE)
        began = site.loop.time()
        await site.call("submit")

        assert site.loop.time() - began == pytest.approx(WAITED_IN_PLACE, abs=0.001)
        assert site.changed == 0, "nobody would read of it in time"

    told(story)


@pytest.mark.parametrize("asked", [300.0, 4.0], ids=["refused", "waited for in place"])
def test_after_its_patience_a_site_is_not_met_by_all_that_gathered(asked: float) -> None:
    async def story(site: Site) -> None:
        waiting = [asyncio.create_task(site.call("submit")) for _ in range(80 if asked < WAITED_IN_PLACE else 0)]
        await asyncio.sleep(0.05)
        site.courtesy._asked_for_patience(asked)
        await asyncio.sleep(asked + 0.01)
        before = len(site.sent)
        waiting += [asyncio.create_task(site.call("submit")) for _ in range(80)]
        await asyncio.sleep(1)
        assert ACTS_PER_SECOND / 2 < len(site.sent) - before <= ACTS_PER_SECOND + 1
        await asyncio.gather(*waiting)

    told(story)


def test_patience_has_an_end_whatever_a_server_asks_for_and_a_shorter_word_takes_none_of_it_back() -> None:
    async def story(site: Site) -> None:
        site.courtesy._asked_for_patience(86_400)
        site.courtesy._asked_for_patience(1)

        assert site.courtesy.patience_left == pytest.approx(LONGEST_PATIENCE, abs=0.001)
        assert site.courtesy.asked_seconds == 86_400

    told(story)


def carrier(answer: httpx.Response | Exception, server: Server) -> Carrier:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Carrier("https://site.example.eu", transport=httpx.MockTransport(handle), server=server)


async def one_request(answer: httpx.Response | Exception, server: Server = GATEWAY) -> Courtesy:
    courtesy = Courtesy(asyncio.get_running_loop().time, calls_per_hour=LIMIT)
    asked = carrier(answer, server)

    async def call() -> None:
        await asked.send("GET", "x", headers={})

    try:
        await courtesy.through("states", call)
    except Unavailable:
        pass
    finally:
        await asked.close()
    return courtesy


@pytest.mark.parametrize("status,left", [(429, 120), (503, 120), (500, 0), (200, 0)])
async def test_a_retry_after_that_comes_with_429_or_503_is_the_whole_sites(status: int, left: int) -> None:
    courtesy = await one_request(httpx.Response(status, headers={"retry-after": "120"}))

    assert courtesy.patience_left == pytest.approx(left, abs=5)
    assert courtesy.budget.spent() == 1


@pytest.mark.parametrize("status,left", [(429, 30), (503, 30), (500, 0)])
async def test_a_429_or_503_that_names_no_time_asks_for_half_a_minute(status: int, left: int) -> None:
    courtesy = await one_request(httpx.Response(status))

    assert courtesy.patience_left == pytest.approx(left, abs=2)


async def test_a_request_that_nobody_answers_counts() -> None:
    courtesy = await one_request(httpx.ReadTimeout("late"))

    assert courtesy.budget.spent(Purpose.LOOK) == 1


async def test_what_another_server_than_the_gateway_says_is_not_the_sites() -> None:
    courtesy = await one_request(httpx.Response(429, headers={"retry-after": "120"}), Server(name="store"))

    assert (courtesy.patience_left, courtesy.budget.spent()) == (0, 0)


@pytest.mark.parametrize(
    "operation,purpose",
    [
        *(("probe", Purpose.LOOK), ("get", Purpose.LOOK), ("accounted", Purpose.LOOK)),
        *(("submit", Purpose.SUBMIT), ("cancel", Purpose.END), ("warn", Purpose.END)),
        *(("read", Purpose.FILES), ("append", Purpose.FILES), ("hand_in", Purpose.FILES)),
    ],
)
def test_a_call_counts_for_what_it_is_for_or_for_what_was_said(operation: str, purpose: Purpose) -> None:
    async def story(site: Site) -> None:
        await site.call(operation)
        assert site.courtesy.budget.spent(purpose) == 1
        with made_for(Purpose.PROGRESS), made_for(Purpose.NEWS):
            await site.call(operation)
        assert site.courtesy.budget.spent(Purpose.NEWS) == 1
        assert site.courtesy.budget.spent() == 2

    told(story)


def test_when_the_hour_is_used_up_nothing_is_submitted_and_whatever_ends_a_job_passes() -> None:
    async def story(site: Site) -> None:
        for _ in range(LIMIT):
            site.courtesy.budget.note(Purpose.SUBMIT)
        refused = await site.refused("submit")
        assert refused.reason == CALLS_SPENT
        assert 3500 < (refused.retry_after or 0) <= 3660
        with made_for(Purpose.SUBMIT):
            assert (await site.refused("write")).reason == CALLS_SPENT, "its files travel beside it"
        for operation in ("cancel", "warn", "states", "probe"):
            await site.call(operation)
        with made_for(Purpose.END):
            await site.call("get")
            await site.call("write")
        assert site.courtesy.slowed() == [Purpose.SUBMIT, Purpose.END], "and that they go beyond it is told"
        assert site.courtesy.deferred == {Purpose.SUBMIT: 2}
        assert site.courtesy.submits_wait() is not None
        await asyncio.sleep(refused.retry_after or 0)
        await site.call("submit")

        assert site.courtesy.submits_wait() is None
        await asyncio.sleep(SLOWED_SECONDS)
        assert site.courtesy.slowed() == []

    told(story)


BURST = int(ACTS_PER_SECOND * BURST_SECONDS)


@pytest.mark.parametrize("operation", ["submit", "cancel", "warn"])
def test_acts_beyond_a_burst_wait_in_place_in_the_order_in_which_they_came(operation: str) -> None:
    async def story(site: Site) -> None:
        began, order = site.loop.time(), list[tuple[int, float]]()

        async def one(number: int) -> None:
            await site.call(operation)
            order.append((number, site.loop.time() - began))

        await asyncio.gather(*(one(number) for number in range(BURST + 40)))

        assert [number for number, _ in order] == list(range(BURST + 40))
        assert order[BURST - 1][1] == pytest.approx(0, abs=0.01)
        assert order[-1][1] == pytest.approx(40 / ACTS_PER_SECOND, abs=0.01)
        assert site.courtesy.deferred == {}

    told(story)


def test_news_of_many_that_changed_at_once_follow_each_other_at_a_pace_and_no_act_waits_for_them() -> None:
    async def story(site: Site) -> None:
        async def piece() -> None:
            for _ in range(64):
                meter.called()

        rate = READ_OF_A_JOB * ACTS_PER_SECOND
        began = site.loop.time()
        with made_for(Purpose.NEWS):
            for _ in range(16):
                await site.courtesy.through("get", piece)
        took = site.loop.time() - began
        assert took == pytest.approx((15 * 64 + 1) / rate - BURST_SECONDS, abs=0.01)
        for _ in range(BURST):
            await site.call("cancel")
        assert site.loop.time() - began == pytest.approx(took, abs=0.01), "not one"
        with made_for(Purpose.PROGRESS):
            await site.call("read")
        assert site.loop.time() - began == pytest.approx(took, abs=0.01)
        await site.call("get")
        assert site.loop.time() - began == pytest.approx(took + 64 / rate, abs=0.01), "a record, whatever it is for"

    told(story)


def test_looks_and_files_do_not_wait_for_acts_and_what_is_for_an_end_is_one() -> None:
    async def story(site: Site) -> None:
        for _ in range(BURST + 20):
            site.courtesy.pace.take()
        began = site.loop.time()
        for operation in ("probe", "states", "get", "read"):
            await site.call(operation)
        assert site.loop.time() - began < 0.01
        with made_for(Purpose.END):
            await site.call("get")
        assert site.loop.time() - began == pytest.approx(21 / ACTS_PER_SECOND, abs=0.01)

    told(story)


def test_an_act_of_several_calls_counts_as_several() -> None:
    async def story(site: Site) -> None:
        async def five() -> None:
            for _ in range(5):
                meter.called()

        for _ in range(BURST // 5):
            await site.courtesy.through("submit", five)
        began = site.loop.time()
        await site.call("submit")
        assert site.loop.time() - began == pytest.approx(1 / ACTS_PER_SECOND, abs=0.01)

    told(story)


def test_patience_that_is_asked_for_while_an_act_waits_counts_for_it() -> None:
    async def story(site: Site) -> None:
        for _ in range(BURST + 20):
            site.courtesy.pace.take()
        waits = asyncio.create_task(site.call("submit"))
        await asyncio.sleep(1)
        assert not waits.done()
        site.courtesy._asked_for_patience(300)
        with pytest.raises(Deferred):
            await waits
        assert site.sent == []

    told(story)


def test_files_wait_for_their_turn_and_are_not_begun_anew() -> None:
    async def story(site: Site) -> None:
        share = SHARES[Purpose.FILES]
        burst = int(share.burst * LIMIT)
        began = site.loop.time()
        for _ in range(burst + 20):
            await site.call("append")
        needed = 19 / ((share.up_to - share.burst) * LIMIT / 3600)

        assert site.loop.time() - began == pytest.approx(needed, abs=1)
        assert site.courtesy.slowed() == [Purpose.FILES]
        assert site.courtesy.deferred == {}

    told(story)


def test_patience_that_is_asked_for_while_a_file_waits_counts_for_it() -> None:
    async def story(site: Site) -> None:
        for _ in range(int(SHARES[Purpose.FILES].burst * LIMIT) + 5):
            site.courtesy.budget.note(Purpose.FILES)
        waits = asyncio.create_task(site.call("append"))
        await asyncio.sleep(1)
        assert not waits.done()
        site.courtesy._asked_for_patience(300)
        with pytest.raises(Deferred):
            await waits
        assert site.sent == []

    told(story)


def test_files_that_would_wait_for_long_are_refused() -> None:
    async def story(site: Site) -> None:
        for _ in range(int(FULL * LIMIT)):
            site.courtesy.budget.note(Purpose.SUBMIT)

        assert (await site.refused("read")).reason == CALLS_SPENT

    told(story)


@pytest.mark.parametrize("operation,kind", [("submit", Kind.SUBMITS), ("cancel", Kind.ENDS), ("append", Kind.FILES)])
def test_a_kind_that_gets_no_answer_is_left_alone_and_tried_by_one_call(operation: str, kind: Kind) -> None:
    async def story(site: Site) -> None:
        site.ends = LOST
        await site.fails(operation)
        assert list(site.courtesy.open()) == [kind]
        assert site.changed == 1
        wait = (await site.refused(operation)).retry_after or 0
        for other in {"submit", "cancel", "append", "states", "probe"} - {operation}:
            with pytest.raises(Unavailable, match="lost"):
                await site.call(other)  # it is asked
        site.sent.clear()
        site.took, site.ends = 2.0, None
        await asyncio.sleep(wait)
        trial = asyncio.create_task(site.call(operation))
        await asyncio.sleep(1)
        for _ in range(3):
            await site.refused(operation)
        await trial
        assert site.sent == [operation], "half open, one call"
        await asyncio.gather(*(site.call(operation) for _ in range(3)))

        assert site.courtesy.open() == {}
        assert site.changed == 2

    told(story)


def test_it_is_left_alone_for_twice_as_long_each_time() -> None:
    async def story(site: Site) -> None:
        site.ends = LOST
        await site.fails("submit")
        waits = []
        for _ in range(7):
            waits.append((await site.refused("submit")).retry_after or 0)
            await asyncio.sleep(waits[-1])
            await site.fails("submit", 1)

        for wait, expected in zip(waits, [15, 30, 60, 120, 240, 300, 300], strict=True):
            assert wait == pytest.approx(expected, rel=0.11)

    told(story)


@pytest.mark.parametrize("operation", ["submit", "cancel", "append"])
def test_one_job_whose_calls_always_fail_holds_up_no_other_of_its_site(operation: str) -> None:
    """It comes back the very moment at which somebody may be tried, and before all others."""

    async def story(site: Site) -> None:
        site.bad, site.took = "j0", 2.0
        served: dict[str, float] = {}

        async def one(job: str) -> None:
            while True:
                try:
                    await site.call(operation, job)
                except Deferred as error:
                    await asyncio.sleep((error.retry_after or 0) + (0.0 if job == site.bad else 0.5))
                except Unavailable:
                    await asyncio.sleep(0)
                else:
                    served[job] = site.loop.time()
                    return

        bad = asyncio.create_task(one("j0"))
        await asyncio.sleep(11)
        assert site.courtesy.open()
        others = [asyncio.create_task(one(f"j{number}")) for number in range(1, 20)]
        async with asyncio.timeout(60):
            await asyncio.gather(*others)
        bad.cancel()
        await asyncio.gather(bad, return_exceptions=True)

        assert served.keys() == {f"j{number}" for number in range(1, 20)}

    told(story)


@pytest.mark.parametrize(
    "operation,call",
    [
        ("cancel", lambda door, number: door.cancel(f"{number}")),
        ("warn", lambda door, number: door.warn(f"{number}", "USR1")),
        ("size", lambda door, number: door.size(f"/{number}")),
        ("write", lambda door, number: door.write(f"/{number}", b"")),
        ("remove", lambda door, number: door.remove(f"/{number}")),
    ],
)
def test_the_door_tells_whom_each_call_is_about(operation: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    async def story(site: Site) -> None:
        async def noted(operation: str, _: Any, about: str | None = None, /) -> None:
            asked.append((operation, about))

        monkeypatch.setattr(site.courtesy, "through", noted)
        door = courteous(cast("Gateway", Memory(clock=site.loop.time)), site.courtesy)
        for number in (1, 2):
            await call(door, number)

        assert [each.lstrip("/") for _, each in asked if each is not None] == ["1", "2"]
        assert {each for each, _ in asked} == {operation}

    told(story)


def test_a_refusal_is_an_answer() -> None:
    async def story(site: Site) -> None:
        for _ in range(3):
            site.ends = LOST
            await site.fails("submit", FAILURES - 1)
            site.ends = Rejected("no such partition")
            with pytest.raises(Rejected):
                await site.call("submit")

        assert site.courtesy.open() == {}

    told(story)


@pytest.mark.parametrize(
    "operation,error",
    [
        ("append", Unavailable("One file.", reason="FileFailed")),
        ("append", Unavailable("It opens.", reason=OPENING, sent=False)),
        ("append", Unavailable("An odd answer about it.", reason="UnexpectedAnswer")),
        ("cancel", Unavailable("One job.", reason="CancelFailed")),
        ("submit", Unavailable("another one acts", reason="NotLeading", sent=False)),
        ("read", Missing("none")),
    ],
)
def test_what_is_about_one_file_or_one_job_or_us_holds_up_nobody(operation: str, error: PasserelleError) -> None:
    async def story(site: Site) -> None:
        site.ends = error
        for _ in range(3 * FAILURES):
            with pytest.raises(type(error)):
                await site.call(operation)

        assert site.courtesy.open() == {}

    told(story)


def test_what_ends_a_job_writes_and_removes_its_files_whatever_happened_to_others() -> None:
    async def story(site: Site) -> None:
        site.ends = LOST
        await site.fails("append")
        await site.refused("write")
        site.ends = None
        with made_for(Purpose.END):
            await site.call("write")
            await site.call("remove")

        assert list(site.courtesy.open()) == [Kind.FILES]

    told(story)


def test_looks_are_never_left_alone() -> None:
    async def story(site: Site) -> None:
        site.ends = LOST
        for operation in ("probe", "states", "accounted"):
            await site.fails(operation, 3 * FAILURES)
        with made_for(Purpose.LOOK):
            await site.fails("read", 3 * FAILURES)

        assert site.courtesy.open() == {}

    told(story)


def test_to_read_a_job_and_to_cancel_it_are_one_try() -> None:
    """Many that are cancelled at a site which does not answer read first: that must count, and an answered read alone
    must not close what cancels have opened.
    """

    async def cancel(site: Site, reads: PasserelleError | None, cancels: PasserelleError | None) -> None:
        with made_for(Purpose.END), site.courtesy.trying(Kind.ENDS):
            site.ends = reads
            await site.call("get")
            site.ends = cancels
            await site.call("cancel")

    async def story(site: Site) -> None:
        for reads, cancels in ((LOST, None), (None, LOST)):
            site.courtesy = Courtesy(site.loop.time, calls_per_hour=LIMIT)
            for _ in range(FAILURES):
                with pytest.raises(Unavailable):
                    await cancel(site, reads, cancels)
            site.sent.clear()
            for _ in range(20):
                with pytest.raises(Deferred):
                    await cancel(site, None, None)
            assert site.sent == []
            await asyncio.sleep(10)
            await cancel(site, None, None)
            assert site.courtesy.open() == {}

    told(story)


def test_a_call_that_is_given_up_leaves_the_trial_to_another() -> None:
    async def story(site: Site) -> None:
        site.ends = LOST
        await site.fails("append")
        await asyncio.sleep(15)
        site.took, site.ends = 60.0, None
        trial = asyncio.create_task(site.call("append"))
        await asyncio.sleep(1)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        site.took = 0.0
        await site.call("append")

        assert site.courtesy.open() == {}

    told(story)


def test_the_door_itself_passes_all_this() -> None:
    async def story(site: Site) -> None:
        assert isinstance(site.door, Upload)
        assert isinstance(site.door, Files)
        await site.door.probe()
        await site.door.make_directory("/a")
        site.courtesy._asked_for_patience(60)
        calls: list[Coroutine[Any, Any, object]] = [
            site.door.probe(),
            site.door.states(["1"]),
            site.door.cancel("1"),
            site.door.read("/a", 0, 1),
        ]
        for each in calls:
            with pytest.raises(Deferred):
                await each

        assert site.sent == ["probe", "make_directory"]
        assert site.courtesy.budget.spent() == 2

    told(story)
