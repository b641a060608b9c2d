"""Events: in order, one at a time, dropped where they can't be written, and never waited for by a pass."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

import virtual_time
from passerelle.announce import CROWD, FAREWELL_SECONDS, LIMIT, PACE_SECONDS, Announcer, Event
from passerelle.errors import Unavailable
from passerelle.kube import Kube


class Slow:
    """A kube-apiserver that takes a second for each event, and refuses those of some reasons."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.written: list[tuple[float, str]] = []
        self.at_once = self.most = 0

    async def event(self, **facts: Any) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(1)
        self.at_once -= 1
        if facts["reason"] == self.refused:
            raise Unavailable("no room", reason="KubernetesUnavailable")
        self.written.append((facts["at"], facts["reason"]))


def event(reason: str, at: float = 1.0) -> Event:
    return Event(at=at, involved={"name": "a"}, namespace="team", kind="Normal", reason=reason, message="text")


async def tell(slow: Slow, *reasons: str, seconds: float) -> None:
    announcer = Announcer(cast("Kube", slow))
    task = asyncio.create_task(announcer.run())
    for number, reason in enumerate(reasons):
        announcer.tell(event(reason, at=float(number)))
    await asyncio.sleep(seconds)
    await announcer.farewell()
    task.cancel()


def test_events_are_written_in_order_and_one_at_a_time_with_the_time_of_what_they_tell_of() -> None:
    slow = Slow()

    virtual_time.run(tell(slow, "Planned", "Submitted", "Running", seconds=10))

    assert slow.written == [(0.0, "Planned"), (1.0, "Submitted"), (2.0, "Running")]
    assert slow.most == 1


def test_an_event_that_is_refused_is_dropped_and_the_others_are_written() -> None:
    slow = Slow(refused="Submitted")

    virtual_time.run(tell(slow, "Planned", "Submitted", "Running", seconds=10))

    assert [reason for _, reason in slow.written] == ["Planned", "Running"]


def test_the_end_of_the_process_waits_for_the_last_events_but_not_long() -> None:
    few, many = Slow(), Slow()

    virtual_time.run(tell(few, "A", "B", "C", seconds=0))
    virtual_time.run(tell(many, *["A"] * 100, seconds=0))

    assert len(few.written) == 3
    assert int(FAREWELL_SECONDS) - 1 <= len(many.written) <= int(FAREWELL_SECONDS)


def test_while_kube_apiserver_is_away_the_oldest_are_dropped() -> None:
    announcer = Announcer(cast("Kube", Slow()))

    async def flood() -> list[str]:
        for number in range(LIMIT + 2):
            announcer.tell(event(f"E{number}"))
        return [each.reason for each in announcer._waiting]

    kept = virtual_time.run(flood())

    assert (len(kept), kept[0], kept[-1]) == (LIMIT, "E2", f"E{LIMIT + 1}")


def test_of_a_crowd_what_the_next_event_says_better_is_not_told() -> None:
    announcer = Announcer(cast("Kube", Slow()))
    minor, major = replace(event("Planned"), minor=True), event("Submitted")
    for _ in range(CROWD):
        announcer.tell(minor)
        announcer.tell(major)

    kept = [each.reason for each in announcer._waiting]
    assert (kept.count("Planned"), kept.count("Submitted")) == (CROWD // 2, CROWD)


def test_events_come_slowly_while_passes_wait_and_at_once_when_the_process_ends() -> None:
    class Quick(Slow):
        async def event(self, **facts: Any) -> None:
            self.written.append((facts["at"], facts["reason"]))

    async def story() -> list[int]:
        busy, quick = True, Quick()
        announcer = Announcer(cast("Kube", quick), lambda: busy)
        task = asyncio.create_task(announcer.run())
        for _ in range(1_000):
            announcer.tell(event("Running"))
        await asyncio.sleep(1)
        counts = [len(quick.written)]
        await announcer.farewell()
        counts.append(len(quick.written))
        busy = False
        for _ in range(1_000):
            announcer.tell(event("Running"))
        await asyncio.sleep(0.1)
        task.cancel()
        return [*counts, len(quick.written)]

    slowly, at_the_end, at_ease = virtual_time.run(story())
    assert slowly == pytest.approx(1 / PACE_SECONDS, abs=1)
    assert (at_the_end, at_ease) == (1_000, 2_000)
