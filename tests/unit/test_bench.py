"""The bench's arithmetic: what it reads is judged here, without a site."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.apiserver import _lines
from bench.crowd import LEAST, SITES, Crowd, Part, site
from bench.diary import Diary, Entry, percentile
from bench.figures import Figures
from bench.limit import max_job_count
from bench.neighbourhood import Life
from bench.readings import DEPTH, GATEWAY, LOOKED_FOR, WRITES, Between, Labels, Reading
from bench.reporters import REPORTERS, measured
from bench.rest import SLICES, rest_of
from bench.trial import CANCELLED, COMPLETED, by_run, complaints, lags
from bench.workload import LONGEST, SHORTEST, of_crowd
from passerelle.marker import Run
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from passerelle_sandbox.errors import SandboxError

UID = "6f1a3c1e-0000-4000-8000-000000000001"


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
    assert (diary.accepted, diary.started, diary.finished, diary.changes) == (1, 1, 1, 5)
    diary.take(body(), deleted=True)
    assert (diary.deleted, entry.deleted_at, entry.job_id, diary.summaries()) == (1, 15, "7", "")


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([3.0], 0.95) == 3.0
    assert math.isnan(percentile([], 0.5))


def reading(at: float, cpu: float, samples: dict[tuple[str, Labels], float]) -> Reading:
    return Reading(at, cpu, 90.0, 80.0, samples)


def test_what_happened_between_two_readings() -> None:
    labels = frozenset({("site", "s"), ("operation", "states"), ("outcome", "ok")})
    name = (f"{GATEWAY}_requests_total", labels)

    between = Between(reading(0.0, 1.0, {name: 3.0}), reading(40.0, 1.2, {name: 11.0}))

    assert between.polls == 8
    assert between.count(f"{GATEWAY}_requests_total", operation="get") == 0
    assert round(between.cpu_percent, 6) == 0.5


@pytest.mark.parametrize("depth,looked_for,still", [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_it_is_still_when_nobody_waits_at_any_site(depth: float, looked_for: float, still: bool) -> None:
    names = {(DEPTH, frozenset({("site", "a")})): 0.0, (DEPTH, frozenset({("site", "b")})): depth}
    assert reading(0.0, 0.0, names | {(LOOKED_FOR, frozenset({("site", "b")})): looked_for}).still is still


@pytest.mark.parametrize("jobs", [LEAST, 100, 500, 2_000, 10_000])
def test_a_crowd_is_divided_without_rest(jobs: int) -> None:
    crowd = Crowd(jobs)
    parts = [crowd.part(number) for number in range(jobs)]

    assert [parts.count(each) for each in Part] == [crowd.lives, crowd.at_once, crowd.last]
    assert min(crowd.lives, crowd.at_once, crowd.last, crowd.few) > 0
    assert parts == sorted(parts, key=list(Part).index)
    assert max(crowd.lives, crowd.at_once) <= 1_000


def test_ten_thousand_are_divided_as_was_asked_for() -> None:
    crowd = Crowd(10_000)
    assert (crowd.lives, crowd.at_once, crowd.last) == (1_000, 1_000, 8_000)
    sites = [site(number) for number in range(10_000)]
    assert {sites.count(each) for each in set(sites)} == {10_000 / SITES}


def test_the_crowd_s_training_jobs_are_ones_and_only_those_that_live_may_start() -> None:
    crowd = Crowd(LEAST)
    made = [of_crowd("bench", crowd, number) for number in range(LEAST)]
    for number, each in enumerate(made):
        assert TrainingJobSpec.model_validate(each["spec"]).qos == (
            "normal" if crowd.part(number) is Part.LIVES else "debug"
        )
        assert SHORTEST <= int(each["spec"]["command"][-1]) <= LONGEST
    assert len({each["metadata"]["name"] for each in made}) == LEAST


KEY = Run.of_uid(UID).key


def life(state: str = COMPLETED, job_id: str = "7", **times: int) -> Life:
    return Life(job_id, f"{KEY}-1", state, times.get("start", 100), times.get("end", 200))


def diary_of(**facts: object) -> Diary:
    made = Diary(lambda: 0.0)
    entry = Entry(UID, job_id="7", accepted_at=1.0, succeeded="True", attempts=1)
    for name, value in facts.items():
        setattr(entry, name, value)
    made.entries["a"] = entry
    return made


@pytest.mark.parametrize(
    "facts,lives,expected,words",
    [
        ({}, [life()], COMPLETED, []),
        ({"succeeded": "Unknown", "deleted_at": 9.0}, [life("CANCELLED by 1000")], CANCELLED, []),
        ({}, [], COMPLETED, ["has the Slurm jobs []"]),
        ({}, [life(), life(job_id="8")], COMPLETED, ["has the Slurm jobs"]),
        ({}, [life(job_id="8")], COMPLETED, ["shows job 7"]),
        ({"attempts": 2}, [life()], COMPLETED, ["attempt 2"]),
        ({"succeeded": "False", "summary": "Failed"}, [life()], COMPLETED, ["is Failed"]),
        ({"deleted_at": 9.0}, [life()], CANCELLED, ["has the Slurm jobs"]),
        ({}, [life("CANCELLED")], CANCELLED, ["is still there"]),
    ],
)
def test_what_is_not_as_it_must_be_is_told(
    facts: dict[str, object], lives: list[Life], expected: str, words: list[str]
) -> None:
    found = complaints(diary_of(**facts), by_run(lives), {"a": expected})
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_one_that_was_never_seen_is_told() -> None:
    assert complaints(Diary(lambda: 0.0), {}, {"a": COMPLETED}) == ["a was never seen"]


def read_in_turn(*slices: tuple[float, int]) -> list[Reading]:
    """Ten seconds apart: the CPU seconds of each slice, and the full listings that were told in it."""
    finds = (f"{GATEWAY}_requests_total", frozenset({("operation", "find"), ("site", "site-1"), ("outcome", "ok")}))
    cpu, told, found = 100.0, 3, [reading(0, 100.0, {finds: 3})]
    for number, (seconds, listings) in enumerate(slices, start=1):
        cpu, told = cpu + seconds, told + listings
        found.append(reading(10 * number, cpu, {finds: told}))
    return found


def test_rest_lies_between_full_listings() -> None:
    still, begun, over = (0.5, 0), (1.5, 0), (1.0, 1)

    quiet = rest_of(read_in_turn(*[still] * SLICES, still))
    assert quiet is not None
    assert (round(quiet.window.cpu_percent, 6), quiet.full_listing_cpu_seconds) == (5, None)
    assert (quiet.window.first.at, quiet.window.last.at) == (0, 60)

    disturbed = rest_of(read_in_turn(still, still, begun, over, *[still] * SLICES, still))
    assert disturbed is not None
    assert (round(disturbed.window.cpu_percent, 6), disturbed.full_listing_cpu_seconds) == (5, 1.5)
    assert (disturbed.window.first.at, disturbed.window.last.at) == (40, 100)


def test_rest_is_not_told_while_a_full_listing_may_be_under_way() -> None:
    still, over = (0.5, 0), (1.0, 1)
    assert rest_of(read_in_turn(*[still] * SLICES)) is None, "one may be told of in the next slice"
    assert rest_of(read_in_turn(*[still] * SLICES, over)) is None
    begun_before = rest_of(read_in_turn(over, *[still] * SLICES, still))
    assert begun_before is not None
    assert begun_before.full_listing_cpu_seconds is None, "part of it came before the first reading"
    another = rest_of(read_in_turn(over, (1.5, 0), over, *[still] * SLICES, still))
    assert another is not None
    assert another.full_listing_cpu_seconds == 1.5


def test_the_lag_is_from_the_site_s_stamps_and_of_what_was_shown() -> None:
    entry = Entry(UID, started_at=103.5, ended_at=None)
    assert lags([entry, Entry(UID.replace("1e", "2e"))], by_run([life()])) == {"start": [3.5], "end": []}


def test_what_fifty_reporters_cost_is_told_for_each_and_minute() -> None:
    size = (f"{GATEWAY}_response_bytes_total", frozenset({("operation", "get")}))
    writes = (WRITES, frozenset({("kind", "trainingjob_progress")}))
    seen = Between(reading(0, 0, {size: 0, writes: 0}), reading(120, 3, {size: 100 * 16_000, writes: 400}))
    assert REPORTERS == 50
    assert (measured(seen).bytes_per_job_minute, measured(seen).writes_per_job_minute) == (16_000, 4)


def test_the_limit_is_the_site_s_own() -> None:
    assert max_job_count("MaxArraySize            = 1001\nMaxJobCount             = 20000\n") == 20_000
    with pytest.raises(SandboxError):
        max_job_count("MaxJobId = 1")


async def test_lines_come_whole_in_whatever_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one\ntw", b"o", b"\n\nthree\n", b"cut off"):
            yield piece

    assert [line async for line in _lines(pieces())] == [b"one", b"two", b"", b"three"]


def test_the_last_line_has_the_keys_that_were_promised() -> None:
    figures = Figures(**dict.fromkeys(Figures.__dataclass_fields__, 1))

    keys = list(json.loads(figures.line()))
    assert {
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
        "restartToSyncedSeconds",
    } <= set(keys)
    page = (Path(__file__).resolve().parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    assert [key for key in keys if f"`{key}`" not in page] == [], "each is explained"
    assert len(figures.aims()) == 9


def test_a_full_listing_that_never_came_has_no_figure() -> None:
    figures = replace(Figures(**dict.fromkeys(Figures.__dataclass_fields__, 1)), full_listing_cpu_seconds=None)
    assert json.loads(figures.line())["fullListingCpuSeconds"] is None


@pytest.mark.parametrize("jobs,calls", [(500, 3), (10_000, 3), (10_001, 4)])
def test_more_live_jobs_may_take_more_calls(jobs: int, calls: int) -> None:
    figures = Figures(**dict.fromkeys(Figures.__dataclass_fields__, 1) | {"jobs": jobs})
    assert any(line.startswith("listingCallsPerPoll") and f"<= {calls}: met" in line for line in figures.aims())
