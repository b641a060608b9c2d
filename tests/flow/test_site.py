"""What a site, and the operator's own haste, may do: outages, floods, runaway rows, and who waits for how long."""

from __future__ import annotations

import asyncio
import copy
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest

from little_world import NAMESPACE, SECRET, SITE, KubeClient, World, gateway
from passerelle.errors import Misaddressed, Unauthorized, Unavailable
from passerelle.gateways.base import Gateway, Probe
from passerelle.gateways.caller import Caller
from passerelle.gateways.memory import Fate, Memory, MemoryCredential
from passerelle.objects import Key
from passerelle.reasons import QUEUED_PER_TURN, TURN_SECONDS
from passerelle.sites import _present
from passerelle.slurm import RemoteJob
from stories import finished, made_of, running, told


def test_without_accounting_whatever_the_live_listing_shows_goes_on() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.site.faults.accounting_down = True
        new = world.api.create("b")
        await asyncio.sleep(30)
        assert [(each["type"], each["status"]) for each in world.site_conditions()] == [
            ("Ready", "True"),
            ("AccountingAvailable", "False"),
            ("FullyCapable", "False"),
        ]
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 120)
        assert world.states() == ["CANCELLED"], "whether the new one has a job already is not known"
        world.site.faults.accounting_down = False
        await world.until(running(world, new))

        assert [each["type"] for each in world.site_conditions()] == ["Ready", "FullyCapable"]

    told(story, Fate(queued=1, running=100_000))


def test_a_site_is_called_in_its_own_name_with_its_contact_of_now() -> None:
    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a")), 120)
        await world.edit_site(contact="ml-platform@example.eu")
        await world.until(running(world, world.api.create("b")), 120)

        assert world.callers == [Caller(SITE), Caller(SITE, "ml-platform@example.eu")]
        scripts = [job.batch.script for job in world.site._jobs.values()]
        assert ["ml-platform@example.eu" in each for each in scripts] == [False, True]

    told(story, Fate(queued=1, running=100_000))


def test_a_runaway_row_in_accounting_is_no_sign_of_life() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        world.site._jobs[world.status(key)["attempts"][0]["jobId"]].purged = True  # and slurmdbd never hears of its end
        await asyncio.sleep(180)
        assert world.condition(key, "Succeeded") == ("Unknown", "OutcomeLost")
        world.api.delete(key)
        await world.until(lambda: key not in world.api.objects, 60)

        assert "cancel" not in world.site.calls

    told(story, Fate(queued=1, running=10_000_000))


def test_polling_period_is_a_floor_however_many_trainingjobs_come() -> None:
    async def story(world: World) -> None:
        await world.until(running(world, world.api.create("a")), 120)
        world.site.calls.clear()
        for number in range(80):
            world.api.create(f"j{number}", suspend=True)
            await asyncio.sleep(0.75)

        assert world.site.calls.count("states") <= 3

    told(story, Fate(running=10_000), period="30s")


@pytest.mark.parametrize("period,gather", [(1, 0.2), (10, 1), (20, 2), (300, 3)])
def test_look_ups_gather_for_a_tenth_of_the_polling_period(period: int, gather: float) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)
        world.site.calls.clear()
        for number in range(100):
            world.api.create(f"j{number}", suspend=True)
            await asyncio.sleep(0.1)

        # A listing that is due in between takes along what was asked for until then.
        listings = 10 / (0.9 * period)
        assert 5 / gather <= world.site.calls.count("accounted") <= 10 / gather + 1 + listings
        await asyncio.sleep(gather + 1)
        assert all(world.condition(key, "Submitted") == ("False", "Suspended") for key in world.api.objects)

    told(story, period=f"{period}s")


def test_a_gateway_that_refuses_connections_is_not_flooded_with_submits() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}", suspend=True) for number in range(60)]
        await asyncio.sleep(31)
        world.site.faults.gateway_down = True
        for key in keys:
            world.api.edit(key, suspend=False)
        await asyncio.sleep(120)
        assert 1 <= world.site.calls.count("submit") <= 16
        world.site.faults.gateway_down = False
        await world.until(lambda: len(world.site.snapshot()) == 60, 180)

        assert len({job.name for job in world.site.snapshot()}) == 60

    told(story, Fate(running=10_000), period="60s")


