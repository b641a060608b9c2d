"""What every gateway promises, a row each. The allocation is asserted, not the acceptance."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from contract.world import SCRATCH, Allocation, World, new_run
from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import DAY_SECONDS, HORIZON_SECONDS, SIZE_DIFFERS, Entry, Gateway, Listing
from passerelle.gateways.meter import metered
from passerelle.gateways.surveys import Association, SitePartition, Topic
from passerelle.marker import ATTEMPT_LIMIT, parse
from passerelle.onsite.codes import DUPLICATE, SITE_FAULT
from passerelle.slurm import JOB_ID, RemoteJob, Stage

COMMENT_BYTES = 900
TEN_DAYS = 10 * 86_400


def row(name: str) -> pytest.MarkDecorator:
    return pytest.mark.row(name)


async def one(door: Gateway, job_id: str) -> RemoteJob:
    (job,) = await door.get([job_id])
    return job


async def reach(world: World, door: Gateway, job_id: str, stage: Stage, *, seconds: float = 60.0) -> RemoteJob:
    """The job once it has come so far, from whichever listing still has it."""
    accounting = world.accounting(door)

    async def ask() -> RemoteJob | None:
        found = list(await door.get([job_id]))
        if accounting is not None:
            found += await accounting.accounted(job_ids=[job_id])
        return next((job for job in found if job.stage is stage and parse(job.name) and world.told(job)), None)

    job = await world.until(ask, f"job {job_id} {stage}", seconds=seconds)
    assert job is not None
    return job


@row("version")
async def test_probe_names_who_answers(world: World) -> None:
    door = world.door()
    probe = await door.probe()
    assert isinstance(door, Gateway)
    assert (probe.identity.cluster, probe.identity.user) == (world.cluster, world.user)
    assert probe.version
    assert probe.api_version == world.api_version
    if (other := world.roundabout()) is not None:
        world.opened.append(other)
        assert await other.probe() == probe


@row("submit-minimal")
async def test_minimal_job_runs_and_ends(world: World) -> None:
    door = world.door()
    job_id = await door.submit(batch := world.batch())
    assert re.fullmatch(JOB_ID, job_id)
    ended = await reach(world, door, job_id, Stage.ENDED)
    assert (ended.name, ended.state.base) == (batch.options.name, "COMPLETED")
    assert (ended.exit_code, ended.exit_signal) == (0, None)
    assert ended.end_time is not None
    assert ended.end_time >= ended.submit_time
    assert (ended.submit_time > 0) is ("submit_time" not in world.silent)


@row("submit-gpu")
async def test_allocation_is_what_was_asked(world: World) -> None:
    door = world.door()
    asked = world.batch(
        seconds=600,
        nodes=2,
        tasks_per_node=2,
        cpus_per_task=3,
        memory_per_node_mib=2000,
        gpus_per_node=2,
        time_limit_minutes=33,
        warning_seconds=60,
    )
    job_id = await door.submit(asked)
    job = await reach(world, door, job_id, Stage.RUNNING)
    assert await world.allocation(job_id) == Allocation(nodes=2, tasks=4, cpus=12, gpus=4, minutes=33, requeue=False)
    live = await one(door, job_id)
    told = {
        "node_count": 2,
        "gpus": 4,
        "time_limit_minutes": 33,
        "account": "startup",
        "qos": "normal",
        "partition": "gpu",
        "user": world.user,
        "cluster": world.cluster,
        "name": asked.options.name,
    }
    for seen in (job, live):
        for field, value in told.items():
            assert getattr(seen, field) == (value if field not in world.silent else type(value)())
    assert live.standard_output == (
        "" if "standard_output" in world.silent else f"{SCRATCH}/psr-{live.slurm_number}.out"
    )
    assert live.nodes
    assert (live.end_time, live.exit_code) == (None, None), "a running job has neither"


@row("exit")
@pytest.mark.parametrize("code", [1, 3, 200, DUPLICATE])
async def test_exit_code_comes_back(world: World, code: int) -> None:
    door = world.door()
    job_id = await door.submit(world.batch(exit_code=code))

    async def live() -> RemoteJob | None:
        return next((job for job in await door.get([job_id]) if job.stage is Stage.ENDED), None)

    ended = await world.until(live, "live end")
    assert ended is not None
    assert ended.state.base == "FAILED"
    told = code % 128 if world.cut_codes and code != DUPLICATE else code
    assert (ended.exit_code, ended.exit_signal) == (told, None)


@row("reject")
@pytest.mark.parametrize(
    "options, reasons",
    [
        ({"partition": "nowhere"}, {"InvalidPartition"}),
        ({"account": "nobody"}, {"InvalidAccount"}),
        ({"qos": "noqos"}, {"InvalidQos"}),
        ({"nodes": 99}, {"NodeConfigurationUnavailable", "TooManyCpus"}),
        ({"gpus_per_node": 99}, {"NodeConfigurationUnavailable"}),
    ],
    ids=["partition", "account", "qos", "nodes", "gpus"],
)
async def test_refusal_has_a_reason(world: World, options: dict[str, object], reasons: set[str]) -> None:
    door = world.door()
    refused = world.batch(**options)  # type: ignore[arg-type]  # fields of Options
    if world.refuses_later:
        ended = await reach(world, door, await door.submit(refused), Stage.ENDED)
        assert ended.refused
        assert ended.refusal
    else:
        with pytest.raises(Rejected) as caught:
            await door.submit(refused)
        assert caught.value.reason in reasons
        assert not caught.value.transient
        assert caught.value.message
    # Slurm keeps a record of some that it refused: it must read as an end, never as a job that may run.
    left = [job for job in await door.find() if job.name == refused.options.name]
    assert all(job.state.base == "FAILED" for job in left)
    assert all(job.state_reason == "BadConstraints" or "state_reason" in world.silent for job in left)
    assert all((job.exit_code, job.exit_signal, job.start_time, job.nodes) == (None, None, None, "") for job in left)


@row("adopt")
async def test_lost_answer_ends_in_one_job(world: World) -> None:
    door = world.door()
    await door.probe()
    batch = world.batch(seconds=600)

    async def by_marker() -> list[RemoteJob]:
        """It lives, so it is told whoever's ends are asked for."""
        return [job for job in await door.find(()) if job.name == batch.options.name]

    await world.freeze_scheduler()
    try:
        with pytest.raises(Unavailable) as caught:
            await door.submit(batch)
        assert caught.value.sent
    finally:
        await world.thaw_scheduler()
    (job,) = await world.until(by_marker, "the job of a lost answer")
    await world.let_pass(door.settle_seconds)
    assert [each.job_id for each in await by_marker()] == [job.job_id]


