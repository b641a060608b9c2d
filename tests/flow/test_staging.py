"""Data go to the site before the submit and outputs away after it, whatever dies, stops or stands in the way."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import virtual_time
from little_world import NAMESPACE, SITE, KubeClient, Points, World
from little_world import SECRET as SITE_SECRET
from passerelle.errors import Invalid, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity
from passerelle.gateways.memory import Fate
from passerelle.gateways.memory_files import File
from passerelle.kube import REFUSED
from passerelle.objects import Key, TrainingJob
from passerelle.planning import Planner
from passerelle.sites import Service
from passerelle.staging.worker import Staging
from stories import ORDINARY, Story, finished, running
from stories import told as told_without

CORPUS = bytes(range(256)) * 40
PATH = "/scratch/corpus.bin"
SECRET = {"AWS_ACCESS_KEY_ID": b"AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": b"very-secret"}


def told(story: Story, fate: Fate = ORDINARY, **site_spec: Any) -> None:
    async def prepared(world: World) -> None:
        prepare(world)
        await story(world)

    told_without(prepared, fate, files=True, **site_spec)


def prepare(world: World) -> None:
    world.api.secrets["s3"] = SECRET
    world.store.objects = {"corpus.bin": CORPUS}
    world.site.part_bytes = 1000


def s3(key: str) -> dict[str, Any]:
    return {"s3": {"url": f"s3://bucket/{key}", "secretRef": {"name": "s3"}}}


def data(key: str = "corpus.bin", path: str = PATH, name: str = "corpus") -> dict[str, Any]:
    return {"name": name, "path": path, "source": s3(key)}


def output(path: str = "model.pt") -> dict[str, Any]:
    return {"name": "model", "path": path, "destination": s3("run1/")}


def message(world: World, key: Key, kind: str) -> str:
    return next(str(each["message"]) for each in world.status(key)["conditions"] if each["type"] == kind)


def transfers(world: World, key: Key) -> list[tuple[str, str, str, int, int]]:
    lines = world.status(key).get("transfers", [])
    return [(each["name"], each["direction"], each["state"], each["files"], each["bytes"]) for each in lines]


def slowly(world: World, seconds: float = 20.0) -> None:
    """Each part takes so long."""
    append = world.door.append  # type: ignore[attr-defined]

    class Slow(world.door):  # type: ignore[name-defined,misc]
        async def append(self, path: str, offset: int, content: bytes) -> None:
            await asyncio.sleep(seconds)
            await append(self, path, offset, content)

    world.door = Slow


def test_data_lie_at_the_site_before_the_job_is_submitted() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", data=[data(), {"name": "there", "path": "/scratch/there"}])
        await world.until(lambda: bool(world.states()))

        assert world.site.files[PATH].content == CORPUS, "before the first job"
        await world.until(finished(world, key))
        assert world.condition(key, "DataStaged") == ("True", "Staged")
        assert message(world, key, "DataStaged") == "At the site: 1 file, 10.2 kB."
        assert transfers(world, key) == [("corpus", "In", "Done", 1, len(CORPUS))]
        assert world.condition(key, "OutputsStaged") == ("", "")
        await asyncio.sleep(1)  # events are written behind the pass that they tell of
        assert [reason for _, reason, _ in world.api.events] == [
            "Planned",
            "Staged",
            "Submitted",
            "Running",
            "Completed",
        ]
        assert "very-secret" not in str(world.api.objects) + str(world.api.events)

    told(story)


def test_a_job_without_a_source_says_nothing_of_staging() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", data=[{"name": "there", "path": "/scratch/there"}])
        await world.until(finished(world, key))
        assert world.condition(key, "DataStaged") == ("", "")
        assert "transfers" not in world.status(key) or world.status(key)["transfers"] == []

    told(story)


def test_copying_holds_the_submit_and_is_told_now_and_then() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Submitted")[1] == "Staging")
        assert world.condition(key, "DataStaged") == ("False", "Staging")
        assert world.condition(key, "Reconciling") == ("True", "Staging")
        assert world.status(key)["summary"] == "Accepted"
        begun = len(world.api.writes)
        await asyncio.sleep(100)
        assert 5 <= len(world.api.writes) - begun <= 11, "at most each ten seconds"
        assert " of 10.2 kB copied." in message(world, key, "DataStaged")
        await world.until(finished(world, key))

    async def prepared(world: World) -> None:
        await story(world)

    async def main() -> None:
        world = World(files=True)
        prepare(world)
        slowly(world)
        await world.start_operator()
        try:
            await prepared(world)
        finally:
            await world.end_operator()

    virtual_time.run(main())


def test_dying_at_every_point_costs_no_second_copy_and_no_second_job() -> None:
    async def life(kill_at: int) -> bool:
        """Whether the operator was killed."""
        world = World(files=True)
        prepare(world)
        world.site.fates = lambda _: ORDINARY
        world.site.files = {}
        points = Points(kill_at=kill_at)
        key = world.api.create("a", data=[data()])
        await world.start_operator(points)
        for _ in range(600):
            if points.dead or world.condition(key, "Finished")[0] == "True":
                break
            await asyncio.sleep(0.5)
        await world.end_operator()
        await world.start_operator()
        await world.until(finished(world, key))
        await world.end_operator()

        assert world.site.files[PATH].content == CORPUS
        assert [path for path in world.site.files if path.endswith(".part")] == []
        assert world.states() == ["COMPLETED"]
        assert world.condition(key, "DataStaged")[0] == "True"
        assert world.site.calls.count("append") <= 13, "eleven parts, and at most the one in hand again"
        assert world.store.open == 0
        return points.dead

    killed = list(itertools.takewhile(lambda n: virtual_time.run(life(n)), range(200)))
    assert len(killed) > 25


def test_what_a_person_must_mend_stalls_and_goes_on() -> None:
    async def story(world: World) -> None:
        world.store.refusal = Rejected("The identity has no right.", reason="AccessDenied")
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "AccessDenied"))
        assert message(world, key, "Stalled") == "corpus: The identity has no right."
        assert world.condition(key, "Submitted") == ("False", "AccessDenied")
        assert world.condition(key, "DataStaged") == ("False", "AccessDenied")
        assert world.status(key)["summary"] == "Stalled"
        assert transfers(world, key) == [("corpus", "In", "Failed", 0, 0)]
        events = len(world.api.events)
        await asyncio.sleep(1000)
        assert len(world.api.events) == events, "it is said once"
        assert world.states() == []

        world.store.refusal = None
        await world.until(finished(world, key))
        assert world.condition(key, "Stalled") == ("", "")

    told(story)


def test_a_credential_that_is_gone_is_told_while_data_wait_and_they_go_at_once_when_it_is_back() -> None:
    async def story(world: World) -> None:
        world.store.refusal = Unavailable("The store is away.", reason="Unreachable")
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "Staging"))
        assert world.condition(key, "Reconciling") == ("True", "Staging")
        await asyncio.sleep(100)
        secret = world.api.secrets.pop(SITE_SECRET)
        world.store.refusal = None
        await asyncio.sleep(5)
        for kind, status in {"Submitted": "False", "DataStaged": "False", "Ready": "False", "Stalled": "True"}.items():
            assert world.condition(key, kind) == (status, "SecretMissing"), kind
        assert world.condition(key, "Reconciling") == ("", "")
        assert world.status(key)["summary"] == "Stalled"
        said, calls = len(world.api.events), len(world.store.calls)
        await asyncio.sleep(1000)
        assert (len(world.api.events), len(world.store.calls)) == (said, calls), "it is said once, and nothing tried"

        world.api.secrets[SITE_SECRET] = secret
        await world.until(lambda: world.service.trouble is None)
        await world.until(lambda: bool(world.states()), 5)
        assert world.condition(key, "DataStaged") == ("True", "Staged")
        await world.until(finished(world, key))

    told(story)


def test_outputs_that_wait_for_a_credential_need_a_person() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()])
        leaves(world, key)
        await world.until(running(world, key))
        world.store.refusal = Unavailable("The store is away.", reason="Unreachable")
        await world.until(finished(world, key))
        secret = world.api.secrets.pop(SITE_SECRET)
        await asyncio.sleep(5)
        assert world.condition(key, "OutputsStaged") == ("False", "SecretMissing")
        assert world.condition(key, "Stalled") == ("True", "SecretMissing")
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        world.store.refusal = None
        world.api.secrets[SITE_SECRET] = secret
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("True", "Staged"))
        assert world.condition(key, "Stalled") == ("", "")

        world.api.secrets.pop(SITE_SECRET)
        await asyncio.sleep(100)
        assert world.condition(key, "Ready")[0] == "True", "nothing of this run waits for the site any more"

    told(story)


def test_what_nobody_can_help_is_gone_over() -> None:
    async def story(world: World) -> None:
        world.store.refusal = Unavailable("The store is away.", reason="Unreachable")
        key = world.api.create("a", data=[data()])
        await world.until(lambda: "The store is away." in message_or_none(world, key))
        assert world.condition(key, "DataStaged") == ("False", "Staging")
        assert world.condition(key, "Stalled") == ("", "")
        await asyncio.sleep(600)
        world.store.refusal = None
        await world.until(finished(world, key))

    told(story)


def message_or_none(world: World, key: Key) -> str:
    lines = world.status(key).get("conditions", [])
    return next((str(each["message"]) for each in lines if each["type"] == "DataStaged"), "")


def test_a_missing_secret_is_named_and_waited_for() -> None:
    async def story(world: World) -> None:
        del world.api.secrets["s3"]
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "SecretNotFound"))
        assert f"There is no Secret named 's3' in namespace {NAMESPACE}" in message(world, key, "Stalled")
        world.api.secrets["s3"] = SECRET
        await world.until(finished(world, key))

    told(story)


def test_no_data_are_copied_with_a_secret_of_the_operator_s_own_namespace() -> None:
    async def story(world: World) -> None:
        world.home = NAMESPACE
        await world.end_operator()
        await world.start_operator()
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "SecretForbidden"))

        assert "are the operator's own, and no TrainingJob gets one" in message(world, key, "Stalled")
        assert PATH not in world.site.files

    told(story)


def test_a_secret_that_may_not_be_read_says_who_gives_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    read = KubeClient.secret

    async def forbidden(client: KubeClient, namespace: str, name: str) -> dict[str, bytes]:
        if name == "s3":
            raise Unavailable("403", reason=REFUSED)
        return await read(client, namespace, name)

    monkeypatch.setattr(KubeClient, "secret", forbidden)

    async def story(world: World) -> None:
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "SecretForbidden"))
        assert "adds team-a to the chart's value secretNamespaces" in message(world, key, "Stalled")

    told(story)


def test_a_suspended_site_is_sent_nothing() -> None:
    async def story(world: World) -> None:
        await world.edit_site(suspend=True)
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Submitted")[1] == "SiteSuspended")
        await asyncio.sleep(100)
        assert world.store.calls == []
        assert world.condition(key, "DataStaged") == ("False", "SiteSuspended")
        await world.edit_site(suspend=False)
        await world.until(finished(world, key))

    told(story)


def test_what_lies_in_the_way_is_not_written_over() -> None:
    async def story(world: World) -> None:
        world.site.files[PATH] = File(b"mine")
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Stalled") == ("True", "DataInTheWay"))
        assert world.site.files[PATH].content == b"mine"
        del world.site.files[PATH]
        await world.until(finished(world, key))
        assert world.site.files[PATH].content == CORPUS

    told(story)


def test_what_carries_data_is_charged_to_the_runs_account(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[str, str]] = set()
    ask = Staging.ask

    def noted(self: Staging, uid: str, namespace: str, steps: Any, *more: Any, **words: Any) -> Any:
        asked.update((step.direction, step.account) for step in steps)
        return ask(self, uid, namespace, steps, *more, **words)

    monkeypatch.setattr(Staging, "ask", noted)

    async def story(world: World) -> None:
        world.site.files[f"{PATH}.out"] = File(b"model")
        key = world.api.create("a", data=[data()], outputs=[output(f"{PATH}.out")])
        await world.until(lambda: world.condition(key, "OutputsStaged")[0] == "True")
        assert asked == {("In", "startup"), ("Out", "startup")}

    told(story)


def test_a_gateway_that_carries_no_files_is_told_at_once() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create("a", data=[data()]), world.api.create("b", outputs=[output()])]
        for key in keys:
            await world.until(lambda key=key: world.condition(key, "Accepted") == ("False", "NeedsFiles"))  # type: ignore[misc]
            assert "copies no data" in message(world, key, "Accepted")
        await asyncio.sleep(100)
        assert world.states() == []

    told_without(story)


def test_copies_that_would_meet_are_refused() -> None:
    async def story(world: World) -> None:
        inside = data("other.bin", f"{PATH}/inside", "inside")
        key = world.api.create("a", data=[data(), inside])
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "CopiesOverlap"))
        assert message(world, key, "Accepted") == (
            "data: corpus and inside are both copied to /scratch/corpus.bin; write paths that don't lie within one "
            "another."
        )
        key = world.api.create("b", outputs=[output("a"), output("b") | {"name": "log"}])
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "CopiesOverlap"))
        assert message(world, key, "Accepted") == (
            "outputs: model and log both go to s3://bucket/run1/; write a destination of its own for each, such as "
            "s3://bucket/run1/model/ and s3://bucket/run1/log/."
        )
        await asyncio.sleep(100)
        assert world.store.calls == []
        assert world.states() == []

    told(story)


def test_what_cant_be_planned_is_not_copied_for() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", data=[data()], nodes=1_000)
        await world.until(lambda: world.condition(key, "Accepted")[0] == "False")
        await asyncio.sleep(100)
        assert world.store.calls == []

    told(story)


def test_suspended_nothing_is_copied_and_to_go_on_goes_on() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", data=[data()], suspend=True)
        await world.until(lambda: world.condition(key, "Accepted")[0] == "True")
        await asyncio.sleep(100)
        assert world.store.calls == []
        assert world.condition(key, "DataStaged") == ("False", "Suspended")

        world.api.edit(key, suspend=False)
        await world.until(lambda: bool(world.site.files))
        world.api.edit(key, suspend=True)
        await asyncio.sleep(100)
        there = dict(world.site.files)
        assert PATH not in there
        await asyncio.sleep(100)
        assert world.site.files == there
        assert world.condition(key, "DataStaged") == ("False", "Suspended")

        world.api.edit(key, suspend=False)
        await world.until(finished(world, key))
        assert world.site.files[PATH].content == CORPUS
        assert world.site.calls.count("append") <= 12

    async def main() -> None:
        world = World(files=True)
        prepare(world)
        slowly(world)
        world.site.fates = lambda _: ORDINARY
        await world.start_operator()
        try:
            await story(world)
        finally:
            await world.end_operator()

    virtual_time.run(main())


def test_a_deleted_job_leaves_nothing_half_named() -> None:
    async def main() -> None:
        world = World(files=True)
        prepare(world)
        slowly(world)
        await world.start_operator()
        key = world.api.create("a", data=[data()])
        await world.until(lambda: bool(world.site.files))
        world.api.delete(key)
        assert key not in world.api.objects, "nothing holds it"
        await world.until(lambda: not world.site.files)
        await world.end_operator()
        assert world.store.open == 0

    virtual_time.run(main())


@pytest.mark.parametrize("held", [False, True])
def test_a_suspended_job_that_is_deleted_leaves_nothing_half_named(held: bool) -> None:
    async def main() -> None:
        world = World(files=True)
        prepare(world)
        slowly(world)
        await world.start_operator()
        key = world.api.create("a", data=[data()])
        await world.until(lambda: bool(world.site.files))
        if held:  # by a finalizer of somebody else
            world.api.objects[key]["metadata"]["finalizers"] = ["foregroundDeletion"]
        else:
            world.api.edit(key, suspend=True)
            await asyncio.sleep(30)
        world.api.delete(key)
        await asyncio.sleep(30)
        if held:
            version = world.api.objects[key]["metadata"]["resourceVersion"]
            world.api.patch(key, {"metadata": {"finalizers": [], "resourceVersion": version}}, "metadata")
        await world.until(lambda: not world.site.files)
        await world.end_operator()

    virtual_time.run(main())


def test_another_job_does_not_touch_what_a_running_one_reads() -> None:
    async def story(world: World) -> None:
        world.store.objects["other.bin"] = CORPUS[::-1]
        first = world.api.create("first", data=[data()])
        await world.until(running(world, first))
        second = world.api.create("second", data=[data("other.bin")])
        await world.until(lambda: world.condition(second, "Stalled") == ("True", "DataInTheWay"))
        assert "Write another path" in message(world, second, "Stalled")
        assert world.site.files[PATH].content == CORPUS

    told(story, Fate(queued=3, running=300))


def test_data_that_were_purged_while_the_job_waited_are_copied_again() -> None:
    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(running(world, first))
        second = world.api.create("second", data=[data()])
        await world.until(lambda: world.condition(second, "DataStaged")[0] == "True")
        world.site.files.clear()
        await world.until(running(world, second))
        assert world.site.files[PATH].content == CORPUS

    told(story, Fate(queued=3, running=300), maxJobs=1)


def test_a_site_that_was_turned_while_the_job_waited_gets_the_data() -> None:
    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(running(world, first))
        second = world.api.create("second", data=[data()])
        await world.until(lambda: world.condition(second, "DataStaged")[0] == "True")
        world.site.files.clear()
        await world.edit_site(runRoot="/elsewhere/runs")
        await world.until(running(world, second))
        assert world.site.files[PATH].content == CORPUS

    told(story, Fate(queued=3, running=300), maxJobs=1)


def test_a_credential_that_is_refused_while_the_job_is_planned_submits_nothing_without_its_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, refused = Planner.plan, 0

    async def planned(self: Planner, job: TrainingJob, service: Service | None, *more: Any) -> Any:
        nonlocal refused
        made = await plan(self, job, service, *more)
        if service is not None and service.watch is not None and service.watch.seen(job.run).complete and not refused:
            refused += 1
            service.watch._fail(Unauthorized("The token has expired.", reason="TokenRefused"))
        return made

    monkeypatch.setattr(Planner, "plan", planned)

    async def story(world: World) -> None:
        key = world.api.create("a", data=[data()])
        await world.until(lambda: bool(world.states()))
        assert refused == 1
        assert world.site.files[PATH].content == CORPUS, "before the first job"
        await world.until(finished(world, key))

    told(story)


def test_what_lies_where_the_site_leads_later_is_no_output_of_the_run() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output("/scratch/model.pt")])
        await world.until(running(world, key))
        world.site.files["/scratch/model.pt"] = File(b"of the run")
        world.store.refusal = Unavailable("The store is away.", reason="Unreachable")
        await world.until(finished(world, key))
        await asyncio.sleep(5)
        home = world.api.sites[SITE]["spec"]["gateway"]
        other = world.another("https://other/", cluster="other")
        other.files["/scratch/model.pt"] = File(b"of somebody else")
        await world.edit_site(gateway={**home, "url": "https://other/"})
        world.store.refusal = None
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("False", "IdentityChanged"))
        assert message(world, key, "OutputsStaged").endswith("; point it back.")
        await asyncio.sleep(400)
        assert "run1/model.pt" not in world.store.objects
        await world.edit_site(gateway=home)
        await world.until(lambda: world.condition(key, "OutputsStaged")[0] == "True")
        assert world.store.objects["run1/model.pt"] == b"of the run"

    told(story)


def test_outputs_are_asked_for_as_the_run_s_own_user_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that starts while the site is silent doesn't know yet where the Site leads."""
    asked: list[object] = []
    ask = Staging.ask

    def noted(self: Staging, uid: str, namespace: str, steps: Any, run_root: str, where: Any, **words: Any) -> Any:
        asked.append(where)
        return ask(self, uid, namespace, steps, run_root, where, **words)

    monkeypatch.setattr(Staging, "ask", noted)

    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()])
        leaves(world, key)
        world.store.refusal = Unavailable("The store is away.", reason="Unreachable")
        await world.until(finished(world, key))
        asked.clear()
        await world.end_operator()
        await world.start_operator()
        await asyncio.sleep(30)
        (attempt,) = world.status(key)["attempts"]
        assert set(asked) == {Identity(attempt["cluster"], attempt["user"])}

    told(story)