def test_a_site_is_left_alone_for_as_long_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[float] = []

    async def busy(self: Memory) -> Probe:
        probes.append(self.clock())
        raise Unavailable("The gateway is busy.", reason="Busy", retry_after=600)

    async def story(world: World) -> None:
        await asyncio.sleep(5)
        monkeypatch.setattr(Memory, "probe", busy)
        await asyncio.sleep(1_500)

        assert [later - earlier >= 600 for earlier, later in itertools.pairwise(probes)] == [True, True]

    told(story)


def test_attempts_that_fail_at_once_follow_each_other_ever_later() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 9})
        await world.until(lambda: world.status(key).get("reason") == "BackOff")
        assert world.status(key)["summary"] == "Waiting"
        assert world.condition(key, "Finished")[0] == "False"
        await world.until(finished(world, key), 3_600)

        starts = [job.submit_time for job in world.site.snapshot()]
        waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert [math.floor(wait / 10) * 10 for wait in waits] == [10, 20, 40, 80, 160, 320, 600, 600], waits

    told(story, Fate(running=1, end="FAILED", exit_code=212))


def test_an_attempt_that_a_person_asked_for_follows_at_once() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 2})
        await world.until(finished(world, key))
        world.api.annotate(key, **{"passerelle.dev/retry-requested-at": "2026-01-01"})
        await world.until(lambda: len(world.site.snapshot()) == 3, 5)

        assert world.status(key)["attemptsTotal"] == 3

    told(story, Fate(running=1, end="FAILED", exit_code=212))


def test_max_jobs_goes_in_order_of_creation() -> None:
    async def story(world: World) -> None:
        keys = []
        for number in range(12):
            keys.append(world.api.create(f"j{number}"))
            await asyncio.sleep(2)
        await world.until(lambda: all(finished(world, key)() for key in keys))

        assert [job.name for job in world.site.snapshot()] == [world.run_of(key).marker(1) for key in keys]

    told(story, Fate(running=3), maxJobs=1)


def test_max_jobs_leaves_no_place_empty_while_somebody_waits() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"j{number}") for number in range(6)]
        began = world.loop.time()
        await world.until(lambda: all(finished(world, key)() for key in keys))

        assert world.loop.time() - began < 3 * 60 + 30

    told(story, Fate(running=60), maxJobs=2)


@pytest.mark.parametrize("how", ["suspended", "not admitted", "without its files", "deleted"])
def test_who_can_no_longer_go_holds_up_nobody_under_max_jobs(how: str) -> None:
    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"train.py": b"pass"}
        first = world.api.create("first")
        await world.until(running(world, first))
        second = world.api.create("second", files=[{"configMap": "code", "path": "/workspace"}])
        await asyncio.sleep(3)
        third = world.api.create("third")
        await asyncio.sleep(3)
        assert [world.condition(key, "Submitted")[1] for key in (second, third)] == ["MaxJobs", "MaxJobs"]
        _stop(world, second, how)
        await world.until(finished(world, first))

        await world.until(running(world, third), 60)

    told(story, Fate(running=60), maxJobs=1)


def _stop(world: World, key: Key, how: str) -> None:
    match how:
        case "suspended":
            world.api.edit(key, suspend=True)
        case "not admitted":
            world.api.edit(key, account="of-others")
        case "without its files":
            world.api.config_maps.clear()
        case _:
            world.api.delete(key)


def test_who_waits_under_max_jobs_costs_kube_apiserver_nothing() -> None:
    async def story(world: World) -> None:
        world.api.config_maps["code"] = {"train.py": b"pass"}
        world.api.labels["tier"] = "gold"
        keys = [
            world.api.create(f"j{number}", files=[{"configMap": "code", "path": "/workspace"}]) for number in range(102)
        ]
        await asyncio.sleep(60)
        assert [world.condition(key, "Submitted")[1] for key in keys].count("MaxJobs") == 100
        world.api.calls.clear()
        await asyncio.sleep(60)

        assert set(world.api.calls) <= {"secret", "site", "site status"}
        assert world.api.calls.count("site") <= 2

    admission = [{"selector": {"tier": "gold"}, "accounts": ["startup"], "qos": ["normal"]}]
    told(story, Fate(running=100_000), maxJobs=2, admission=admission)