@row("cut")
async def test_a_connection_that_breaks_under_a_submit_ends_in_one_job(world: World) -> None:
    door = world.door()
    await door.probe()
    if not await world.cut():
        return
    door = world.door()
    await door.probe()
    batch = world.batch(seconds=600)

    async def by_marker() -> list[RemoteJob]:
        try:
            return [job for job in await door.find() if job.name == batch.options.name]
        except Unavailable:
            return []  # the gateway is not hurried, either

    await world.freeze_scheduler()
    try:
        submit = asyncio.create_task(door.submit(batch))
        await world.let_pass(2.0)
        assert await world.cut()
        with pytest.raises(Unavailable) as caught:
            await submit
        assert caught.value.sent
    finally:
        await world.thaw_scheduler()
    (job,) = await world.until(by_marker, "the job of a cut connection")
    await world.let_pass(door.settle_seconds)
    assert [each.job_id for each in await by_marker()] == [job.job_id]


@row("purge")
async def test_found_by_marker_after_purge(world: World) -> None:
    door = world.door()
    job_id = await door.submit(batch := world.batch(exit_code=SITE_FAULT))
    name = batch.options.name
    await reach(world, door, job_id, Stage.ENDED)
    await world.forget(job_id)

    async def forgotten() -> bool:
        return job_id not in await door.states([job_id])

    if world.forgets:
        await world.until(forgotten, "purge", seconds=120)
        assert await door.get([job_id]) == []
    accounting = world.accounting(door)
    if accounting is None:
        return
    (by_name,) = await accounting.accounted(names=[name, new_run().marker(ATTEMPT_LIMIT)])
    (by_id,) = await accounting.accounted(job_ids=[job_id, world.unknown_id])
    assert by_name == by_id
    assert (by_name.job_id, by_name.name, by_name.live) == (job_id, name, False)
    assert by_name.state.base == "FAILED"
    assert by_name.exit_code in (SITE_FAULT, None), "22.05's slurmrestd says 0, which is not passed on; sacct takes 128"


