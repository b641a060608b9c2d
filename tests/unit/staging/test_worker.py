"""Steps are taken until they are done; nobody holds up the others, and what a person must mend is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from little_store import MemoryStore
from passerelle.errors import Invalid, Misaddressed, Rejected, Unauthorized, Unavailable
from passerelle.gateways.base import Identity
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.gateways.purpose import Purpose, purpose
from passerelle.staging import places, worker
from passerelle.staging.door import Door
from passerelle.staging.place import place
from passerelle.staging.places import Places
from passerelle.staging.s3.credential import Access
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.store import Changed, Stored
from passerelle.staging.turns import Turns
from passerelle.staging.worker import Staging

PART = 100


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not look():  # noqa: ASYNC110 -- what it looks at has no event
            await asyncio.sleep(0)


@dataclass
class World:
    store: MemoryStore = field(default_factory=lambda: MemoryStore({"a": b"a" * 950, "b": b"b" * 50}))
    site: Memory = field(default_factory=lambda: Memory(clock=lambda: 0.0, part_bytes=PART))
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[Direction, int]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    begun_at: list[Identity | None] = field(default_factory=list)
    shut: Exception | None = None
    staging: Staging = field(init=False)

    def __post_init__(self) -> None:
        self.staging = Staging(
            "lumi",
            door=self._door,
            read_access=self._access,
            open_store=self._open,
            changed=self.changed.append,
            moved=lambda direction, size: self.moved.append((direction, size)),
            now=lambda: 1000.0,
        )

    def ask(self, uid: str = "uid-1", *steps: Step) -> tuple[Progress, ...]:
        return self.staging.ask(uid, "team", steps or (into("a"), into("b")), "/r")

    async def until(self, state: str, uid: str = "uid-1", *steps: Step) -> tuple[Progress, ...]:
        await eventually(lambda: {each.state for each in self.ask(uid, *steps)} == {state})
        return self.ask(uid, *steps)

    def _door(self, where: Identity | None) -> Door:
        self.begun_at.append(where)
        if self.shut is not None:
            raise self.shut
        return self.site

    async def _access(self, namespace: str, name: str) -> Access:
        self.asked.append((namespace, name))
        if self.refusals:
            raise self.refusals.pop(0)
        return Access(access_key_id="a", secret_access_key="b", endpoint="https://store.example")

    def _open(self, bucket: str, _: Access) -> MemoryStore:
        assert bucket == "bucket"
        self.store.open += 1
        return self.store


def into(key: str, path: str = "") -> Step:
    return Step(
        name=f"data-{key.strip('/')}",
        direction="In",
        path=path or f"/p/{key}",
        place=place(f"s3://bucket/{key}"),
        secret="s3",
    )


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(worker, "FIRST_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(worker, "MENDED_AGAIN_SECONDS", 0.05)
    made = World()
    yield made
    await made.staging.close()
    assert made.store.open == 0, "every connection is closed"


async def test_the_door_is_told_where_a_copy_was_begun() -> None:
    """A Site may be turned between two tries: what lies at the same path elsewhere is somebody's."""
    world = World()
    here = Identity("alps", "ada")
    world.store.refusal = Unavailable("The store is away.")
    world.staging.ask("uid-1", "team", (into("a"),), "/r", here)
    await eventually(lambda: bool(world.begun_at))
    world.store.refusal = None
    world.staging.forget("uid-1", "team")
    await eventually(lambda: not world.staging._dropping)
    assert set(world.begun_at) == {here}


async def test_all_steps_are_taken_and_told(world: World) -> None:
    first = world.ask()
    assert [(each.name, each.state) for each in first] == [("data-a", "Waiting"), ("data-b", "Waiting")]

    done = await world.until("Done")

    assert {path: file.content for path, file in world.site.files.items() if path.startswith("/p/")} == {
        "/p/a": b"a" * 950,
        "/p/b": b"b" * 50,
    }
    assert [(each.moved, each.total, each.began, each.ended) for each in done] == [
        (950, 950, 1000.0, 1000.0),
        (50, 50, 1000.0, 1000.0),
    ]
    assert world.asked == [("team", "s3")] * 2
    assert sum(size for _, size in world.moved) == 1000
    assert set(world.changed) == {"uid-1"}
    calls = len(world.store.calls)
    world.ask()
    await asyncio.sleep(0.01)
    assert len(world.store.calls) == calls, "what is done is done"