def test_a_copy_that_is_under_way_goes_on_nowhere_else() -> None:
    async def story(world: World) -> None:
        slowly(world, 5.0)
        await world.end_operator()
        await world.start_operator()
        key = world.api.create("a", data=[data()])
        await world.until(lambda: any(name.endswith(".part") for name in world.site.files))
        part = next(name for name in world.site.files if name.endswith(".part"))
        home = world.api.sites[SITE]["spec"]["gateway"]
        other = world.another("https://other/", cluster="other")
        other.part_bytes = 1000
        other.files[part] = File(CORPUS[:1000])
        await world.edit_site(gateway={**home, "url": "https://other/"})
        await world.until(lambda: bool(world.states(other)), 1000)
        assert other.files[PATH].content == CORPUS
        assert not world.states(), "the job runs where its data are"
        await world.until(finished(world, key))

    told(story)


def test_an_account_that_the_site_gives_later_is_charged_for_what_carries_data(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = Staging.ask

    def noted(self: Staging, uid: str, namespace: str, steps: Any, *more: Any, **words: Any) -> Any:
        asked.extend(step.account for step in steps)
        return ask(self, uid, namespace, steps, *more, **words)

    monkeypatch.setattr(Staging, "ask", noted)

    async def story(world: World) -> None:
        slowly(world)
        await world.end_operator()
        await world.start_operator()
        key = world.api.create("a", data=[data()])
        await world.until(lambda: world.condition(key, "Submitted") == ("False", "Staging"))
        await asyncio.sleep(20)
        admission = [{**each, "accounts": ["other"]} for each in world.api.sites[SITE]["spec"]["admission"]]
        await world.edit_site(admission=admission)
        await asyncio.sleep(20)
        assert (asked[0], asked[-1]) == ("startup", "other")
        await world.end_operator()
        await world.start_operator()
        asked.clear()
        await asyncio.sleep(60)
        assert set(asked) == {"other"}, "an operator that takes over knows it, too"

    told(story)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("purged", [False, True])
def test_a_later_attempt_finds_its_data(restarts: bool, purged: bool) -> None:
    """Purged, they are copied again; else the run goes on with the version that it began with."""

    async def story(world: World) -> None:
        world.site.fates = lambda _: Fate(running=200, end="NODE_FAIL", exit_code=1)
        key = world.api.create("a", data=[data()], retry={"maxAttempts": 2})
        await world.until(running(world, key))
        world.store.objects["corpus.bin"] = CORPUS[::-1]
        if purged:
            world.site.files.clear()
        if restarts:
            await world.end_operator()
            await world.start_operator()
        await world.until(lambda: len(world.status(key)["attempts"]) == 2)
        assert world.site.files[PATH].content == (CORPUS[::-1] if purged else CORPUS)
        await world.until(finished(world, key))
        assert world.condition(key, "DataStaged") == ("True", "Staged")
        assert message(world, key, "DataStaged") == "At the site: 1 file, 10.2 kB."
        assert transfers(world, key) == [("corpus", "In", "Done", 1, len(CORPUS))]

    told(story)


def test_while_a_job_waits_for_its_turn_its_data_are_copied() -> None:
    async def story(world: World) -> None:
        first = world.api.create("first")
        await world.until(running(world, first))
        second = world.api.create("second", data=[data()])
        await world.until(lambda: world.condition(second, "Submitted")[1] == "MaxJobs")
        assert world.condition(second, "DataStaged") == ("True", "Staged")
        await world.until(running(world, second))

    told(story, Fate(queued=3, running=300), maxJobs=1)


def test_two_jobs_that_want_the_same_copy_it_once() -> None:
    async def story(world: World) -> None:
        keys = [world.api.create(name, data=[data()]) for name in "abc"]
        for key in keys:
            await world.until(finished(world, key))
        assert world.site.calls.count("append") == 11

    told(story)


def leaves(world: World, key: Key, content: bytes = b"weights" * 300) -> str:
    """What the run left, by path."""
    path = f"/scratch/passerelle/{world.run_of(key).key}/model.pt"
    world.site.files[path] = File(content)
    return path


def test_outputs_go_away_when_the_run_has_succeeded() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()], ttlSecondsAfterFinished=30)
        leaves(world, key)
        await world.until(running(world, key))
        assert world.condition(key, "OutputsStaged") == ("False", "RunNotEnded")
        assert world.store.objects == {"corpus.bin": CORPUS}
        world.store.refusal = Invalid("There is no bucket.", reason="NoSuchBucket")
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("False", "NoSuchBucket"))
        assert world.condition(key, "Succeeded") == ("True", "Completed")
        assert world.condition(key, "Finished")[0] == "True"
        assert world.condition(key, "Stalled") == ("True", "NoSuchBucket")
        assert world.condition(key, "Ready")[0] == "False"
        await asyncio.sleep(300)
        assert key in world.api.objects, "it is kept until its outputs are away"

        world.store.refusal = None
        await world.until(lambda: key not in world.api.objects)
        assert world.store.objects["run1/model.pt"] == b"weights" * 300
        await asyncio.sleep(1)  # events are written behind the pass that they tell of
        assert ("Normal", "Staged", "In the object store: 1 file, 2.1 kB.") in world.api.events

    told(story)