@row("accounting")
async def test_accounting_finds_what_was_submitted_within_the_time_that_it_is_asked_for(world: World) -> None:
    """A search that begins yesterday has a job of a minute ago, by name and by id, whether it waits or has ended."""
    door = world.door()
    accounting = world.accounting(door)
    if accounting is None:
        return
    blocker = await door.submit(world.whole_site())
    await reach(world, door, blocker, Stage.RUNNING)
    batches = [world.batch(gpus_per_node=1) for _ in range(2)]
    names = [batch.options.name for batch in batches]
    waits, ended = [await door.submit(batch) for batch in batches]
    await door.cancel(ended)
    for within in (DAY_SECONDS, 30 * DAY_SECONDS, HORIZON_SECONDS):

        async def told(within: float = within) -> bool:
            by_name = await accounting.accounted(names=names, within=within)
            by_id = await accounting.accounted(job_ids=[waits, ended], within=within)
            return {job.job_id for job in by_name} == {job.job_id for job in by_id} == {waits, ended}

        await world.until(told, f"rows of the last {within:g} s", seconds=20)
    for job_id in (waits, blocker):
        await door.cancel(job_id)


@row("states")
async def test_a_hundred_states_at_once(world: World) -> None:
    door = world.door()
    blocker = await door.submit(world.whole_site())
    await reach(world, door, blocker, Stage.RUNNING)
    batches = [world.batch(gpus_per_node=1) for _ in range(100)]
    ids = await asyncio.gather(*(door.submit(batch) for batch in batches))
    states = await door.states([*ids, blocker, world.unknown_id])
    assert set(states) == {*ids, blocker}
    assert {states[job_id].stage for job_id in ids} == {Stage.QUEUED}
    assert states[blocker].stage is Stage.RUNNING
    assert await door.states([]) == {}
    full = await door.get(ids)
    assert {job.job_id: job.name for job in full} == {
        job_id: batch.options.name for job_id, batch in zip(ids, batches, strict=True)
    }

    accounting = world.accounting(door)

    async def all_accounted() -> bool:
        assert accounting is not None
        found = await accounting.accounted(names=[batch.options.name for batch in batches])
        return {job.job_id for job in found} == set(ids)

    if accounting is not None:
        await world.until(all_accounted, "accounting of waiting jobs", seconds=20)
    await asyncio.gather(*(door.cancel(job_id) for job_id in ids))


@row("states")
async def test_accounting_tells_of_both_jobs_of_one_name_within_the_settle_time(world: World) -> None:
    """Where a driver says that by its name: then two answers of it are the last word on what lives."""
    door = world.door()
    accounting = world.accounting(door)
    if accounting is None or not door.traits.by_name:
        return
    blocker = await door.submit(world.whole_site())
    await reach(world, door, blocker, Stage.RUNNING)
    batch = world.batch(gpus_per_node=1)
    name = batch.options.name
    first = await door.submit(batch)
    await door.cancel(first)
    second = await door.submit(batch)

    async def both() -> bool:
        return {job.job_id for job in await accounting.accounted(names=[name])} == {first, second}

    await world.until(both, "rows of both jobs", seconds=int(door.settle_seconds) + 1)
    alive = {job.job_id for job in await accounting.accounted(names=[name]) if job.stage is not Stage.ENDED}
    assert second in alive, "it waits, and was never eligible"
    for job_id in (second, blocker):
        await door.cancel(job_id)


@row("states")
async def test_states_cost_what_the_driver_says(world: World) -> None:
    door = world.door()
    blocker = await door.submit(world.whole_site())
    await reach(world, door, blocker, Stage.RUNNING)
    ids = await asyncio.gather(*(door.submit(world.batch(gpus_per_node=1)) for _ in range(10)))
    await door.states(ids)
    with metered() as meter:
        assert set(await door.states(ids)) == set(ids)
    assert (meter.responses >= len(ids)) is (door.traits.listing is Listing.EACH)
    await asyncio.gather(*(door.cancel(job_id) for job_id in ids))


