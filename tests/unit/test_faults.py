"""What the faults suite itself promises: its plans, its proxy, and that its check sees what must not be."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from e2e.doors import Way
from faults import operators, record
from faults import proxy as room
from faults.__main__ import SAMPLE, SLOW, sampled, seeds
from faults.calls import BY_DRIVER, of_kubernetes, of_slurmrestd
from faults.gates import Certificates, gate
from faults.history import Job, Task, Told, Verdict, check
from faults.mutation import HERE, MUTANTS, Mutant
from faults.operators import Operators
from faults.plan import ENOUGH, OTHER_DOORS, POSSIBLE, Fault, Kind, Mishap, Plan, door_of, drawn
from faults.proxy import Proxy
from faults.run import (
    CALLS_SECONDS,
    HIT_SECONDS,
    LED_SECONDS,
    MOST_HIT_SECONDS,
    MOST_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    SLOW_SECONDS,
    Patience,
    Ran,
    hit,
)
from faults.run import told as told_by
from faults.wire import Wire
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from passerelle_sandbox.deploy import OperatorProcess

RUN, OTHER = "psr-" + "a" * 26, "psr-" + "b" * 26
OK = Told(finished=True, succeeded="True", reason="Completed", attempts=1, job_ids=("7",))
FAILED = Told(finished=True, succeeded="False", reason="Failed", attempts=1, job_ids=("7",))
RAN = {f"{RUN}-1": ["7"]}


def task(wanted: str = "ok") -> Task:
    return Task("job-0", RUN, wanted)  # type: ignore[arg-type]  # one of the three


def job(job_id: str = "7", run: str = RUN, state: str = "COMPLETED") -> Job:
    return Job(job_id, f"{run}-1", state)


class TestHistory:
    @pytest.mark.parametrize(
        "wanted,jobs,ran,told",
        [
            ("ok", [job()], RAN, OK),
            ("fails", [job(state="FAILED")], RAN, FAILED),
            ("deleted", [job(state="CANCELLED")], {}, None),
            ("deleted", [], {}, None),
            ("ok", [job(), job("8", state="FAILED")], RAN, OK),
        ],
        ids=["ok", "fails", "deleted", "deleted before its submit", "the second left by itself"],
    )
    def test_what_must_be_is_no_defect(
        self, wanted: str, jobs: list[Job], ran: dict[str, list[str]], told: Told | None
    ) -> None:
        said_by = {} if told is None else {"job-0": told}
        verdict = check([task(wanted)], jobs, ran, said_by, sent_twice={f"{RUN}-1"})

        assert verdict.defects == []
        assert len(verdict.submitted_twice) == max(len(jobs) - 1, 0)

    @pytest.mark.parametrize(
        "wanted,jobs,ran,told,kind,said",
        [
            ("ok", [job(), job("8")], {f"{RUN}-1": ["7", "8"]}, OK, "executed_twice", "began in jobs 7, 8"),
            ("ok", [job(), job("9", OTHER)], RAN, OK, "orphans", "is of no TrainingJob"),
            ("deleted", [job(state="RUNNING")], RAN, None, "orphans", "is RUNNING, at the end"),
            ("deleted", [job(state="CANCELLED")], RAN, OK, "lost", "is there still"),
            ("ok", [job()], RAN, None, "lost", "is gone"),
            ("ok", [], {}, OK, "lost", "Slurm has no job of it"),
            ("ok", [job()], RAN, Told(finished=False, succeeded="", reason="Active", attempts=1), "lost", "its end"),
            ("ok", [job()], RAN, FAILED, "wrong_end", "Succeeded=False"),
            ("fails", [job()], RAN, OK, "wrong_end", "Succeeded=True"),
            ("ok", [job()], {}, OK, "wrong_end", "its trainer never began"),
            ("ok", [job(), job("8")], {f"{RUN}-1": ["8"]}, OK, "wrong_end", "tells of job 7"),
            ("ok", [job()], RAN, Told(True, "True", "Completed", 2, ("6", "7")), "wrong_end", "2 attempts"),
            ("ok", [job()], RAN | {f"{RUN}-2": ["9"]}, OK, "wrong_end", f"tells of 1 attempts, and {RUN}-2 began"),
            ("ok", [job(state="TIMEOUT")], RAN, OK, "wrong_end", "accounting says TIMEOUT of job 7"),
            ("ok", [job(state="TIMEOUT")], RAN, replace(OK, job_ids=()), "wrong_end", "accounting says TIMEOUT"),
            ("fails", [job(state="CANCELLED")], RAN, replace(FAILED, reason="Cancelled"), "wrong_end", "(Cancelled)"),
            ("deleted", [job(state="TIMEOUT")], RAN, None, "orphans", "its job 7 is TIMEOUT"),
            ("ok", [job()], {f"{RUN}-1": ["7", "7"]}, OK, "executed_twice", "began in jobs 7, 7"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_must_not_be_is_seen(
        self, wanted: str, jobs: list[Job], ran: dict[str, Sequence[str]], told: Told | None, kind: str, said: str
    ) -> None:
        said_by = {} if told is None else {"job-0": told}
        verdict = check([task(wanted)], jobs, ran, said_by, sent_twice={f"{RUN}-1"})

        assert any(said in each for each in getattr(verdict, kind)), verdict
        assert verdict.defects == getattr(verdict, kind), "and it is called by nothing else"

    def test_a_second_job_is_a_defect_where_no_submit_was_sent_twice(self) -> None:
        jobs = [job(), job("8", state="FAILED")]

        alone = check([task()], jobs, RAN, {"job-0": OK}, sent_twice={OTHER})
        sent = check([task()], jobs, RAN, {"job-0": OK}, sent_twice={f"{RUN}-1"})

        assert "nothing sent its submit twice" in "".join(alone.submitted_again)
        assert (alone.defects, sent.defects) == (alone.submitted_again, [])
        assert len(sent.submitted_twice) == 1

    @pytest.mark.parametrize(
        "paused,first,defects", [(True, "CANCELLED", 0), (True, "COMPLETED", 1), (True, "", 0), (False, "CANCELLED", 1)]
    )
    def test_one_that_was_suspended_may_have_one_attempt_more(self, paused: bool, first: str, defects: int) -> None:
        again = f"{RUN}-2"
        jobs = [*([job("6", state=first)] if first else []), Job("7", again, "COMPLETED")]
        told = replace(OK, attempts=2, job_ids=("6", "7"))

        verdict = check([replace(task(), paused=paused)], jobs, {again: ["7"]}, {"job-0": told})

        assert len(verdict.wrong_end) == len(verdict.defects) == defects


class TestHit:
    """For how long a deletion may go unanswered by reason of what happened."""

    def test_each_mishap_of_the_run_counts_and_of_others_those_that_hit_everybody(self) -> None:
        mine = Plan(1, (), happened=[Mishap(Kind.SUBMIT, 1, Fault.DELAY)])
        theirs = Plan(2, (), happened=[Mishap(Kind.SUBMIT, 1, Fault.DELAY), Mishap(Kind.PATCH, 3, Fault.KILL_LATE)])

        assert hit(mine) == HIT_SECONDS
        assert hit(mine, [theirs]) == 2 * HIT_SECONDS
        assert hit(replace(mine, door=OTHER_DOORS[0])) == HIT_SECONDS + SLOW_SECONDS

    def test_many_that_let_an_operator_act_late_let_it_act_within_minutes(self) -> None:
        many = Plan(1, (), happened=[Mishap(Kind.CANCEL, number, Fault.DELAY) for number in range(9)])

        assert hit(many) == CALLS_SECONDS < 4 * HIT_SECONDS

    def test_it_is_shorter_than_a_deleted_one_s_trainer_runs(self) -> None:
        frozen = Plan(1, (), happened=[Mishap(Kind.WATCH, number, Fault.FREEZE) for number in range(9)])

        assert hit(frozen) == MOST_HIT_SECONDS


class TestPatience:
    @pytest.mark.parametrize(
        "took,led,over",
        [
            (PATIENCE_SECONDS - 1, 2 * LED_SECONDS, False),
            (PATIENCE_SECONDS, LED_SECONDS - 1, False),
            (PATIENCE_SECONDS, LED_SECONDS, True),
            (MOST_PATIENCE_SECONDS - 1, 0, False),
            (MOST_PATIENCE_SECONDS, 0, True),
        ],
    )
    def test_a_run_is_given_up_once_one_operator_had_time_for_it(self, took: float, led: float, *, over: bool) -> None:
        assert Patience(lambda: led).is_over(took) is over

    async def test_who_takes_over_leads_from_then_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = itertools.count(100.0)
        monkeypatch.setattr(operators, "time", SimpleNamespace(monotonic=lambda: next(now)))
        alive = SimpleNamespace(poll=lambda: None)
        made = Operators(
            lambda _: cast(
                "OperatorProcess", SimpleNamespace(process=alive, wait_until_ready=lambda: None, kill=lambda: None)
            )
        )

        async with made.running():
            made.leads(0)
            first = made.led_seconds
            made.leads(0)
            on = made.led_seconds
            made.leads(1)
            second = made.led_seconds

        assert (first, on, second) == (1, 2, 1)


class TestMutants:
    def test_every_mutant_is_tried(self) -> None:
        assert {each.file for each in MUTANTS} == set(HERE.glob("*.py"))

    @pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
    def test_what_lives_as_it_must_is_no_mutant(self, mutant: Mutant) -> None:
        assert not mutant.seen(check([task()], [job()], RAN, {"job-0": OK}))


class TestPlan:
    def test_a_seed_is_a_plan(self) -> None:
        assert [drawn(seed) for seed in range(20)] == [drawn(seed) for seed in range(20)]

    def test_each_has_enough_mishaps_and_a_grave_one(self) -> None:
        for seed in range(1, 1001):
            plan = drawn(seed)
            assert len(plan.mishaps) >= ENOUGH
            assert not plan.grave, "nothing has happened yet"
            plan.happened = list(plan.mishaps)
            assert plan.grave

    @pytest.mark.parametrize("door", POSSIBLE)
    def test_together_they_have_all_that_may_happen(self, door: str) -> None:
        seeds_of = itertools.islice((seed for seed in itertools.count(1) if door_of(seed) == door), 500)
        found = {(each.kind, each.fault) for seed in seeds_of for each in drawn(seed).mishaps}

        assert found == {(kind, fault) for kind, faults in POSSIBLE[door].items() for fault in faults}

    def test_a_tenth_goes_through_the_other_doors(self) -> None:
        doors = [drawn(seed).door for seed in range(1, 1001)]

        assert doors.count("slurmrestd") == 900
        assert {door: doors.count(door) for door in OTHER_DOORS} == dict.fromkeys(OTHER_DOORS, 25)

    @pytest.mark.parametrize(
        "happened,counts",
        [
            ((("submit", "429"), ("probe", "500"), ("watch", "410")), True),
            ((("lease", "kill-after"), ("probe", "500"), ("watch", "410")), True),
            ((("listing", "429"), ("probe", "500"), ("watch", "410")), False),
            ((("submit", "429"), ("submit", "500")), False),
        ],
        ids=["at a submit", "a kill", "nothing grave", "too few"],
    )
    def test_a_run_counts_where_enough_happened(self, happened: Sequence[tuple[str, str]], counts: bool) -> None:
        mishaps = tuple(Mishap(Kind(kind), number, Fault(fault)) for number, (kind, fault) in enumerate(happened))
        ran = Ran(Plan(1, mishaps), Verdict())
        assert not ran.counts

        ran.plan.happened = list(mishaps)

        assert ran.counts is counts

    def test_events_count_as_mishaps_do(self) -> None:
        ran = Ran(Plan(1, (), happened=[Mishap(Kind.SUBMIT, 1, Fault.BUSY)]), Verdict(), ("held", "purged"))

        assert ran.counts

    def test_a_mishap_happens_to_its_call_and_once(self) -> None:
        plan = Plan(1, (Mishap(Kind.SUBMIT, 2, Fault.BUSY), Mishap(Kind.WATCH, 1, Fault.FREEZE)))

        assert (plan.waits_for(Kind.WATCH), plan.waits_for(Kind.LEASE)) == (True, False)
        assert [plan.next(Kind.SUBMIT) for _ in range(4)] == [None, Fault.BUSY, None, None]
        assert plan.next(Kind.WATCH) is Fault.FREEZE
        assert not plan.waits_for(Kind.WATCH)
        assert [str(each) for each in plan.happened] == ["submit 2: 429", "watch 1: freeze"]

    def test_a_sample_is_a_commits_and_quick(self) -> None:
        plans = sampled("c0ffee")

        assert plans == sampled("c0ffee")
        assert len({plan.seed for plan in plans}) == SAMPLE
        assert not any(each.fault in SLOW for plan in plans for each in plan.mishaps)
        assert {plan.door for plan in plans} == {"slurmrestd"}
        assert [plan.seed for plan in sampled("decaf")] != [plan.seed for plan in plans]

    @pytest.mark.parametrize("words,found", [("3", [1, 2, 3]), ("4-5", [4, 5])])
    def test_seeds_are_a_number_or_two(self, words: str, found: list[int]) -> None:
        assert list(seeds(words)) == found

    @pytest.mark.parametrize("words", ["", "a", "1-", "-1", "1-2-3"])
    def test_other_seeds_are_refused(self, words: str) -> None:
        with pytest.raises(SandboxError, match="no seeds"):
            seeds(words)


class TestRecord:
    @staticmethod
    def plan(seed: int) -> Plan:
        plan = drawn(seed)
        plan.happened = list(plan.mishaps)
        return plan

    def test_runs_of_one_tree_add_up(self, tmp_path: Path) -> None:
        runs, bad = tmp_path / "docs" / "runs.jsonl", Verdict(lost=["job-1 is gone"], submitted_twice=["a", "b"])
        for tried, seed, verdict in (
            ("new", 1, Verdict()),
            ("new", 2, bad),
            ("new", 2, Verdict()),
            ("old", 3, Verdict(wrong_end=["x"])),
        ):
            record.append(record.row(tried, Ran(self.plan(seed), verdict)), runs)
        record.append(record.row("new", Ran(drawn(4), Verdict())), runs)

        assert record.summed("none", runs) == record.Sum(0, {})
        assert record.summed("none", tmp_path / "missing") == record.Sum(0, {})
        found = record.summed("new", runs)
        assert found.runs == 2, "a seed counts once, and one to whom nothing happened does not"
        assert (
            str(found) == "2 runs: submittedTwice 2, submittedAgain 0, executedTwice 0, orphans 0, lost 1, wrongEnd 0"
        )

    def test_what_was_tried_has_one_name(self) -> None:
        assert record.key() == record.key()
        assert re.fullmatch(r"[0-9a-f]{16}", record.key())


class TestCalls:
    @pytest.mark.parametrize(
        "driver,method,path,kind",
        [
            ("slurmrestd", "POST", "/slurm/v0.0.45/job/submit", Kind.SUBMIT),
            ("slurmrestd", "GET", "/slurm/v0.0.45/jobs/state/?job_id=7", Kind.LISTING),
            ("slurmrestd", "GET", "/slurm/v0.0.45/job/7", Kind.RECORD),
            ("slurmrestd", "DELETE", "/slurm/v0.0.45/job/7", Kind.CANCEL),
            ("slurmrestd", "GET", "/slurmdb/v0.0.45/jobs/?job_name=x", Kind.ACCOUNTING),
            ("slurmrestd", "GET", "/slurmdb/v0.0.45/clusters", Kind.PROBE),
            ("slurmrestd", "GET", "/slurm/v0.0.45/licenses", Kind.PROBE),
            ("firecrest", "POST", "/compute/sandbox/jobs", Kind.SUBMIT),
            ("firecrest", "GET", "/compute/sandbox/jobs?time_window=1h", Kind.LISTING),
            ("firecrest", "GET", "/compute/sandbox/jobs/7", Kind.RECORD),
            ("firecrest", "DELETE", "/compute/sandbox/jobs/7", Kind.CANCEL),
            ("firecrest", "GET", "/status/systems", Kind.PROBE),
            ("unicore", "POST", "/rest/core/jobs", Kind.SUBMIT),
            ("unicore", "GET", "/rest/core/jobs?tags=x", Kind.LISTING),
            ("unicore", "GET", "/rest/core/jobs/abc-def", Kind.RECORD),
            ("unicore", "POST", "/rest/core/jobs/abc-def/actions/abort", Kind.CANCEL),
            ("unicore", "GET", "/rest/core?fields=client", Kind.PROBE),
            ("arc", "POST", "/arex/rest/1.0/jobs?action=new", Kind.SUBMIT),
            ("arc", "GET", "/arex/rest/1.0/jobs", Kind.LISTING),
            ("arc", "POST", "/arex/rest/1.0/jobs?action=info", Kind.RECORD),
            ("arc", "POST", "/arex/rest/1.0/jobs?action=kill", Kind.CANCEL),
            ("arc", "GET", "/arex/rest/1.0/info", Kind.PROBE),
            ("kubernetes", "PATCH", "/apis/passerelle.dev/v1alpha1/namespaces/a/trainingjobs/b/status", Kind.PATCH),
            ("kubernetes", "PATCH", "/apis/passerelle.dev/v1alpha1/sites/b/status", Kind.READ),
            ("kubernetes", "GET", "/apis/passerelle.dev/v1alpha1/trainingjobs?watch=true", Kind.WATCH),
            ("kubernetes", "PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", Kind.LEASE),
            ("kubernetes", "GET", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", Kind.READ),
        ],
    )
    def test_a_call_is_known_by_its_request(self, driver: str, method: str, path: str, kind: Kind) -> None:
        kind_of = {**BY_DRIVER, "kubernetes": of_kubernetes}[driver]

        assert kind_of(make_mocked_request(method, path)) is kind


@pytest.mark.parametrize(
    "door, ids",
    [
        ("slurmrestd", ("4711", "12")),
        ("ssh", ("4711", "12")),
        ("firecrest", ("4711", "12")),
        ("arc", ()),
        ("unicore", ()),
    ],
)
def test_a_jobs_id_counts_where_it_is_slurms(door: str, ids: tuple[str, ...]) -> None:
    status = {
        "conditions": [
            {"type": "Finished", "status": "True"},
            {"type": "Succeeded", "status": "False", "reason": "Failed"},
        ],
        "attempts": [{"number": 1, "jobId": "4711"}, {"number": 2, "jobId": "12"}, {"number": 3}],
    }

    assert told_by(status, door) == Told(finished=True, succeeded="False", reason="Failed", attempts=3, job_ids=ids)


class Server:
    """What stands behind the proxy."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.jobs = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.query.get("watch") == "true":
            answer = web.StreamResponse()
            await answer.prepare(request)
            for number in range(3):
                await answer.write(f'{{"event": {number}}}\n'.encode())
                await asyncio.sleep(0.05)
            return answer
        if request.path.startswith("/records"):
            job = {"name": "psr-a-1", "user_name": "ours", "cluster": "here"}
            return web.json_response({"jobs": [job], "meta": {"slurm": {"cluster": "here"}}})
        self.jobs += 1
        return web.json_response({"jobs": list(range(self.jobs)), "errors": []})