async def test_a_cut_is_gone_over_in_silence_and_told_meanwhile(world: World) -> None:
    world.store.cuts = 3
    done = await world.until("Done")
    assert [(each.stalled, each.reason, each.message) for each in done] == [(False, "", "")] * 2


@pytest.mark.parametrize(
    "error",
    [
        Invalid("no bucket", reason="NoSuchBucket"),
        Rejected("no right", reason="AccessDenied"),
        Unauthorized("no key", reason="InvalidAccessKeyId"),
    ],
)
async def test_what_a_person_must_mend_is_said_and_tried_again(world: World, error: Exception) -> None:
    world.refusals = [error]
    await eventually(lambda: world.ask()[0].state == "Failed")
    told = world.ask()[0]
    assert (told.stalled, told.reason, told.message) == (True, getattr(error, "reason", ""), str(error))
    assert "uid-1" in world.changed
    await world.until("Done")


async def test_a_defect_is_told_and_tried_again(world: World) -> None:
    world.refusals = [ValueError("oops")]
    await eventually(lambda: world.ask()[0].state == "Failed")
    assert world.ask()[0].reason == "Defect"
    await world.until("Done")


async def test_a_server_that_is_busy_is_left_alone_as_long_as_it_asks() -> None:
    assert worker._again(Unavailable("busy", retry_after=90.0), 0) == 90.0
    assert worker._again(Unavailable("busy", retry_after=1e9), 0) == worker.LONGEST_WISHED_SECONDS
    assert worker._again(Unavailable("busy"), 3) == 8.0
    assert worker._again(Unavailable("busy"), 30) == worker.LONGEST_AGAIN_SECONDS


async def test_a_stopped_job_rests_where_it_was_and_goes_on(world: World) -> None:
    world.site.cut_appends = 1
    world.ask()
    await eventually(lambda: bool(world.site.files))
    world.staging.stop("uid-1")
    await asyncio.sleep(0.01)
    there = dict(world.site.files)
    await asyncio.sleep(0.01)
    assert world.site.files == there
    await world.until("Done")


@pytest.mark.parametrize("error, told", [(Unavailable("Away."), ""), (Invalid("No bucket."), "No bucket.")])
async def test_a_job_that_goes_on_tells_of_no_trouble_that_only_took_time(
    world: World, error: Exception, told: str
) -> None:
    world.refusals = [error]
    await eventually(lambda: world.ask()[0].message == str(error))
    world.staging.stop("uid-1")

    assert world.ask()[0].message == told


@pytest.mark.parametrize("other", ["run root", "cluster", "user"])
async def test_what_is_done_is_done_for_one_place_and_one_user(world: World, other: str) -> None:
    await world.until("Done")
    here, step = Identity("lumi", "us"), into("a")
    ask = world.staging.ask
    await eventually(lambda: ask("uid-2", "team", [step], "/r", here)[0].done)
    assert ask("uid-2", "team", [step], "/r", None)[0].done, "the site is silent"
    world.site.files.clear()
    there = {"run root": here, "cluster": Identity("leonardo", "us"), "user": Identity("lumi", "them")}[other]
    run_root = "/elsewhere" if other == "run root" else "/r"
    assert not ask("uid-2", "team", [step], run_root, there)[0].done
    await eventually(lambda: ask("uid-2", "team", [step], run_root, there)[0].done)
    assert world.site.files["/p/a"].content == b"a" * 950


async def test_what_was_seen_a_moment_ago_is_not_looked_at_again(world: World) -> None:
    await world.until("Done")
    calls = len(world.site.calls)
    assert world.staging.sure("uid-1")
    assert len(world.site.calls) == calls