@row("forecast")
async def test_a_waiting_job_is_told_its_start_where_the_driver_says_so(world: World) -> None:
    door = world.door()
    blocker = await door.submit(world.whole_site(seconds=600))
    running = await reach(world, door, blocker, Stage.RUNNING)
    waiting = await door.submit(world.batch(gpus_per_node=1))

    async def forecast() -> int | None:
        return (await one(door, waiting)).start_time

    if not door.traits.forecasts:
        await world.let_pass(world.slow)
        assert await forecast() is None
        return
    start = await world.until(forecast, "a forecast", seconds=90)
    assert start is not None
    assert running.start_time is not None
    assert start > running.start_time


@row("cancel")
async def test_cancel(world: World) -> None:
    door = world.door()
    running = await door.submit(world.whole_site())
    await reach(world, door, running, Stage.RUNNING)
    waiting = await door.submit(world.batch(gpus_per_node=1))
    assert (await one(door, waiting)).stage is Stage.QUEUED
    for job_id in (waiting, running):
        await door.cancel(job_id)
        ended = await reach(world, door, job_id, Stage.ENDED)
        assert ended.state.base == "CANCELLED"
        assert ended.exit_code is None
        await door.cancel(job_id)
    await door.cancel(world.unknown_id)
    accounting = world.accounting(door)

    async def canceller() -> str:
        assert accounting is not None
        (job,) = await accounting.accounted(job_ids=[running])
        return job.cancelled_by

    if accounting is not None:
        assert await world.until(canceller, "who cancelled") == world.user


@row("credential")
async def test_every_kind_of_credential_is_taken(world: World) -> None:
    door = world.door()
    for each in (world.good(), *world.also_good()):
        world.credential = each
        assert (await door.probe()).identity.user == world.user


@row("credential")
@pytest.mark.parametrize("kind", ["expired", "garbage", "wrong user"])
async def test_bad_credential_is_told_apart_and_recovers(world: World, kind: str) -> None:
    door = world.door()
    good = world.credential
    job_id = await door.submit(world.batch(seconds=600))
    bad = {"expired": world.expired, "garbage": world.garbage, "wrong user": world.of_another}[kind]()
    await world.let_pass(3.0)
    world.credential = bad
    asks: list[Callable[[], Awaitable[object]]] = [
        door.probe,
        door.find,
        lambda: door.states([job_id]),
        lambda: door.get([job_id]),
    ]
    if (files := world.files(door)) is not None:
        asks.append(partial(files.size, f"{SCRATCH}/psr-{job_id}.out"))
    for ask in asks:
        with pytest.raises(Unauthorized):
            await ask()
    with pytest.raises(PasserelleError) as caught:
        await door.submit(unlucky := world.batch())
    # 22.05 says of a bad token what it says of a broken connection: unknown, so the next read must tell.
    assert isinstance(caught.value, Unauthorized | Unavailable)
    world.credential = good
    await door.probe()
    assert (await one(door, job_id)).stage in (Stage.QUEUED, Stage.RUNNING)
    assert not [job for job in await door.find() if job.name == unlucky.options.name]


@row("ctld-down")
async def test_dead_scheduler_is_no_refusal(world: World) -> None:
    door = world.door()
    job_id = await door.submit(world.batch(seconds=600))
    await door.probe()
    await world.stop_scheduler()
    try:
        calls = (
            door.probe(),
            door.find(),
            door.states([job_id]),
            door.get([job_id]),
            door.cancel(job_id),
            door.submit(world.batch()),
        )
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, Unavailable), repr(outcome)
    finally:
        await world.start_scheduler()
    await door.probe()
    assert (await one(door, job_id)).job_id == job_id


@row("dbd-down")
async def test_dead_accounting_stops_nothing_else(world: World) -> None:
    door = world.door()
    accounting = world.accounting(door)
    if accounting is None:
        return
    before = await door.submit(world.batch(seconds=600))
    await door.probe()
    await world.stop_accounting()
    try:
        with pytest.raises(Unavailable):
            await accounting.accounted(job_ids=[before])
        job_id = await door.submit(world.batch(seconds=600))
        if world.accounting_apart:
            assert set(await door.states([before, job_id])) == {before, job_id}
        else:
            with pytest.raises(Unavailable):
                await door.states([before, job_id])
        assert (await door.probe()).identity.cluster == world.cluster
    finally:
        await world.start_accounting()

    async def caught_up() -> bool:
        return {job.job_id for job in await accounting.accounted(job_ids=[before, job_id])} == {before, job_id}

    await world.until(caught_up, "accounting after its return")


