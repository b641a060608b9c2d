"""Who acts, in virtual time: never two at once, and somebody soon after the one who did is gone."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import pytest

import virtual_time
from passerelle.election import HOLD_SECONDS, LEASE_SECONDS, RENEW_SECONDS, Election
from passerelle.errors import Unavailable
from passerelle.kube import Conflict, Gone

NAMESPACE = "passerelle-system"
TAKEOVER_SECONDS = 15.0
WHO: ContextVar[str] = ContextVar("who")
"""The name of the operator that makes a call."""


class Apiserver:
    """One Lease. `fate` is asked before and after each call, with its name, and may wait or raise."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0
        self.fate: Callable[[str], Awaitable[None]] = self._nothing

    async def _nothing(self, _: str) -> None:
        await asyncio.sleep(0.01)

    async def lease(self, namespace: str, name: str) -> dict[str, Any]:
        assert (namespace, name) == (NAMESPACE, "passerelle")
        await self.fate("before")
        found = copy.deepcopy(self.stored)
        await self.fate("after")
        if found is None:
            raise Gone
        return found

    async def create_lease(self, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        await self.fate("before")
        if self.stored is not None:
            raise Conflict
        return await self._kept({"namespace": namespace, "name": name}, spec)

    async def replace_lease(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        await self.fate("before")
        if self.stored is None:
            raise Gone
        if lease["metadata"] != self.stored["metadata"]:
            raise Conflict
        return await self._kept(lease["metadata"], spec)

    async def _kept(self, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        kept = {"metadata": {**metadata, "resourceVersion": str(self.version)}, "spec": copy.deepcopy(dict(spec))}
        self.stored = kept
        await self.fate("after")
        return copy.deepcopy(kept)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.stored is not None
        spec: dict[str, Any] = self.stored["spec"]
        return spec


class Operator:
    """A process: it stands by, leads, and ends when the Lease is lost."""

    def __init__(self, apiserver: Apiserver, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.election = Election(apiserver, NAMESPACE, name, clock=loop.time, now=lambda: 1_699_000_000 + loop.time())
        self.task = asyncio.create_task(self._live(name))

    async def _live(self, name: str) -> None:
        WHO.set(name)
        await self.election.win()
        await self.election.hold()

    @property
    def leads(self) -> bool:
        return self.election.leads

    async def dies(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def until(what: Callable[[], bool], seconds: float) -> float:
    """How long it took."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.05)
    return clock() - began


Story = Callable[[Apiserver], Awaitable[None]]


def told(story: Story) -> None:
    async def main() -> None:
        await story(Apiserver())

    virtual_time.run(main())


def test_the_first_one_leads_at_once_and_goes_on() -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        first.election.fence()
        assert apiserver.spec["holderIdentity"] == "first"
        assert apiserver.spec["leaseDurationSeconds"] == LEASE_SECONDS
        assert apiserver.spec["leaseTransitions"] == 1
        assert apiserver.spec["renewTime"].startswith("2023-11-14T22:13:20.")
        began = apiserver.spec["acquireTime"]
        for _ in range(1000):
            await asyncio.sleep(0.1)
            assert first.leads
        assert apiserver.spec["acquireTime"] == began
        await first.dies()

    told(story)


def test_another_one_stands_by_and_takes_over_soon_after_a_death() -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        second = Operator(apiserver, "second")
        await asyncio.sleep(100)
        assert not second.leads
        assert (first.election.waits, second.election.waits) == (False, True)
        with pytest.raises(Unavailable) as caught:
            second.election.fence()
        assert (caught.value.reason, caught.value.sent) == ("NotLeading", False)
        await first.dies()
        took = await until(lambda: second.leads, TAKEOVER_SECONDS)
        assert took >= LEASE_SECONDS - RENEW_SECONDS
        assert not first.leads
        assert apiserver.spec["leaseTransitions"] == 2
        await second.dies()

    told(story)


@pytest.mark.parametrize("whose", ["ours", "another's"])
def test_who_is_ended_while_it_renews_gives_the_lease_back_all_the_same(whose: str) -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        version = apiserver.version

        async def slow(when: str) -> None:
            await asyncio.sleep(1 if when == "after" else 0.01)

        apiserver.fate = slow
        await until(lambda: apiserver.version > version, 10)
        await first.dies()  # before the answer
        if whose != "ours":
            apiserver.spec["holderIdentity"] = "second"
        await first.election.resign()
        assert apiserver.spec["holderIdentity"] == ("" if whose == "ours" else "second")

    told(story)


def test_who_resigns_is_followed_at_once() -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        second = Operator(apiserver, "second")
        await asyncio.sleep(5)
        await first.dies()
        await first.election.resign()
        assert not first.leads
        await until(lambda: second.leads, RENEW_SECONDS + 0.2)
        await first.election.resign()
        assert apiserver.spec["holderIdentity"] == "second", "it resigned once"
        await second.dies()

    told(story)


def test_who_was_frozen_finds_the_lease_lost_and_ends() -> None:
    async def story(apiserver: Apiserver) -> None:
        frozen, wakes = False, asyncio.Event()

        async def fate(_: str) -> None:
            await asyncio.sleep(0.01)
            if frozen and WHO.get() == "first":
                await wakes.wait()

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        second = Operator(apiserver, "second")
        frozen = True
        await until(lambda: second.leads, TAKEOVER_SECONDS + RENEW_SECONDS)
        assert not first.leads
        wakes.set()
        async with asyncio.timeout(5):
            await first.task
        assert second.leads
        assert not first.leads
        await second.dies()

    told(story)


def test_an_outage_of_kube_apiserver_stops_all_acts_and_ends_nothing() -> None:
    async def story(apiserver: Apiserver) -> None:
        away = False

        async def fate(_: str) -> None:
            await asyncio.sleep(0.01)
            if away:
                raise Unavailable("kube-apiserver can't be asked")

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        away = True
        took = await until(lambda: not first.leads, HOLD_SECONDS + 0.1)
        assert took > HOLD_SECONDS - RENEW_SECONDS - 0.2
        await asyncio.sleep(120)
        away = False
        await until(lambda: first.leads, 1)
        assert not first.task.done()
        await first.dies()

    told(story)


@pytest.mark.parametrize("losing", [1, 2])
def test_an_answer_that_was_lost_loses_no_lease(losing: int) -> None:
    async def story(apiserver: Apiserver) -> None:
        lost = 0

        async def fate(at: str) -> None:
            nonlocal lost
            await asyncio.sleep(0.01)
            if at == "after" and apiserver.version == losing and lost < 1:
                lost += 1
                raise Unavailable("the answer is lost")

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, RENEW_SECONDS + 0.2)
        for _ in range(300):
            await asyncio.sleep(0.1)
            assert first.leads
        assert lost == 1
        await first.dies()

    told(story)


def test_a_lease_that_somebody_removed_is_lost() -> None:
    """Another one may have taken it and be gone by now."""

    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        apiserver.stored = None
        async with asyncio.timeout(5):
            await first.task
        assert not first.leads

    told(story)


def test_a_defect_of_ours_in_a_renewal_is_no_lost_lease() -> None:
    """It ends as itself, so that the process's last words name it."""

    async def story(apiserver: Apiserver) -> None:
        async def fate(_: str) -> None:
            await asyncio.sleep(0.01)
            if apiserver.version > 3:
                raise ZeroDivisionError

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        async with asyncio.timeout(30):
            with pytest.raises(ZeroDivisionError):
                await first.task

    told(story)


@pytest.mark.parametrize("error", ["namespace", "right"])
def test_it_says_why_it_stands_by(error: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "passerelle.election")

    async def story(apiserver: Apiserver) -> None:
        async def fate(at: str) -> None:
            if error == "right":
                raise Unavailable("kube-apiserver answered 403 Forbidden")
            if apiserver.version == 0 and at == "before":
                apiserver.fate = no_namespace

        async def no_namespace(_: str) -> None:
            raise Gone

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        await asyncio.sleep(30)
        assert not first.leads
        assert not first.election.waits, "it is not ready"
        await first.dies()

    told(story)
    said = [getattr(each, "why", "") for each in caplog.records]
    assert len(said) == 1, "once"
    wanted = "403 Forbidden" if error == "right" else "There is no namespace 'passerelle-system'"
    assert wanted in said[0]


@pytest.mark.parametrize("seed", range(40))
def test_never_two_lead_whatever_becomes_of_calls_and_processes(seed: int) -> None:
    drawn = random.Random(seed)  # noqa: S311 -- it draws a story

    async def story(apiserver: Apiserver) -> None:
        async def fate(_: str) -> None:
            await asyncio.sleep(drawn.choice([0.0, 0.01, 0.2, 1.0, 1.5]))
            if drawn.random() < 0.15:
                raise Unavailable("lost on its way")

        apiserver.fate = fate
        alive = [Operator(apiserver, f"o{number}") for number in range(3)]
        gone: list[Operator] = []
        led = changes = 0
        last: Operator | None = None
        for tick in range(4000):
            await asyncio.sleep(0.05)
            leading = [each for each in (*alive, *gone) if each.leads]
            assert len(leading) <= 1
            led += len(leading)
            if leading and leading[0] is not last:
                last, changes = leading[0], changes + 1
            if tick % 400 == 399:
                victim = drawn.choice([*alive, *leading])
                if victim in alive:
                    alive.remove(victim)
                    gone.append(victim)
                    await victim.dies()
                    alive.append(Operator(apiserver, f"o{tick}"))
        assert led > 800, "mostly somebody leads"
        assert changes > 1
        for each in alive:
            await each.dies()

    told(story)


@pytest.mark.parametrize("bumped", [False, True], ids=["its revisions as they were", "its revisions bumped"])
def test_who_finds_an_older_lease_of_its_own_ends_since_the_cluster_was_restored(*, bumped: bool) -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        await asyncio.sleep(20)
        backup, version = copy.deepcopy(apiserver.stored), apiserver.version
        await asyncio.sleep(20)
        apiserver.stored, apiserver.version = backup, 1_000_000 if bumped else version
        await until(first.task.done, 2 * RENEW_SECONDS)

        assert not first.leads
        assert apiserver.spec["holderIdentity"] == "first"

    told(story)


@pytest.mark.parametrize("away", [False, True], ids=["", "while kube-apiserver was away"])
def test_who_stood_still_while_its_lease_ended_ends_though_it_finds_that_very_lease(*, away: bool) -> None:
    """Another one led meanwhile, and a backup of etcd that was made before is back."""

    async def story(apiserver: Apiserver) -> None:
        refuses = away

        async def fate(_: str) -> None:
            await asyncio.sleep(0.01)
            if refuses and apiserver.version > 3:
                raise Unavailable("kube-apiserver can't be asked")

        apiserver.fate = fate
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        await asyncio.sleep(20)
        backup = copy.deepcopy(apiserver.stored)
        virtual_time.stand_still(6 if away else LEASE_SECONDS + 1)
        refuses, woke = False, asyncio.get_running_loop().time()
        while not first.task.done():
            assert not first.leads
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() - woke < 0.1
        assert apiserver.stored == backup, "it has not renewed it either"

    told(story)


@pytest.mark.parametrize("moments", [(6.0, 6.0, 6.0), (3.0, 4.0)], ids=["renewed between", "shorter"])
def test_who_stood_still_for_a_moment_goes_on(moments: tuple[float, ...]) -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)
        for seconds in moments:
            await asyncio.sleep(5)
            virtual_time.stand_still(seconds)
        await until(lambda: first.leads, 1)
        await asyncio.sleep(30)
        assert first.leads
        await first.dies()

    told(story)


def test_who_finds_a_write_of_its_own_that_was_not_answered_goes_on() -> None:
    async def story(apiserver: Apiserver) -> None:
        first = Operator(apiserver, "first")
        await until(lambda: first.leads, 1)

        async def lost(moment: str) -> None:
            await asyncio.sleep(0.01)
            if moment == "after":
                apiserver.fate = apiserver._nothing
                raise Unavailable("the answer is lost", reason="Gone")

        apiserver.fate = lost
        await asyncio.sleep(20)
        assert first.leads
        await first.dies()

    told(story)
