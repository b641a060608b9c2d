"""The bench's arithmetic: what it reads is judged here, without a site."""

from __future__ import annotations

import json
import math

from bench.diary import Diary, percentile
from bench.figures import Figures
from bench.readings import GATEWAY, Between, Reading


def body(**attempt: object) -> dict[str, object]:
    conditions = [{"type": "Succeeded", "status": "True" if "endTime" in attempt else "Unknown"}]
    return {"metadata": {"name": "a", "uid": "u"}, "status": {"attempts": [attempt], "conditions": conditions}}


def test_the_diary_keeps_the_first_moment_of_each_change() -> None:
    moments = iter(range(10, 20))
    diary = Diary(lambda: next(moments))

    for change in (
        {},
        {"jobId": "7"},
        {"jobId": "7", "startTime": "t"},
        {"jobId": "7", "startTime": "t", "endTime": "t"},
    ):
        diary.take(body(**change))
    diary.take(body(jobId="7", startTime="t", endTime="t"))

    entry = diary.entries["a"]
    assert (entry.accepted_at, entry.started_at, entry.ended_at) == (11, 12, 13)
    assert (diary.accepted, diary.finished, diary.changes) == (1, 1, 5)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([3.0], 0.95) == 3.0
    assert math.isnan(percentile([], 0.5))


def test_what_happened_between_two_readings() -> None:
    labels = frozenset({("site", "s"), ("operation", "states"), ("outcome", "ok")})
    name = (f"{GATEWAY}_requests_total", labels)
    first, last = Reading(0.0, 1.0, 90.0, {name: 3.0}), Reading(40.0, 1.2, 95.0, {name: 11.0})

    between = Between(first, last)

    assert between.polls == 8
    assert between.count(f"{GATEWAY}_requests_total", operation="get") == 0
    assert round(between.cpu_percent, 6) == 0.5


def test_the_last_line_has_the_keys_that_were_promised() -> None:
    figures = Figures(**dict.fromkeys(Figures.__dataclass_fields__, 1))

    assert list(json.loads(figures.line())) == [
        "jobs",
        "acceptedPerSecond",
        "bareClientPerSecond",
        "ceilingPerSecond",
        "ratio",
        "listingCallsPerPoll",
        "bytesPerLiveJobPerPoll",
        "progressBytesPerJobMinute",
        "kubernetesWritesPerJob",
        "progressWrites",
        "events",
        "lagP95Seconds",
        "periodSeconds",
        "peakMemoryMiB",
        "restCpuPercent",
    ]
    assert len(figures.aims()) == 5