@row("lifetime")
async def test_the_site_keeps_a_job_for_longer_than_any_may_run(world: World) -> None:
    door = world.door()
    job_id = await door.submit(world.batch(seconds=600))
    await reach(world, door, job_id, Stage.RUNNING)
    await door.states([job_id])
    assert await world.kept_seconds(job_id) > TEN_DAYS


@row("requeue")
async def test_requeue_keeps_the_id(world: World) -> None:
    door = world.door()
    job_id = await door.submit(world.batch(seconds=600))
    first = await reach(world, door, job_id, Stage.RUNNING)
    await world.let_pass(2.0)
    await world.requeue(job_id)

    async def again() -> RemoteJob | None:
        found = await one(door, job_id)
        if "restart_count" in world.silent:
            return found if found.start_time != first.start_time else None
        assert found.restart_count or found.submit_time == first.submit_time
        # While the first life still ends, the count has risen and the submit time has not.
        return found if found.restart_count == 1 and found.submit_time > first.submit_time else None

    second = await world.until(again, "a second life")
    assert second is not None
    assert second.state.ending is None
    await door.cancel(job_id)


WARNED = """\
#!/bin/sh
srun --ntasks=1 sh -c 'sleep 60; exit 1' &
step=$!
trap 'sleep 2; kill -0 "$step" && exit 215; exit 3' USR1
wait "$step"
exit 2
"""
"""Ends with 215 where the signal came to it, and its step still lives two seconds later."""


@row("warn")
async def test_a_warning_reaches_the_batch_script_and_not_its_steps(world: World) -> None:
    door = world.door()
    signals = world.signals(door)
    if signals is None:
        return
    job_id = await door.submit(dataclasses.replace(world.batch(), script=WARNED))
    await reach(world, door, job_id, Stage.RUNNING)
    await world.let_pass(2.0)
    assert await signals.warn(job_id, "USR1") is world.signals_batch
    if not world.signals_batch:
        await world.let_pass(3.0)
        assert (await one(door, job_id)).stage is Stage.RUNNING, "nothing was sent"
        await door.cancel(job_id)
        return
    ended = await reach(world, door, job_id, Stage.ENDED)
    assert (ended.state.base, ended.exit_code) == ("FAILED", 215)
    assert await signals.warn(job_id, "USR1"), "a job that has ended is no error"
    assert await signals.warn(world.unknown_id, "USR1")


@row("comment")
async def test_comment_makes_the_round_trip(world: World) -> None:
    door = world.door()
    job_id = await door.submit(world.batch(seconds=600))
    await reach(world, door, job_id, Stage.RUNNING)
    told = {"step": 12, "tail": "é'\"$(x) ", "more": ""}
    told["more"] = "x" * (COMMENT_BYTES - len(json.dumps(told)))
    text = json.dumps(told)
    await world.write_comment(job_id, text)
    if world.cuts_comments:
        assert (await one(door, job_id)).comment == ""
        await world.write_comment(job_id, text := text.replace(" ", ""))
    assert (await one(door, job_id)).comment == ("" if "comment" in world.silent else text)


@row("strings")
async def test_strings_arrive_unchanged(world: World) -> None:
    door = world.door()
    wanted = {
        "QUOTES": 'it\'s "so"',
        "COMMAS": "a,b=c,,d",
        "LINES": "one\ntwo\n\tthree",
        "WORDS": "déjà vu 日本 🚀",
        "SHELL": "$(touch /tmp/x) `id` ${HOME} \\ %j",
        "EMPTY": "",
    }
    batch = world.batch()
    batch = dataclasses.replace(batch, environment=(*batch.environment, *wanted.items()))
    job_id = await door.submit(batch)
    await reach(world, door, job_id, Stage.ENDED)
    arrived = await world.environment(job_id)
    assert {name: arrived.get(name) for name in wanted} == wanted
    assert not arrived.keys() & world.strange