def test_a_site_whose_status_could_once_not_be_written_has_it_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: KubeClient, *_: object) -> None:
        raise RuntimeError("a defect")

    async def story(world: World) -> None:
        await asyncio.sleep(5)
        with monkeypatch.context() as patched:
            patched.setattr(KubeClient, "patch_site_status", broken)
            world.site.faults.gateway_down = True
            await asyncio.sleep(10)
        assert world.site_conditions()[0]["status"] == "True"
        await asyncio.sleep(10)

        assert [(each["type"], each["status"]) for each in world.site_conditions()][:-1] == [("Ready", "False")]

    told(story)


def test_a_certificate_authority_that_comes_later_needs_no_restart() -> None:
    async def story(world: World) -> None:
        await world.edit_site(gateway=gateway(tls={"caSecret": {"name": "ca"}}))
        await asyncio.sleep(5)
        assert world.service.trouble is not None
        assert world.service.trouble.reason == "SecretMissing"
        key = world.api.create("a")
        await asyncio.sleep(5)
        world.api.secrets["ca"] = {"ca.crt": b"pem"}
        await world.until(finished(world, key), 180)

        assert world.site_conditions()[0]["status"] == "True"

    told(story)


def test_certificates_that_are_renewed_are_shown_within_a_minute_or_two() -> None:
    async def story(world: World) -> None:
        world.api.secrets["mine"] = {"tls.crt": b"old", "tls.key": b"k"}
        await world.edit_site(gateway=gateway(tls={"clientSecret": {"name": "mine"}}))
        await asyncio.sleep(30)
        before, asked = world.service.trust, world.api.calls.count("secret")
        await asyncio.sleep(600)
        assert world.service.trust == before
        world.api.secrets["mine"] = {"tls.crt": b"new", "tls.key": b"k"}
        await asyncio.sleep(120)

        assert before.certificate is not None
        assert world.service.trust.certificate is not None
        assert (before.certificate.chain, world.service.trust.certificate.chain) == (b"old", b"new")
        assert world.api.calls.count("secret") - asked < 40, "one look of the site's a minute, and one at this"

    told(story, period="60s")


def test_while_kube_apiserver_is_away_the_last_credential_serves_on() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.trouble = await made_of(aiohttp.ServerDisconnectedError())
        for _ in range(300):
            await asyncio.sleep(0.1)
            assert world.service.trouble is None
        world.api.trouble = None
        await world.until(finished(world, key), 5)

    told(story)


def test_a_refused_token_is_shown_to_the_site_ever_later_and_a_new_one_within_the_minute() -> None:
    async def story(world: World) -> None:
        world.site.credentials = lambda: cast("MemoryCredential", world.service.credential)
        await asyncio.sleep(100)
        world.site.token = "another"
        await asyncio.sleep(100)
        world.site.calls.clear()
        for _ in range(6 * 60):
            await asyncio.sleep(60)
            assert world.site_conditions()[0]["reason"] == "TokenRefused"
        assert len(world.site.calls) <= 6 * 4 + 3, "four an hour, but for the beginning"
        world.api.secrets[SECRET]["token"] = b"another"
        await asyncio.sleep(65)
        assert world.service.trouble is None

        world.site.token = "a third"
        await asyncio.sleep(1000)
        assert world.service.trouble is not None
        world.site.token = "another"
        await world.edit_site(pollingPeriod="31s")
        await asyncio.sleep(60)
        assert world.service.trouble is None, "who edits the Site wants it asked"

    told(story, period="30s")