class Between:
    """The proxy, and who asks through it."""

    def __init__(self) -> None:
        self.plan = Plan(1, ())
        self.killed = 0
        self.leader: list[str] = []
        self.told: list[tuple[Kind, int]] = []
        self.hears = asyncio.Event()
        self.hears.set()
        self.server = Server()
        self.client: httpx.AsyncClient

    def kill(self) -> None:
        self.killed += 1

    def sleep(self, seconds: float) -> None:
        self.leader.append(f"sleeps {seconds:.0f} s")

    def upgrade(self) -> None:
        self.leader.append("is asked to end")

    def next(self, kind: Kind, fault: Fault) -> None:
        self.plan = Plan(1, (Mishap(kind, 1, fault),))

    async def ask(self, method: str = "GET", path: str = "/slurm/v0.0.45/jobs/") -> httpx.Response:
        return await self.client.request(method, path)


@pytest.fixture
async def between() -> AsyncIterator[Between]:
    made = Between()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.server.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    door = Proxy(
        f"http://127.0.0.1:{port}",
        lambda _: made.plan,
        lambda request: of_kubernetes(request) if request.path.startswith("/apis") else of_slurmrestd(request),
        made,
        told=lambda kind, status: made.told.append((kind, status)),
        hears=made.hears,
    )
    await door.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{door.port}", timeout=2.0) as client:
        made.client = client
        yield made
    await door.stop()
    await runner.cleanup()