@pytest.mark.parametrize("loss", ["file", "receipt", "bytes", "nothing"])
@pytest.mark.parametrize("url", ["a", "many/"])
async def test_before_a_submit_it_is_looked_whether_all_lies_there_still(
    world: World, loss: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.objects |= {f"many/{name}": b"x" * 150 for name in "ab"}
    path = "/p/many/a" if url == "many/" else "/p/a"
    await world.until("Done", "uid-1", into(url))
    moved = len(world.moved)
    if loss == "file":
        del world.site.files[path]
    elif loss == "bytes":
        world.site.files[path] = File(b"x")
    elif loss == "receipt":
        world.site.files = {name: each for name, each in world.site.files.items() if name.startswith("/p/")}
    monkeypatch.setattr(worker, "SURE_SECONDS", -1.0)
    asked, calls, world.changed[:] = len(world.store.calls), len(world.site.calls), []

    assert not world.staging.sure("uid-1")
    await eventually(lambda: "uid-1" in world.changed)
    monkeypatch.setattr(worker, "SURE_SECONDS", 60.0)
    if loss == "bytes":
        await eventually(lambda: world.staging.known("uid-1", [into(url)])[0].reason == "DataInTheWay")  # type: ignore[index]
        assert not world.staging.sure("uid-1")
        return
    await eventually(lambda: world.staging.sure("uid-1"))
    assert (len(world.moved) > moved) == (loss == "file")
    assert path in world.site.files
    if loss == "nothing":
        assert len(world.store.calls) == asked, "the store is not asked"
        assert len(world.site.calls) - calls == 2, "a receipt, and a size"


async def test_a_run_goes_on_with_the_version_that_it_began_with(world: World) -> None:
    await world.until("Done")
    world.store.objects["a"] = b"newer"
    ask = world.staging.ask
    await eventually(lambda: ask("after a restart", "team", [into("a")], "/r", begun=True)[0].done)
    progress = ask("after a restart", "team", [into("a")], "/r", begun=True)[0]
    assert (progress.files, progress.moved, progress.total) == (1, 950, 950)
    await eventually(lambda: ask("new", "team", [into("a")], "/r")[0].reason == "DataInTheWay")


async def test_a_run_goes_on_with_a_directory_that_a_trainer_has_written_into(world: World) -> None:
    world.store.objects |= {f"many/{name}": b"x" * 150 for name in "ab"}
    await world.until("Done", "uid-1", into("many/"))
    world.site.files |= {"/p/many/.cache/index": File(b"made by the trainer"), "/p/many/b.0123.part": File(b"x")}
    world.store.objects["many/b"] = b"newer"
    ask = world.staging.ask
    await eventually(lambda: ask("after a restart", "team", [into("many/")], "/r", begun=True)[0].state != "Waiting")
    told = ask("after a restart", "team", [into("many/")], "/r", begun=True)[0]
    assert (told.state, told.reason, told.files, told.moved, told.total) == ("Done", "", 2, 300, 300)


async def test_a_site_that_is_silent_at_the_look_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.until("Done")
    world.store.objects["a"] = b"newer"
    monkeypatch.setattr(worker, "SURE_SECONDS", -1.0)
    read, cuts = Memory.read, 3

    async def silent(site: Memory, path: str, offset: int, length: int) -> bytes:
        nonlocal cuts
        cuts -= 1
        if cuts >= 0:
            raise Unavailable("The site is silent.")
        return await read(site, path, offset, length)

    monkeypatch.setattr(Memory, "read", silent)
    assert not world.staging.sure("uid-1")
    monkeypatch.setattr(worker, "SURE_SECONDS", 60.0)
    await eventually(lambda: world.ask()[0].message == "The site is silent.")
    await eventually(lambda: world.staging.sure("uid-1"))
    assert [(each.state, each.message, each.moved) for each in world.ask()] == [("Done", "", 950), ("Done", "", 50)]


async def test_a_job_that_rested_long_is_looked_at_again(world: World) -> None:
    await world.until("Done")
    world.staging.stop("uid-1")
    world.site.files.clear()
    await eventually(lambda: bool(world.ask()) and world.staging.sure("uid-1"))
    assert world.site.files["/p/a"].content == b"a" * 950


async def test_a_job_that_rests_and_is_deleted_leaves_nothing_half_named(world: World) -> None:
    world.site.cut_appends = 1_000
    world.ask()
    await eventually(lambda: bool(world.site.files))
    world.staging.stop("uid-1")
    world.staging.forget("uid-1", "team")
    await eventually(lambda: not world.site.files and not world.staging._dropping)


async def test_a_deleted_job_leaves_nothing_half_named(world: World) -> None:
    world.site.cut_appends = 1_000
    world.ask()
    await eventually(lambda: bool(world.site.files))
    world.staging.forget("uid-1", "team")
    await eventually(lambda: not world.site.files and not world.staging._dropping)


async def test_what_grows_under_its_own_name_is_not_in_the_way_of_another_run_root(world: World) -> None:
    world.site.traits = replace(world.site.traits, renames=False)
    world.site.cut_appends = 1_000
    world.ask("uid-1", into("a"))
    await eventually(lambda: bool(world.site.files.get("/p/a", File(b"")).content))
    world.site.cut_appends = 0
    ask = world.staging.ask
    await eventually(lambda: ask("uid-1", "team", [into("a")], "/elsewhere")[0].done)
    assert not any(path.startswith("/r/") for path in world.site.files)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("The site is silent.", reason="SiteSilent", sent=False),
        Misaddressed("Another server answers."),
        Unauthorized("The credential has expired."),
        RuntimeError("The client has been closed."),
    ],
)
@pytest.mark.parametrize("at", ["door", "call"])
async def test_a_site_that_cannot_be_asked_at_the_deletion_is_tidied_up_later(
    world: World, error: Exception, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LONGEST_AGAIN_SECONDS", 0.001)
    world.site.cut_appends = 1_000
    world.ask()
    await eventually(lambda: bool(world.site.files))

    async def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        if at == "door":
            world.shut = error
        else:
            patch.setattr(Memory, "remove", fail)
        world.staging.forget("uid-1", "team")
        await asyncio.sleep(0.02)
        assert world.site.files
        assert world.staging._dropping
    world.shut = None

    await eventually(lambda: not world.site.files and not world.staging._dropping)


async def test_a_site_that_is_silent_for_long_keeps_what_was_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wants the same and is deleted later takes it along."""
    monkeypatch.setattr(worker, "DROPPING_SECONDS", 0.01)
    world.site.cut_appends = 1_000
    world.ask("uid-1", into("a"))
    await eventually(lambda: bool(world.site.files))
    world.ask("uid-2", into("a"))
    world.staging.stop("uid-1")
    await eventually(lambda: world.ask("uid-2", into("a"))[0].reason != "")
    world.shut = Unavailable("The site is silent.")
    world.staging.forget("uid-1", "team")
    await eventually(lambda: not world.staging._dropping)
    assert world.site.files

    world.shut = None
    world.staging.forget("uid-2", "team")
    await eventually(lambda: not world.site.files and not world.staging._dropping)


@pytest.mark.parametrize("secret", ["there", "gone"])
async def test_what_grows_under_its_own_name_goes_where_it_is_proven_to_be_ours(world: World, secret: str) -> None:
    """The store proves what the site kept of a part that broke; the Secret may go with the TrainingJob."""
    world.site.traits = replace(world.site.traits, renames=False)
    world.site.cut_appends = 1_000
    world.ask()
    await eventually(lambda: bool(world.site.files.get("/p/a", File(b"")).content))
    if secret == "gone":
        world.refusals += [Unauthorized("There is no Secret.", reason="SecretNotFound")] * 50
    world.staging.forget("uid-1", "team")
    (dropping,) = world.staging._dropping
    await dropping
    left = {path for path in world.site.files if path.startswith("/p/")}
    assert left == (set() if secret == "there" else {"/p/a"})


async def test_other_steps_take_the_place_of_those_that_were_asked_before(world: World) -> None:
    await world.until("Done")
    world.site.files["/p/out"] = File(b"made")
    out = Step(name="out", direction="Out", path="/p/out", place=place("s3://bucket/o/"), secret="s3")
    await world.until("Done", "uid-1", out)
    assert world.store.objects["o/out"] == b"made"


async def test_a_terabyte_holds_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs with long files, one with a short one: it gets its turn long before they are done."""
    monkeypatch.setattr("passerelle.staging.copy_in.SLICE_SECONDS", 0.0)
    world.store.objects |= {f"long{number}": bytes([number]) * 20_000 for number in range(3)}
    for number in range(3):
        world.ask(f"uid-{number}", into(f"long{number}"))
    await asyncio.sleep(0)
    await world.until("Done", "short", into("b"))
    assert all(world.ask(f"uid-{number}", into(f"long{number}"))[0].state == "Copying" for number in range(3))


async def test_what_changes_again_and_again_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written without an end, or the store's two words for its version may never be the same."""
    monkeypatch.setattr(worker, "MENDED_AGAIN_SECONDS", 0.01)
    changes, real = 0, MemoryStore.read

    async def read(self: MemoryStore, stored: Stored, offset: int, length: int) -> bytes:
        nonlocal changes
        changes += 1
        if changes <= worker.MOST_CHANGES:
            raise Changed("It was replaced.")
        return await real(self, stored, offset, length)

    monkeypatch.setattr(MemoryStore, "read", read)
    seen = set()

    def look() -> bool:
        told = world.ask("uid-1", into("b"))[0]
        seen.add((told.state, told.reason, told.stalled, changes if told.stalled else 0))
        return told.done

    await eventually(look)
    assert ("Failed", "ObjectChanged", True, worker.MOST_CHANGES) in seen
    assert ("Copying", "ObjectChanged", False, 0) in seen


async def test_a_sweep_on_one_corpus_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More TrainingJobs than there are places want the same object; each of them would wait for the first."""
    real, go_on = Memory.append, asyncio.Event()

    async def slow(self: Memory, path: str, offset: int, content: bytes) -> None:
        if "/p/a" in path:
            await go_on.wait()
        await real(self, path, offset, content)

    monkeypatch.setattr(Memory, "append", slow)
    for number in range(places.IN_HAND + 1):
        world.ask(f"sweep-{number}", into("a"))
    await asyncio.sleep(0)
    await world.until("Done", "other", into("b"))
    assert not world.ask("sweep-0", into("a"))[0].done
    go_on.set()
    for number in range(places.IN_HAND + 1):
        await world.until("Done", f"sweep-{number}", into("a"))
    assert world.store.read_bytes == 1000, "each object was read once"


async def test_one_namespace_has_not_all_the_places() -> None:
    found, order = Places(most=3, of_one=2), []

    async def want(namespace: str, path: str) -> None:
        async with found.place(namespace, path):
            order.append(path)
            await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        await asyncio.gather(*(want("a", f"a{number}") for number in range(4)), want("b", "b0"), want("a", "a0/"))
    assert order[:3] == ["a0", "a1", "b0"]
    assert sorted(order) == ["a0", "a0/", "a1", "a2", "a3", "b0"]
    assert not found._own
    assert not found._paths


async def test_turns_go_round_by_owner() -> None:
    turns, order = Turns(1), []

    async def want(owner: str) -> None:
        async with turns.turn(owner):
            order.append(owner)
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(*(want(owner) for owner in "aaaabbc"))
    assert "".join(order) == "aabcaba"
    assert not turns.wanted


async def test_many_trainingjobs_of_a_namespace_take_no_more_turns_than_one(world: World) -> None:
    order: list[str] = []

    async def want(owner: str) -> None:
        async with turns.turn(owner):
            order.append(owner)
            await asyncio.sleep(0)

    turns = Turns(1)
    owners = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/1"]
    async with asyncio.timeout(5):
        await asyncio.gather(*(want(owner) for owner in owners))
    assert order == ["a/1", "a/2", "b/1", "a/3", "b/1", "a/4"]
    world.ask()
    assert {stage.owner for stage in world.staging._works["uid-1"].stages} == {"team/uid-1"}


async def test_all_sites_share_the_room() -> None:
    room, inside, most = asyncio.Semaphore(2), 0, 0

    async def want(turns: Turns) -> None:
        nonlocal inside, most
        async with turns.turn("x"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(5):
        await asyncio.gather(*(want(Turns(room=room)) for _ in range(10)))
    assert most == 2


async def test_one_wrong_file_holds_up_no_other(world: World) -> None:
    world.store.objects = {f"many/{number:02}": b"x" for number in range(30)}
    world.site.files["/p/many/05"] = File(b"mine")
    step = Step(name="many", direction="In", path="/p/many", place=place("s3://bucket/many/"), secret="s3")
    await eventually(lambda: world.ask("uid-1", step)[0].stalled)
    told = world.ask("uid-1", step)[0]
    assert (told.reason, told.files) == ("DataInTheWay", 29)
    del world.site.files["/p/many/05"]
    await world.until("Done", "uid-1", step)


async def test_a_turn_that_nobody_can_take_is_not_lost() -> None:
    turns = Turns(1)
    async with turns.turn("a"):
        waiting = [asyncio.create_task(_take(turns)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(1), turns.turn("b"):
        pass


async def _take(turns: Turns) -> None:
    async with turns.turn("x"):
        await asyncio.sleep(0)


async def test_whatever_a_copy_asks_of_the_site_is_for_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a transfer job, too: it is no look of the watch's, and waits where calls run short."""
    heard: set[Purpose | None] = set()
    enter = Memory._enter_files

    def noted(self: Memory, call: str) -> None:
        heard.add(purpose())
        enter(self, call)

    monkeypatch.setattr(Memory, "_enter_files", noted)
    await world.until("Done")
    world.staging.forget("uid-1", "team")

    assert heard == {Purpose.FILES}