@row("environment")
async def test_nothing_of_a_login_shell_reaches_the_job(world: World) -> None:
    door = world.door()
    batch = world.batch()
    batch = dataclasses.replace(batch, script=batch.script.replace("env -0", "export LIMIT=$(ulimit -n)\nenv -0"))
    job_id = await door.submit(batch)
    await reach(world, door, job_id, Stage.ENDED)
    arrived = await world.environment(job_id)
    assert dict(batch.environment).items() <= arrived.items()
    assert not arrived.keys() & {"LEAK", "USER", "LOGNAME", "MAIL", "SSH_CONNECTION", "SHELL", "LC_ALL", "TZ"}
    assert not arrived.keys() & {"SBATCH_PARTITION", "SBATCH_EXPORT", "SLURM_EXPORT_ENV", "SLURM_TIME_FORMAT"}
    assert arrived.get("LIMIT") != "256", "the login node's"


@row("strangers")
async def test_no_word_of_another_job_is_misread(world: World) -> None:
    door = world.door()
    job_id = await door.submit(batch := world.batch(seconds=600))
    name = batch.options.name
    await reach(world, door, job_id, Stage.RUNNING)
    await world.hostile_job(f"x|{job_id}|{name}\n{job_id} {name} COMPLETED", f"|\"'\\\n{job_id}|COMPLETED\n\n")
    assert (await door.states([job_id])).keys() == {job_id}
    if (accounting := world.accounting(door)) is not None:

        async def accounted() -> bool:
            return [job.job_id for job in await accounting.accounted(names=[name])] == [job_id]

        assert await world.until(accounted, "the row of one of the two")
    (found,) = [job for job in await door.find() if job.name == name]
    assert found == await one(door, job_id)
    assert (found.name, found.stage, found.comment) == (name, Stage.RUNNING, "")


@row("files")
async def test_a_log_is_followed_through_the_middle_of_its_characters(world: World) -> None:
    door = world.door()
    files = world.files(door)
    if files is None or not world.runs_scripts:
        return
    loop = "for n in 1 2 3 4 5; do printf 'größer %s 日本 🚀\\n' $n; sleep 0.4; done"
    batch = world.batch()
    batch = dataclasses.replace(batch, script=batch.script.replace("env -0", loop))
    job_id = await door.submit(batch)

    async def number() -> str:
        return next((job.slurm_number for job in await door.get([job_id])), "")

    slurm_number = await world.until(number, "Slurm's own number")
    path, heard = f"{SCRATCH}/psr-{slurm_number}.out", b""

    async def all_said() -> bool:
        nonlocal heard
        while piece := await files.read(path, len(heard), 5) if await files.size(path) else b"":
            heard += piece
        return heard.count(b"\n") == 5

    await world.until(all_said, "the log's end")
    assert heard.decode() == "".join(f"größer {n} 日本 🚀\n" for n in range(1, 6))
    assert await files.size(path) == len(heard)


@row("survey")
async def test_a_survey_tells_what_our_user_may_have(world: World) -> None:
    door = world.door()
    info = world.info(door)
    if info is None:
        return
    topics, told = door.traits.surveys, await info.survey()
    if Topic.ACCOUNTS in topics:
        qos = ("debug", "normal") if Topic.QOS in topics else None
        expected = Association(account="startup", qos=qos, default_qos="normal" if qos else "", default=True)
        assert [each for each in told.associations or () if each.account == "startup"] == [expected]
    else:
        assert told.associations is None
    assert told.partitions == (
        SitePartition(
            name="gpu",
            state="UP" if Topic.STATES in topics else "",
            nodes=world.nodes if Topic.NODES in topics else None,
            max_time_minutes=60 if Topic.TIMES in topics else None,
            gpus_per_node=world.gpus_per_node if Topic.GPUS in topics else None,
        ),
    )
    if Topic.CLOCK in topics:
        assert told.clock is not None
        assert abs(told.clock - world.now()) < 30
    else:
        assert told.clock is None


@row("survey")
async def test_a_survey_tells_of_an_account_that_takes_no_jobs(world: World) -> None:
    door = world.door()
    info = world.info(door)
    if info is None or Topic.CLOSED not in door.traits.surveys:
        return
    await world.shut("shut")
    told = {each.account: each.closed for each in (await info.survey()).associations or ()}
    assert (told["startup"], told["shut"]) == (False, True)
    with pytest.raises(Rejected):
        await door.submit(world.batch(account="shut", qos=None))