@pytest.mark.parametrize("act", ["submit", "cancel"])
def test_of_all_that_are_in_hand_few_show_a_credential_that_was_refused(
    act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login's lock counts refusals, and does not ask which of our jobs they were for."""
    refuse, refusals = Memory._refuse_credential, list[float]()

    def counted(self: Memory) -> None:
        try:
            refuse(self)
        except Unauthorized:
            refusals.append(asyncio.get_running_loop().time())
            raise

    monkeypatch.setattr(Memory, "_refuse_credential", counted)

    async def story(world: World) -> None:
        world.site.credentials = lambda: cast("MemoryCredential", world.service.credential)
        await asyncio.sleep(100)
        keys = [world.api.create(f"j{number}", timeLimit="1h") for number in range(300)]
        if act == "cancel":
            await world.until(lambda: all(running(world, key)() for key in keys), 600)
            for key in keys:
                world.api.delete(key)
        await world.until(lambda: world.site.calls.count(act) >= 10, 60)
        world.site.token = "another"
        began = world.loop.time()
        await world.until(lambda: bool(world.site_conditions()[0]["reason"] == "TokenRefused"), 70)
        await asyncio.sleep(600)
        assert 1 <= len(refusals) <= 16 + 4, "those in hand, and what a look shows ever later"
        assert len([each for each in refusals if each > began + 60]) <= 3

        world.api.secrets[SECRET]["token"] = b"another"
        ended = (lambda: not world.api.objects) if act == "cancel" else (lambda: len(world.site.batches) == len(keys))
        await world.until(ended, 600)

    told(story, Fate(queued=1, running=5000), period="30s")


def test_a_site_whose_door_fails_by_a_defect_of_ours_hinders_no_start_and_serves_once_it_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, broken = World._opened, [True]

    def fails(self: World, *given: Any) -> Gateway:
        if broken:
            raise UnicodeError("no such name")
        return opened(self, *given)

    monkeypatch.setattr(World, "_opened", fails)

    async def story(world: World) -> None:
        key = world.api.create("a")
        await asyncio.sleep(60)
        assert world.site_conditions()[0]["reason"] == "Defect"
        assert world.site.calls == []
        broken.clear()
        await world.until(finished(world, key), 120)

    told(story)


def test_a_former_drivers_credential_is_never_presented() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.service.credential_of = "former"
        with pytest.raises(Unavailable, match="read again"):
            _present(world.service, "slurmrestd")
        world.api.trouble = await made_of(aiohttp.ServerDisconnectedError())
        await asyncio.sleep(5)
        assert world.service.trouble is not None, "the last credential serves on, though it is another driver's"
        world.api.trouble = None
        await world.until(finished(world, key), 120)

        assert _present(world.service, "slurmrestd") is world.service.credential

    told(story)


def test_ids_that_are_no_numbers_go_all_the_way() -> None:
    async def story(world: World) -> None:
        world.site.ids = lambda number: f"job-{number:x}"
        key = world.api.create("a")
        await world.until(running(world, key))
        await world.end_operator()
        await world.start_operator()
        doomed = world.api.create("b")
        await world.until(running(world, doomed))
        world.api.delete(doomed)
        await world.until(lambda: doomed not in world.api.objects)
        await world.until(finished(world, key))

        assert world.states() == ["COMPLETED", "CANCELLED"]
        (attempt,) = world.status(key)["attempts"]
        assert attempt["jobId"] == "job-3e8"
        assert attempt["logPath"].endswith("-1000.log")

    told(story, Fate(queued=1, running=60))


def test_those_that_wait_are_asked_why_in_turn() -> None:
    """Over a power of ten: as texts, 1000 comes before 995."""

    async def story(world: World) -> None:
        world.site.first_job_id = 995
        keys = [world.api.create(f"waits-{number}") for number in range(10)]
        await world.until(lambda: all("submitTime" in attempt for attempt in attempts(world, keys)))
        for job in world.site._jobs.values():
            job.fate = replace(job.fate, state_reason="Resources")
        await asyncio.sleep((TURN_SECONDS + 2) * math.ceil(len(keys) / QUEUED_PER_TURN))

        assert {attempt["reason"] for attempt in attempts(world, keys)} == {"Resources"}

    def attempts(world: World, keys: list[Key]) -> list[dict[str, Any]]:
        return [attempt for key in keys for attempt in world.status(key).get("attempts", [{}])]

    told(story, Fate(queued=1_000_000), period="2s")


def test_asking_why_jobs_wait_goes_at_a_pace_of_its_own_however_short_the_period() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(f"waits-{number}") for number in range(10)]
        await world.until(lambda: all(world.status(key).get("attempts") for key in keys))
        await asyncio.sleep(60)
        world.site.calls.clear()
        await asyncio.sleep(10 * TURN_SECONDS)

        assert world.site.calls.count("states") > 10 * TURN_SECONDS / 2 * 0.8
        assert 8 <= world.site.calls.count("get") <= 10

    told(story, Fate(queued=1_000_000), period="2s")


def test_a_refused_job_goes_with_the_account_that_the_administrator_corrected() -> None:
    async def story(world: World) -> None:
        world.site.shape = replace(world.site.shape, accounts=frozenset({"right"}))
        key = world.api.create("a")
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "InvalidAccount"))
        admission = [{"namespaces": ["team-a"], "accounts": ["right"], "qos": ["normal"]}]
        await world.edit_site(admission=admission)
        await world.until(finished(world, key), 1200)

        assert [(job.account, job.state.base) for job in world.site.snapshot()] == [("right", "COMPLETED")]
        assert [attempt["account"] for attempt in world.status(key)["attempts"]] == ["right"]

    told(story, Fate(running=5))


