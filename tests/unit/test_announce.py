"""Events: in order, one at a time, dropped where they can't be written, and never waited for by a pass."""

import asyncio
from typing import Any, cast

import virtual_time
from passerelle.announce import FAREWELL_SECONDS, LIMIT, Announcer, Event
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