@row("survey")
async def test_a_survey_without_accounting_tells_the_rest(world: World) -> None:
    door = world.door()
    info = world.info(door)
    if info is None or Topic.ACCOUNTS not in door.traits.surveys:
        return
    await door.probe()
    await world.stop_accounting()
    try:
        told = await info.survey()
    finally:
        await world.start_accounting()
    assert told.associations is None
    assert [each.name for each in told.partitions or ()] == ["gpu"]


@row("files")
async def test_a_file_is_written_whole_and_read_by_ranges(world: World) -> None:
    door = world.door()
    files, upload = world.files(door), world.upload(door)
    if files is None or upload is None:
        return
    path, content = scratch_file(), bytes(range(256)) * 300
    await upload.write(path, content)
    assert await files.size(path) == len(content)
    assert await files.read(path, 0, len(content)) == content
    assert await files.read(path, 250, 20) == content[250:270]
    assert await files.read(path, len(content) - 5, 100) == content[-5:]
    assert await files.read(path, len(content), 100) == b""
    assert await files.read(path, len(content) + 1000, 100) == b""
    assert await files.read(path, 5, 0) == b""
    assert await world.mode(path) == 0o600


@row("files")
async def test_a_file_takes_the_place_of_another(world: World) -> None:
    door = world.door()
    files, upload = world.files(door), world.upload(door)
    if files is None or upload is None:
        return
    path = scratch_file()
    await upload.write(path, b"x" * 10_000, mode=0o644)
    await upload.write(path, b"short", mode=0o755)
    assert await files.size(path) == len(b"short")
    assert await files.read(path, 0, 10_000) == b"short"
    assert await world.mode(path) == 0o755 & world.most_of_files
    await upload.write(path, b"")
    assert await files.size(path) == 0


@row("files")
async def test_a_missing_file_is_told(world: World) -> None:
    files = world.files(world.door())
    if files is None:
        return
    path = scratch_file()
    assert await files.size(path) is None
    with pytest.raises(Missing):
        await files.read(path, 0, 1)


@row("files")
async def test_any_path_is_taken(world: World) -> None:
    door = world.door()
    files, upload = world.files(door), world.upload(door)
    if files is None or upload is None:
        return
    path = scratch_file(world.awkward)
    await upload.write(path, b"there")
    assert await files.read(path, 0, 10) == b"there"
    assert await files.size(path[:-1]) is None
    if "%41" in path:
        assert await files.size(path.replace("%41", "A")) is None


@row("upload")
async def test_a_directory_is_made_with_those_above_it(world: World) -> None:
    door = world.door()
    files, upload = world.files(door), world.upload(door)
    if files is None or upload is None:
        return
    above = scratch_file()
    deep = f"{above}/a b/é日"
    await upload.make_directory(deep)
    await upload.write(f"{deep}/spec", b"there")
    await upload.make_directory(deep)
    await upload.make_directory(f"{above}/")
    assert await files.read(f"{deep}/spec", 0, 10) == b"there"
    assert await files.size(deep) is None, "a directory is no file"
    made = [await world.mode(path) for path in (above, f"{above}/a b", deep)]
    assert made == [0o750 & world.most_of_directories] * 3
    for taken in (f"{deep}/spec", f"{deep}/spec/below"):
        with pytest.raises(Rejected):
            await upload.make_directory(taken)
    assert await files.read(f"{deep}/spec", 0, 10) == b"there"


@row("upload")
async def test_a_place_that_is_not_ours_is_refused(world: World) -> None:
    upload = world.upload(world.door())
    if upload is None or world.closed is None:
        return
    with pytest.raises(Rejected):
        await upload.write(f"{world.closed}/psr-x", b"x")
    with pytest.raises(Rejected):
        await upload.write(f"{world.closed}/psr-x/y", b"x")
    with pytest.raises(Rejected):
        await upload.make_directory(f"{world.closed}/psr-x/y")