def test_outputs_go_once_whoever_dies() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()])
        leaves(world, key)
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("True", "Staged"))
        assert transfers(world, key) == [("model", "Out", "Done", 1, 2100)]
        assert world.condition(key, "Ready")[0] == "True"
        calls = len(world.store.calls)
        await world.end_operator()
        await world.start_operator()
        await asyncio.sleep(100)
        assert len(world.store.calls) == calls, "what is on record as done is not looked at again"

    told(story)


def test_an_operator_that_starts_after_the_end_sends_what_is_left() -> None:
    async def story(world: World) -> None:
        world.store.refusal = Unavailable("away")
        key = world.api.create("a", outputs=[output()])
        leaves(world, key)
        await world.until(finished(world, key))
        await world.end_operator()
        world.store.refusal = None
        await world.start_operator()
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("True", "Staged"))

    told(story)


def test_a_failed_runs_outputs_stay() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()], data=[data()])
        leaves(world, key)
        await world.until(finished(world, key))
        await asyncio.sleep(100)
        assert world.condition(key, "OutputsStaged") == ("False", "RunFailed")
        assert list(world.store.objects) == ["corpus.bin"]

    told(story, Fate(queued=3, running=20, end="FAILED", exit_code=1))


def test_an_output_that_is_missing_is_said() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", outputs=[output()])
        await world.until(lambda: world.condition(key, "OutputsStaged") == ("False", "OutputMissing"))
        assert "correct the path of model" in message(world, key, "OutputsStaged")

    told(story)