def test_an_end_is_told_of_before_progress_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    get, read = Memory.get, []

    async def slow(self: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        await asyncio.sleep(20 if len(job_ids) > 1 else 0)
        read.append(len(job_ids))
        return await get(self, job_ids)

    async def story(world: World) -> None:
        for name in "abc":
            await world.until(running(world, world.api.create(name)))
        world.site.fates = lambda _: Fate(running=10)
        ends = world.api.create("ends")
        await world.until(running(world, ends))
        assert world.service.watch is not None
        world.service.watch.progress_period = 0  # each look reads the progress of the others, in 20 s
        monkeypatch.setattr(Memory, "get", slow)
        await world.until(lambda: 1 in read)
        looks = len(read)
        await world.until(finished(world, ends), 5)

        assert len(read) == looks, "progress was read first"

    told(story, Fate(running=10_000))


@pytest.mark.parametrize("down", [False, True], ids=["reachable", "away"])
def test_a_restart_is_no_news_of_a_running_job(down: bool) -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        await asyncio.sleep(5)
        await world.end_operator()
        before, told_of = copy.deepcopy(world.status(key)), list(world.api.events)
        world.site.faults.gateway_down = down
        await world.start_operator()
        await asyncio.sleep(30)

        assert world.status(key) == before
        assert world.api.events == told_of

    told(story, Fate(queued=1, running=100_000))


def test_a_site_out_of_sight_is_told_of_after_a_minute_and_no_more_once_it_is_back() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.site.faults.gateway_down = True
        await asyncio.sleep(50)
        assert world.condition(key, "SiteReachable") == ("", "")
        await asyncio.sleep(30)
        assert world.condition(key, "SiteReachable")[0] == "False"
        assert world.condition(key, "Running")[0] == "True"
        world.site.faults.gateway_down = False
        await asyncio.sleep(70)

        assert world.condition(key, "SiteReachable") == ("", "")

    told(story, Fate(queued=1, running=100_000))


def test_a_running_job_that_nobody_can_see_says_why_beside_its_summary() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        secret = world.api.secrets.pop(SECRET)
        await asyncio.sleep(150)
        assert summary(world, key) == ("Running", "SecretMissing")
        assert world.condition(key, "Stalled") == ("True", "SecretMissing")
        world.api.edit(key, suspend=True)
        await asyncio.sleep(5)
        assert summary(world, key) == ("Suspended", "SecretMissing")
        world.api.edit(key, suspend=False)
        world.api.secrets[SECRET] = secret
        await asyncio.sleep(70)

        assert summary(world, key) == ("Running", None)
        assert world.condition(key, "Stalled") == ("", "")

    told(story, Fate(queued=1, running=100_000))


def test_a_queued_job_that_nobody_can_see_says_that_and_not_what_slurm_said_once() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(lambda: summary(world, key)[0] == "Queued")
        world.site.faults.gateway_down = True
        await asyncio.sleep(150)

        assert summary(world, key) == ("Queued", "Unreachable")
        assert world.condition(key, "Ready") == ("True", "Submitted"), "nobody has to act"

    told(story, Fate(queued=100_000))


def test_between_two_attempts_a_credential_that_is_gone_needs_a_person() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", retry={"maxAttempts": 3})
        await world.until(lambda: world.status(key).get("reason") == "BackOff")
        secret = world.api.secrets.pop(SECRET)
        await asyncio.sleep(60)
        assert summary(world, key) == ("Stalled", "SecretMissing")
        assert world.condition(key, "Submitted") == ("False", "SecretMissing")
        assert world.condition(key, "Stalled") == ("True", "SecretMissing")
        world.api.secrets[SECRET] = secret
        await world.until(finished(world, key))

        assert len(world.site.snapshot()) == 3

    told(story, Fate(running=1, end="FAILED", exit_code=212))


def test_an_attempt_of_unknown_fate_whose_site_is_gone_needs_a_person() -> None:
    async def story(world: World) -> None:
        world.site.faults.lose_answers = 1
        world.site.faults.listing_lag = world.site.faults.accounting_lag = 100
        key = world.api.create("a")
        await world.until(lambda: bool(world.site.snapshot()))
        assert world._sites is not None
        await world._sites.observe(copy.deepcopy(world.api.sites[SITE]), deleted=True)
        await asyncio.sleep(5)

        assert world.condition(key, "Submitted") == ("Unknown", "SiteNotFound")
        assert world.condition(key, "Stalled") == ("True", "SiteNotFound")
        assert world.condition(key, "Reconciling") == ("", "")
        assert summary(world, key) == ("Stalled", "SiteNotFound")

    told(story)


def test_a_suspended_job_waits_for_no_site() -> None:
    async def story(world: World) -> None:
        world.api.secrets.clear()
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(30)

        assert world.condition(key, "Ready") == ("False", "Suspended")
        assert world.condition(key, "Stalled") == ("", "")

    told(story)


def test_another_server_at_the_address_is_the_administrators_to_mend_only_where_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = Memory.probe
    elsewhere = [False]

    async def probed(self: Memory) -> Probe:
        if elsewhere[0]:
            raise Misaddressed("Another server.", reason="NoUnicore")
        return await probe(self)

    monkeypatch.setattr(Memory, "probe", probed)

    def stalled(world: World) -> list[tuple[str, str]]:
        return [(each["status"], each["reason"]) for each in world.site_conditions() if each["type"] == "Stalled"]

    async def story(world: World) -> None:
        await asyncio.sleep(5)
        elsewhere[0] = True
        key = world.api.create("a")
        await asyncio.sleep(100)
        assert world.site_conditions()[0]["reason"] == "NoUnicore"
        assert stalled(world) == [], "it may be about to begin"
        assert world.condition(key, "Reconciling") == ("True", "NoUnicore")
        await asyncio.sleep(200)
        assert stalled(world) == [("True", "NoUnicore")]
        assert world.condition(key, "Stalled") == ("True", "NoUnicore")
        assert world.condition(key, "Reconciling") == ("", "")
        assert summary(world, key) == ("Stalled", "NoUnicore")
        told_of = len(world.api.events)
        await asyncio.sleep(1000)
        assert len(world.api.events) == told_of, "it is said once"
        elsewhere[0] = False
        await world.until(finished(world, key))

        assert stalled(world) == []

    told(story)


def summary(world: World, key: Key) -> tuple[str, str | None]:
    status = world.status(key)
    return status.get("summary", ""), status.get("reason") or None


def test_a_deletion_whose_site_is_gone_says_what_it_waits_for_and_how_to_end_the_wait() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        assert world._sites is not None
        await world._sites.observe(copy.deepcopy(world.api.sites[SITE]), deleted=True)
        await asyncio.sleep(5)
        assert world.condition(key, "SiteReachable") == ("False", "SiteNotFound")
        assert world.condition(key, "Running")[0] == "True", "nobody has said that it ended"
        world.api.delete(key)
        await asyncio.sleep(5)
        assert world.condition(key, "Stalled") == ("True", "Deleting")
        (message,) = [each["message"] for each in world.status(key)["conditions"] if each["type"] == "Stalled"]
        assert "There is no Site named 'memory'" in message
        command = f"kubectl annotate -n {NAMESPACE} trainingjob {key.name}"
        assert f'{command} passerelle.dev/abandon="true"' in message
        world.api.annotate(key, **{"passerelle.dev/abandon": "true"})
        await asyncio.sleep(5)

        assert key not in world.api.objects
        assert world.states() == ["RUNNING"]

    told(story, Fate(queued=1, running=100_000))


def test_a_suspended_run_is_neither_ready_nor_submitted_and_says_so() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a")
        await world.until(running(world, key))
        world.api.edit(key, suspend=True)
        await world.until(lambda: world.condition(key, "Submitted")[0] == "False", 60)
        assert world.condition(key, "Ready") == ("False", "Suspended")
        world.api.edit(key, suspend=False)
        await world.until(running(world, key))
        await asyncio.sleep(1)  # events are written behind the pass that they tell of

        told_of = [reason for _, reason, _ in world.api.events]
        assert told_of == ["Planned", "Submitted", "Running", "Suspended", "Submitted", "Running"]

    told(story, Fate(queued=1, running=100_000))


def test_a_site_whose_partition_does_not_exist_is_not_ready() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(5)
        assert {each["type"]: each["reason"] for each in world.site_conditions()} == {
            "Ready": "PartitionNotFound",
            "Stalled": "PartitionNotFound",
            "FullyCapable": "GatewayLimits",
        }
        await world.edit_site(partition="gpu")
        await asyncio.sleep(5)

        assert {each["type"]: each["reason"] for each in world.site_conditions()} == {
            "Ready": "Answering",
            "FullyCapable": "GatewayLimits",
        }

    told(story, partition="nope")


def test_what_a_door_lacks_is_told_in_one_sentence_with_what_follows() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(5)
        (told,) = [each for each in world.site_conditions() if each["type"] == "FullyCapable"]

        assert (told["status"], told["reason"]) == ("False", "GatewayLimits")
        assert told["message"].startswith("Not all can be done through this slurmrestd gateway: it reads no files, so ")
        assert told["message"].count(".") == 1

    told(story)


def test_a_credential_that_ends_before_a_live_job_is_told_with_the_job() -> None:
    def about(world: World) -> list[dict[str, Any]]:
        return [each for each in world.site_conditions() if each["type"] == "CredentialLasts"]

    async def story(world: World) -> None:
        ends = world.loop.time() + 1800  # the clock by which the site's jobs begin
        world.api.secrets[SECRET]["expires"] = str(ends).encode()
        await asyncio.sleep(120)
        assert about(world) == [], "nobody would notice"
        key = world.api.create("a", timeLimit="1h")
        await world.until(running(world, key))
        await asyncio.sleep(120)
        (told_of,) = about(world)

        assert (told_of["status"], told_of["reason"]) == ("False", "CredentialEndsFirst")
        assert f"and job {world.status(key)['attempts'][0]['jobId']} may run for longer" in told_of["message"]
        world.api.secrets[SECRET]["expires"] = str(ends + 7200).encode()
        await asyncio.sleep(120)
        assert about(world) == []

    told(story, Fate(queued=1, running=100_000))


def test_a_site_counts_its_first_job_soon_and_others_once_a_minute() -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(120)
        await world.until(running(world, world.api.create("a")))
        await asyncio.sleep(6)
        assert world.api.sites[SITE]["status"]["jobs"] == 1
        await world.until(running(world, world.api.create("b")))
        await asyncio.sleep(6)
        assert world.api.sites[SITE]["status"]["jobs"] == 1
        await asyncio.sleep(60)

        assert world.api.sites[SITE]["status"]["jobs"] == 2

    told(story, Fate(queued=1, running=100_000))


def test_a_refused_site_is_asked_for_its_secret_now_and_then() -> None:
    async def story(world: World) -> None:
        await world.edit_site(gateway=gateway(tls={"caSecret": {"name": "ca"}}))
        await asyncio.sleep(120)
        world.api.calls.clear()
        await asyncio.sleep(600)

        assert world.site_conditions()[0]["reason"] == "SecretMissing"
        assert world.api.calls.count("secret") <= 11

    told(story, period="600s")


def test_a_site_that_is_deleted_as_soon_as_it_is_there_is_let_go() -> None:
    async def story(world: World) -> None:
        body = copy.deepcopy(world.api.sites[SITE])
        body["metadata"]["name"] = "brief"
        assert world._sites is not None
        await world._sites.observe(body, deleted=False)
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await world._sites.observe(body, deleted=True)

        assert [each.site.name for each in world._sites.services()] == [SITE]

    told(story)


def test_every_secret_that_a_site_names_is_known_as_its_own() -> None:
    async def story(world: World) -> None:
        await world.until(lambda: world._sites is not None and bool(world._sites.secrets()))
        assert world._sites is not None
        assert world._sites.secrets() == {SECRET, "authority", "door"}

    tls = {"caSecret": {"name": "authority"}, "clientSecret": {"name": "door"}}
    told(story, gateway=gateway(tls=tls))


def test_a_site_may_go_away_while_all_are_closed() -> None:
    async def story(world: World) -> None:
        assert world.reconciler is not None
        sites, other = world.reconciler.sites, copy.deepcopy(world.api.sites[SITE])
        other["metadata"] |= {"name": "other", "uid": "o"}
        world.api.sites["other"] = other
        await sites.observe(other, deleted=False)
        await asyncio.sleep(2)
        await asyncio.gather(sites.close(), sites.observe(other, deleted=True))

        assert sites.services() == []

    told(story)
