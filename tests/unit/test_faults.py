"""What the faults suite itself promises: its plans, its proxy, and that its check sees what must not be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from aiohttp import web

from faults import proxy as room
from faults.__main__ import seeds
from faults.history import Job, Task, Told, check
from faults.mutation import HERE, MUTANTS, Mutant
from faults.plan import ENOUGH, KILLS, POSSIBLE, Fault, Kind, Mishap, Plan, drawn
from faults.proxy import Proxy, of_kubernetes, of_slurmrestd
from passerelle_sandbox.errors import SandboxError

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
        verdict = check([task(wanted)], jobs, ran, {} if told is None else {"job-0": told})

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
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_must_not_be_is_seen(
        self, wanted: str, jobs: list[Job], ran: dict[str, Sequence[str]], told: Told | None, kind: str, said: str
    ) -> None:
        verdict = check([task(wanted)], jobs, ran, {} if told is None else {"job-0": told})

        assert any(said in each for each in getattr(verdict, kind)), verdict
        assert verdict.defects == getattr(verdict, kind), "and it is called by nothing else"


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
            mishaps = drawn(seed).mishaps
            assert len(mishaps) >= ENOUGH
            assert any(each.kind is Kind.SUBMIT or each.fault in KILLS for each in mishaps)

    def test_together_they_have_all_that_may_happen(self) -> None:
        found = {(each.kind, each.fault) for seed in range(1, 1001) for each in drawn(seed).mishaps}

        assert found == {(kind, fault) for kind, faults in POSSIBLE.items() for fault in faults}

    def test_a_mishap_happens_to_its_call_and_once(self) -> None:
        plan = Plan(1, (Mishap(Kind.SUBMIT, 2, Fault.BUSY), Mishap(Kind.WATCH, 1, Fault.FREEZE)))

        assert plan.waits_for_a_watch
        assert [plan.next(Kind.SUBMIT) for _ in range(4)] == [None, Fault.BUSY, None, None]
        assert plan.next(Kind.WATCH) is Fault.FREEZE
        assert not plan.waits_for_a_watch
        assert [str(each) for each in plan.happened] == ["submit 2: 429", "watch 1: freeze"]

    @pytest.mark.parametrize("words,found", [("3", [1, 2, 3]), ("4-5", [4, 5])])
    def test_seeds_are_a_number_or_two(self, words: str, found: list[int]) -> None:
        assert list(seeds(words)) == found

    @pytest.mark.parametrize("words", ["", "a", "1-", "-1", "1-2-3"])
    def test_other_seeds_are_refused(self, words: str) -> None:
        with pytest.raises(SandboxError, match="no seeds"):
            seeds(words)


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
        self.jobs += 1
        return web.json_response({"jobs": list(range(self.jobs)), "errors": []})


class Between:
    """The proxy, and who asks through it."""

    def __init__(self) -> None:
        self.plan = Plan(1, ())
        self.killed = 0
        self.server = Server()
        self.client: httpx.AsyncClient

    def kill(self) -> None:
        self.killed += 1

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
        made.kill,
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
