"""A limit of an account or a QoS (Slurm's 2050) is tried by a few, and what it is not about goes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from little_world import World
from passerelle.batch import Batch
from passerelle.errors import Rejected
from passerelle.gateways.memory import Fate, Memory, Shape
from passerelle.line import FEW
from passerelle.slurm import Stage
from stories import told

POLICY = Rejected("Slurm refused the job: Job violates accounting/QOS policy.", reason="PolicyLimit", transient=True)
LONG = Fate(queued=1, running=100_000)


class Association:
    """What slurmctld keeps of an account: `most` jobs, none of more than `nodes`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, most: int, nodes: int = 1_000, account: str = "") -> None:
        self.most, self.refused = most, list[float]()
        submit, association = Memory.submit, self

        async def limited(site: Memory, batch: Batch) -> str:
            live = sum(site._state(job).stage is not Stage.ENDED for job in site._jobs.values())
            mine = not account or batch.options.account == account
            if mine and (live >= association.most or batch.options.nodes > nodes):
                site._called("submit")
                association.refused.append(asyncio.get_running_loop().time())
                raise POLICY
            return await submit(site, batch)

        monkeypatch.setattr(Memory, "submit", limited)


def accepted(world: World) -> int:
    return sum(bool(each.get("jobId")) for key in world.api.objects for each in world.status(key).get("attempts", []))


def test_a_limit_that_is_reached_is_tried_by_a_few_and_never_by_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Association(monkeypatch, most=20)

    async def story(world: World) -> None:
        keys = [world.api.create(f"job-{number:03}", timeLimit="50m") for number in range(200)]
        await asyncio.sleep(2700)
        assert accepted(world) == 20
        assert len(account.refused) <= 16 + 100
        late = [time for time in account.refused if time > account.refused[0] + 20]
        in_ten_seconds = max(sum(start <= time < start + 10 for time in late) for start in late)
        assert in_ten_seconds <= 2 * FEW, "those that are waited for, and one more for each that is refused again"
        assert Counter(world.condition(key, "Submitted")[1] for key in keys)["PolicyLimit"] == 180

        before = len(account.refused)
        account.most = 1_000
        await asyncio.sleep(900)
        assert accepted(world) == 200, "as soon as one is taken the others follow"
        assert len(account.refused) == before

    told(story, LONG)


def test_where_a_job_of_the_account_ends_another_follows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Association(monkeypatch, most=20)

    async def story(world: World) -> None:
        for number in range(80):
            world.api.create(f"job-{number:03}", timeLimit="50m")
        await asyncio.sleep(900)
        for _ in range(10):
            live = next(job.job_id for job in world.site.snapshot() if job.state.base == "RUNNING")
            await world.site.cancel(live)
            await asyncio.sleep(5)

        assert accepted(world) >= 20 + 9

    told(story, LONG)


@pytest.mark.parametrize("large", [3, 12])
def test_what_is_too_large_for_ever_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    """The number can't tell a job that is too large from one too many."""
    Association(monkeypatch, most=1_000, nodes=2)

    async def story(world: World) -> None:
        world.site.shape = Shape(nodes=100)
        for number in range(large):
            world.api.create(f"large-{number}", nodes=3, timeLimit="50m")
        await asyncio.sleep(30)
        for number in range(30):
            world.api.create(f"small-{number}", timeLimit="50m")
        await asyncio.sleep(20 if large == 3 else 300)
        assert accepted(world) == 30

    told(story, LONG)


def test_a_limit_of_one_account_holds_up_nobody_of_another_nor_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    Association(monkeypatch, most=0, account="startup")

    async def story(world: World) -> None:
        admission = [{"namespaces": ["team-a"], "accounts": ["startup", "other"], "qos": ["normal"]}]
        await world.edit_site(admission=admission)
        world.site.shape = Shape(accounts=frozenset({"startup", "other"}))
        for number in range(60):
            world.api.create(f"full-{number}", timeLimit="50m")
        await asyncio.sleep(60)
        for number in range(20):
            world.api.create(f"free-{number}", account="other", timeLimit="50m")
        await asyncio.sleep(20)
        assert accepted(world) == 20

    told(story, LONG, maxJobs=30)


def test_who_gives_up_waiting_makes_room_for_another_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Association(monkeypatch, most=0)

    async def story(world: World) -> None:
        keys = [world.api.create(f"job-{number:03}", timeLimit="50m") for number in range(40)]
        await asyncio.sleep(12)  # no refused one comes back so early
        first = [key for key in keys if world.status(key)["attempts"]]
        assert len(keys) - len(first) >= 20, "so many wait behind those that were refused"
        account.most = 1_000
        for key in first:
            world.api.edit(key, suspend=True)
        await asyncio.sleep(10)  # and by now none of them is waited for in vain
        assert accepted(world) == len(keys) - len(first)

    told(story, LONG)