SUBMIT = "/slurm/v0.0.45/job/submit"


class TestProxy:
    async def test_what_no_plan_hits_goes_through(self, between: Between) -> None:
        answer = await between.ask()

        assert (answer.status_code, answer.json()) == (200, {"jobs": [0], "errors": []})
        assert between.server.asked == ["GET /slurm/v0.0.45/jobs/"]

    @pytest.mark.parametrize(
        "fault,reached,killed",
        [
            (Fault.LOSE_CALL, 0, 0),
            (Fault.LOSE_ANSWER, 1, 0),
            (Fault.KILL_BEFORE, 0, 1),
            (Fault.KILL_AFTER, 1, 1),
            (Fault.CUT_ANSWER, 1, 0),
        ],
    )
    async def test_an_answer_that_never_comes(self, between: Between, fault: Fault, reached: int, killed: int) -> None:
        between.next(Kind.SUBMIT, fault)

        with pytest.raises(httpx.TransportError):
            await between.ask("POST", SUBMIT)

        assert (len(between.server.asked), between.killed) == (reached, killed)
        assert (await between.ask("POST", SUBMIT)).status_code == 200, "it happens once"

    @pytest.mark.parametrize(
        "fault,status", [("429", 429), ("500", 500), ("502", 502), ("503", 503), ("redirect", 302)]
    )
    async def test_a_refusal_never_reaches_the_server(self, between: Between, fault: str, status: int) -> None:
        between.next(Kind.LISTING, Fault(fault))

        assert (await between.ask()).status_code == status
        assert between.server.asked == []

    async def test_a_call_that_is_sent_twice(self, between: Between) -> None:
        between.next(Kind.SUBMIT, Fault.SEND_TWICE)

        assert (await between.ask("POST", SUBMIT)).json()["jobs"] == [0, 1]
        assert len(between.server.asked) == 2

    async def test_answers_that_lie(self, between: Between) -> None:
        assert (await between.ask()).json()["jobs"] == [0]
        between.next(Kind.LISTING, Fault.OLD_ANSWER)
        assert (await between.ask()).json()["jobs"] == [0]
        between.next(Kind.LISTING, Fault.EMPTY_ANSWER)
        assert (await between.ask()).json() == {"jobs": [], "errors": []}
        between.next(Kind.LISTING, Fault.GARBLE_ANSWER)
        with pytest.raises(json.JSONDecodeError):
            (await between.ask()).json()
        assert len((await between.ask()).json()["jobs"]) == 5

    async def test_a_late_answer(self, between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "DELAY_SECONDS", 0.01)
        between.next(Kind.LISTING, Fault.DELAY)

        assert (await between.ask()).status_code == 200

    @pytest.mark.parametrize(
        "fault,said", [(Fault.SLEEP, "sleeps 13 s"), (Fault.UPGRADE, "is asked to end")], ids=lambda each: each
    )
    async def test_the_leader_is_away_and_its_answer_comes(self, between: Between, fault: Fault, said: str) -> None:
        between.next(Kind.SUBMIT, fault)

        assert (await between.ask("POST", SUBMIT)).status_code == 200
        assert between.leader == [said]
        assert between.told == [(Kind.SUBMIT, 200)]

    async def test_a_call_that_comes_when_its_sender_is_dead(
        self, between: Between, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(room._HELD, Fault.KILL_LATE, 0.05)  # the real one is for other operators
        between.next(Kind.SUBMIT, Fault.KILL_LATE)

        with pytest.raises(httpx.TransportError):
            await between.ask("POST", SUBMIT)
        assert (between.server.asked, between.killed) == ([], 1)
        assert (between.plan.on_their_way, between.plan.arrived_at) == (1, -math.inf)
        while between.plan.on_their_way:  # noqa: ASYNC110 -- of a real socket
            await asyncio.sleep(0.01)

        assert between.server.asked == [f"POST {SUBMIT}"]
        assert time.monotonic() - between.plan.arrived_at < 5

    async def test_answers_of_others(self, between: Between) -> None:
        between.plan = Plan(1, (Mishap(Kind.PROBE, 1, Fault.OTHER_USER), Mishap(Kind.PROBE, 2, Fault.OTHER_CLUSTER)))
        answers = [(await between.ask(path="/records")).json() for _ in range(3)]

        assert answers[0]["jobs"] == [{"name": "elsewhere", "user_name": "elsewhere", "cluster": "here"}]
        assert answers[1]["jobs"] == [{"name": "elsewhere", "user_name": "ours", "cluster": "elsewhere"}]
        assert [each["meta"]["slurm"]["cluster"] for each in answers] == ["here", "elsewhere", "here"]
        assert answers[2]["jobs"][0]["name"] == "psr-a-1"

    async def test_an_expired_watch(self, between: Between) -> None:
        between.next(Kind.WATCH, Fault.EXPIRED)

        told = (await between.ask(path="/apis/x?watch=true")).json()

        assert (told["type"], told["object"]["code"]) == ("ERROR", 410)
        assert between.server.asked == []

    @pytest.mark.parametrize("fault", [None, Fault.FREEZE, Fault.CUT_ANSWER])
    async def test_a_watch_comes_as_it_is_until_it_freezes_or_is_cut(
        self, between: Between, fault: Fault | None
    ) -> None:
        if fault is not None:
            between.next(Kind.WATCH, fault)
        lines: list[str] = []

        async def read() -> None:
            async with between.client.stream("GET", "/apis/x?watch=true") as answer:
                lines.extend([line async for line in answer.aiter_lines()])

        if fault is None:
            await read()
            assert len(lines) == 3
        else:
            with pytest.raises(httpx.TransportError):  # of a frozen one nothing is heard, until the client gives up
                await read()

    async def test_a_watch_stands_still_while_nobody_is_to_hear(self, between: Between) -> None:
        between.hears.clear()

        with pytest.raises(httpx.ReadTimeout):
            async with between.client.stream("GET", "/apis/x?watch=true", timeout=0.3) as answer:
                await answer.aread()
        assert (await between.ask()).status_code == 200, "what is no watch goes through"

        between.hears.set()
        assert (await between.ask(path="/apis/x?watch=true")).text.count("\n") == 3


async def test_one_connection_is_shown_a_wrong_certificate(tmp_path: Path) -> None:
    made, leader = Certificates.made(tmp_path), Between()
    plan = Plan(1, (Mishap(Kind.PROBE, 1, Fault.CERTIFICATE),))
    way = Way({}, {"url": "http://127.0.0.1:9/base"})
    door = gate(way, plan, leader, made)
    await door.start()
    trust = ssl.create_default_context(cadata=made.authority.decode())
    said = []
    async with httpx.AsyncClient(base_url=f"https://localhost:{door.port}", verify=trust, timeout=5.0) as client:
        for _ in range(2):
            with pytest.raises(httpx.TransportError) as caught:
                await client.get("/x")
            said.append(str(caught.value))
    await door.stop()

    assert "CERTIFICATE_VERIFY_FAILED" not in said[0]
    assert "CERTIFICATE_VERIFY_FAILED" in said[1]


class TestWire:
    """Bytes go through an echo: what is sent comes back."""

    @pytest.fixture
    async def echo(self) -> AsyncIterator[int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(100):
                writer.write(piece)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()

    async def say(self, port: int, *words: bytes) -> bytes:
        """What comes back, until the connection ends or nothing more is due."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        heard = b""
        try:
            for word in words:
                writer.write(word)
                async with asyncio.timeout(5):
                    piece = await reader.read(100)
                heard += piece
                if not piece:
                    break
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return heard

    @pytest.mark.parametrize(
        "fault,heard,leader,killed",
        [
            (Fault.UPGRADE, b"onetwo", ["is asked to end"], 0),
            (Fault.SLEEP, b"onetwo", ["sleeps 13 s"], 0),
            (Fault.CUT_ANSWER, b"one", [], 0),
            (Fault.LOSE_CALL, b"one", [], 0),
            (Fault.KILL_BEFORE, b"one", [], 1),
        ],
    )
    async def test_a_piece_is_hit(self, echo: int, fault: Fault, heard: bytes, leader: list[str], killed: int) -> None:
        made = Between()
        plan = Plan(1, (Mishap(Kind.PIECE, 3, fault),), "ssh")
        wire = Wire("127.0.0.1", echo, plan, made)
        await wire.start()

        assert await self.say(wire.port, b"one", b"two") == heard
        if fault is Fault.LOSE_CALL:
            assert [await self.say(wire.port, b"x") for _ in range(3)] == [b"", b"", b"x"], "two more are dropped"
        await wire.stop()

        assert (made.leader, made.killed) == (leader, killed)
        assert [str(each) for each in plan.happened] == [f"piece 3: {fault}"]