@row("transfer")
async def test_a_file_is_put_together_from_parts(world: World) -> None:
    door = world.door()
    files, upload, transfer = world.files(door), world.upload(door), world.transfer(door)
    if files is None or upload is None or transfer is None:
        return
    content = bytes(range(256)) * 4_000
    await upload.make_directory(place := scratch_file())
    path, begun = f"{place}/{world.awkward}", f"{place}/{world.awkward}.part"
    for offset in range(0, len(content), 300_000):
        await transfer.append(begun, offset, content[offset : offset + 300_000])
    for wrong in (0, 5, len(content) - 1, len(content) + 1):
        with pytest.raises(Rejected) as caught:
            await transfer.append(begun, wrong, b"x")
        assert caught.value.reason == SIZE_DIFFERS
    assert await files.size(begun) == len(content)
    await upload.write(path, b"another, longer in name only")
    if door.traits.renames:
        await transfer.rename(begun, path)
    else:
        with pytest.raises(Rejected):
            await transfer.rename(begun, path)
        assert await files.read(path, 0, 100) == b"another, longer in name only"
        await transfer.remove(path)
        path = begun
    read = [await files.read(path, offset, 300_000) for offset in range(0, len(content) + 300_000, 300_000)]
    assert b"".join(read) == content
    expected = hashlib.sha256(content).hexdigest() if world.digests else None
    assert await transfer.digest(path) == expected
    names = [Entry(name=path.removeprefix(f"{place}/"), size=len(content), is_directory=False)]
    assert await transfer.entries(place) == names
    for _ in range(2):
        await transfer.remove(path)
    assert await transfer.entries(place) == []
    assert await files.size(path) is None


@row("transfer")
async def test_a_part_may_be_as_large_as_the_gateway_says(world: World) -> None:
    door = world.door()
    files, transfer = world.files(door), world.transfer(door)
    if files is None or transfer is None:
        return
    assert 4 * 1024 * 1024 <= transfer.part_bytes <= 16 * 1024 * 1024
    path, content = scratch_file(), secrets.token_bytes(transfer.part_bytes)
    await transfer.append(path, 0, content)
    await transfer.append(path, len(content), content)
    for offset in (0, len(content)):
        assert await files.read(path, offset, len(content)) == content
    await transfer.remove(path)


@row("transfer")
async def test_what_is_not_there_is_told(world: World) -> None:
    door = world.door()
    files, upload, transfer = world.files(door), world.upload(door), world.transfer(door)
    if files is None or upload is None or transfer is None:
        return
    await upload.make_directory(place := scratch_file())
    nothing = f"{place}/nothing"
    assert await transfer.entries(nothing) is None
    with pytest.raises(Missing if door.traits.renames else Rejected):
        await transfer.rename(nothing, f"{place}/new")
    if world.digests:
        with pytest.raises(Missing):
            await transfer.digest(nothing)
    with pytest.raises(Rejected) as caught:
        await transfer.append(nothing, 5, b"x")
    assert caught.value.reason == SIZE_DIFFERS
    await transfer.append(nothing, 0, b"")
    assert await transfer.entries(place) == [Entry(name="nothing", size=0, is_directory=False)]
    assert await transfer.entries(nothing) is None, "a file is no directory"


@row("transfer")
async def test_a_directory_is_no_file(world: World) -> None:
    door = world.door()
    upload, transfer = world.upload(door), world.transfer(door)
    if upload is None or transfer is None:
        return
    await upload.make_directory(f"{(place := scratch_file())}/a/b")
    await transfer.append(f"{place}/file", 0, b"kept")
    for call in (
        transfer.append(f"{place}/a", 0, b"x"),
        transfer.rename(f"{place}/file", f"{place}/a"),
        transfer.remove(f"{place}/a"),
    ):
        with pytest.raises(Rejected):
            await call
    assert await transfer.entries(place) == [
        Entry(name="a", size=0, is_directory=True),
        Entry(name="file", size=4, is_directory=False),
    ]
    assert await transfer.entries(f"{place}/a/") == [Entry(name="b", size=0, is_directory=True)]


@row("transfer")
async def test_a_directory_of_many_files_is_listed_whole(world: World) -> None:
    door = world.door()
    upload, transfer = world.upload(door), world.transfer(door)
    if upload is None or transfer is None or (place := await world.many_files(1_500)) is None:
        return
    found = await transfer.entries(place)
    assert found is not None
    assert [(each.name, each.size) for each in found] == [(f"{number:04}", number) for number in range(1_500)]


def scratch_file(more: str = "") -> str:
    return f"{SCRATCH}/psr-{secrets.token_hex(8)}{more}"
