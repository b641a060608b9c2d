"""One step, from its beginning: look what there is, copy what is missing. It is taken again until it returns.

Files of one step go two at a time, since small ones wait for answers more than for bytes, or more of them where they
wait for jobs; who moves is said by Turns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import cast
from weakref import WeakValueDictionary

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Handover
from passerelle.gateways.together import together
from passerelle.staging import receipt
from passerelle.staging.copy_in import CopyIn
from passerelle.staging.copy_out import CopyOut
from passerelle.staging.door import Door, opened
from passerelle.staging.handed import Sent
from passerelle.staging.handover import HandIn
from passerelle.staging.handover_out import HandOut
from passerelle.staging.hashing import Hashed
from passerelle.staging.place import Place
from passerelle.staging.reading import kept_receipt
from passerelle.staging.receipt import Receipt
from passerelle.staging.s3.allowed import ALLOWED
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.steps import DEEPEST, MOST_FILES, Outgoing, Progress, Step, outgoing, targets
from passerelle.staging.store import Closed, Objects, Store, Stored
from passerelle.staging.turns import AT_ONCE, Turns

JOBS_AT_ONCE = 8
"""Transfer jobs of a step in a site's queue: others queue there, too."""
MOST_SEEN = 4 * MOST_FILES
"""Files and directories that are looked through for those of a step: a trainer may have put its own beside them."""
MOST_WRONG = 20
"""Files of a step that may be wrong before the others are left alone, too."""


class Claim:
    """One path at a site: two TrainingJobs that want the same object there copy it once. `wanted` has the part file of
    each stage that has begun and is not done, be it that it copies now, rests, or waits for another try.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted: set[tuple[Stage, str]] = set()

    def wants(self, part: str, beside: Stage) -> bool:
        return any(each == part and stage is not beside for stage, each in self.wanted)


Locks = WeakValueDictionary[str, Claim]


@dataclass(slots=True, eq=False)
class Stage:
    """A step at one site, of one owner. `note` is told of every change of its progress."""

    step: Step
    run_root: str
    owner: str
    turns: Turns
    locks: Locks
    note: Callable[[], None]
    moved: Callable[[int], None] = lambda _: None
    presigned: OpenPresigned = ALLOWED.presigned
    progress: Progress = field(init=False)
    changes: int = 0
    """Tries in a row that found another object or file than the one that they began with."""
    hashes: dict[str, Hashed] = field(default_factory=dict)
    _endpoint: str = ""
    """Where the store is that the last try asked; what was begun is told by it."""
    _proof: tuple[str, str] | None = None
    _begun: dict[str, tuple[Stored, str, Claim]] = field(default_factory=dict)
    """By the part file: of what it is, and the path that it is for."""
    _sent: set[Outgoing] = field(default_factory=set)
    _parts: dict[str, Sent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.progress = Progress(name=self.step.name, direction=self.step.direction)

    def tell(self, **changes: object) -> None:
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]  # fields of it, by name
        self.note()

    def rested(self) -> None:
        """What took only time is over: it is told no more when the step is taken again."""
        if not self.progress.stalled:
            self.progress = replace(self.progress, reason="", message="")

    async def run(self, site: Door, store: Store, endpoint: str) -> None:
        """Raises what a copy raises; what was copied by then stays. `endpoint` is where the store is."""
        self.progress = self.progress.waiting()
        self.note()
        self._endpoint = endpoint.rstrip("/")
        await opened(site)
        if self.step.direction == "In":
            copies = self._copy_in(site, store)
            await self._run_in(copies, store)
            await self._drop_left(copies, tuple(self._begun))
        else:
            await self._run_out(site, self._copy_out(site, store))

    async def lies(self, site: Door) -> bool:
        """Whether what was copied lies at the site, by its receipt and its sizes: a few calls, and none to the store.
        What else lies in a directory counts for nothing: trainers write there. After a restart of the operator any
        version counts: the run began with what lies there.
        """
        await opened(site)
        step, path = self.step, self.step.path.rstrip("/")
        kept = await kept_receipt(site, self.run_root, f"{path}/" if step.place.is_prefix else path)
        if kept is None or (kept.source.bucket, kept.source.key) != (step.place.bucket, step.place.key):
            return False
        if self._proof not in (None, (kept.source.endpoint, kept.etag)):
            return False
        if step.place.is_prefix:
            files = receipt.lying(kept, await walk(site, path, strict=False) or ())
        else:
            files = 1 if await site.size(path) == kept.size else None
        if files is None:
            return False
        self.progress = replace(self.progress, files=files, moved=kept.size, total=kept.size)
        return True

    @property
    def begun(self) -> bool:
        """Whether something may be left of what is not done."""
        return bool(self._begun or self._sent)

    async def drop(self, site: Door, store: Store | None) -> None:
        """Leave nothing half-named of what is not done. A copy that another one wants, too, is left to it. Where there
        is no `store` any more, an upload stays in it, and so does at the site what only it proves to be ours. What goes
        wrong with one file is raised when the others are dropped; then it may be called again.
        """
        if not self.begun:
            return
        await opened(site)
        into, out = self._copy_in(site, store or Closed()), self._copy_out(site, cast("Store", store))

        async def sent(each: Outgoing) -> None:
            if store is not None:
                await out.drop(each.path, each.key)
                self._sent.remove(each)
            elif isinstance(out, HandOut):
                await out.drop_job(each.path)

        drops = (*(self._drop_in(into, part) for part in self._begun), *(sent(each) for each in self._sent))
        await _all(drops, _lanes(site), (PasserelleError,))

    async def _drop_in(self, copies: CopyIn, part: str) -> None:
        stored, path, claim = self._begun[part]
        if not claim.wants(part, beside=self):
            if claim.lock.locked():  # for a day, perhaps
                raise Unavailable(f"A copy of another version to {path} is under way.", sent=False)
            async with claim.lock:
                if not claim.wants(part, beside=self):
                    await copies.drop(stored, path)
        self._finished(part)

    def _finished(self, part: str) -> None:
        _, _, claim = self._begun.pop(part)
        claim.wanted.discard((self, part))

    def leave(self) -> None:
        """What was begun stays as it is, and is nobody's: it can't be reached any more, or was tried for long."""
        for part in tuple(self._begun):
            self._finished(part)
        self._sent.clear()

    def _copy_in(self, site: Door, store: Objects) -> CopyIn:
        where = (self._endpoint, self.step.place.bucket)
        told = (self._there, self._moved, self.hashes, not self.step.place.is_prefix)
        common = (site, store, self.run_root, self.turns, self.owner, *where, *told)
        if not isinstance(site, Handover):
            return CopyIn(*common)
        return HandIn(
            *common, account=self.step.account, presigned=self.presigned, waits=self._waits, parts=self._parts
        )

    def _copy_out(self, site: Door, store: Store) -> CopyOut:
        def place(key: str) -> str:
            return str(Place(self.step.place.bucket, key))

        common = (site, store, self.run_root, self.turns, self.owner, place, self._there, self._moved, self.hashes)
        if not isinstance(site, Handover):
            return CopyOut(*common)
        return HandOut(*common, account=self.step.account, presigned=self.presigned, waits=self._waits)

    async def _run_in(self, copies: CopyIn, store: Store) -> None:
        step = self.step
        found = targets(step, await self._objects(store))
        self.tell(total=sum(stored.size for stored, _ in found))
        await self._drop_left(copies, self._unlisted(copies, found))
        whole: Receipt | None = None
        if step.place.is_prefix:
            digest = receipt.listing_digest([stored for stored, _ in found])
            path = step.path.rstrip("/") + "/"
            source = copies.source(step.place.key)
            marks = receipt.marks((each.removeprefix(path), stored.size) for stored, each in found)
            size = self.progress.total or 0
            whole = Receipt(path=path, source=source, size=size, etag=digest, sha256="", files=marks)
            if await copies.receipt(whole.path) == whole and await self._lies_there(copies.site, found):
                self._proof = (copies.endpoint, digest)
                self.tell(files=len(found), moved=whole.size)
                return

        async def one(stored: Stored, path: str) -> None:
            claim = self.locks.get(path) or Claim()
            self.locks[path] = claim
            part = receipt.part_place(path, stored.version)
            self._begun[part] = stored, path, claim
            claim.wanted.add((self, part))
            async with claim.lock:
                await copies.copy(stored, path)
            self._finished(part)
            self.tell(files=self.progress.files + 1)

        await _all((one(stored, path) for stored, path in found), _lanes(copies.site))
        self._proof = (copies.endpoint, whole.etag if whole is not None else found[0][0].version)
        if whole is not None:
            await copies.keep(whole)

    def _unlisted(self, copies: CopyIn, found: list[tuple[Stored, str]]) -> list[str]:
        """What a try before has begun of an older version, or of an object that is no more. Where nothing is renamed
        the copy to that path judges of what lies there.
        """
        parts = {receipt.part_place(path, stored.version) for stored, path in found}
        paths = set() if copies.site.traits.renames else {path for _, path in found}
        return [part for part, (_, path, _) in self._begun.items() if part not in parts and path not in paths]

    async def _drop_left(self, copies: CopyIn, parts: Iterable[str]) -> None:
        """Holds up nothing: what another one's copy to the path, or an error, keeps is left to the next time."""
        for part in parts:
            with contextlib.suppress(PasserelleError):
                await self._drop_in(copies, part)

    async def _objects(self, store: Store) -> list[Stored]:
        place = self.step.place
        if place.is_prefix:
            return list(await store.list(place.key, MOST_FILES))
        found = await store.head(place.key)
        if found is None:
            raise Missing(f"There is no object {place}; put it there, or correct the url.", reason="NoSuchKey")
        return [found]

    async def _lies_there(self, site: Door, found: list[tuple[Stored, str]]) -> bool:
        """Whether each file of a directory that was copied once still has its size."""
        try:
            files = await walk(site, self.step.path.rstrip("/"), strict=False)
        except (Invalid, Rejected):
            return False
        sizes = {f"{self.step.path.rstrip('/')}/{name}": size for name, size in files or []}
        return all(sizes.get(path) == stored.size for stored, path in found)

    async def _run_out(self, site: Door, copies: CopyOut) -> None:
        path = self.step.path.rstrip("/")
        files = await walk(site, path)
        found = outgoing(replace(self.step, path=path), files, await site.size(path) if files is None else None)
        self.tell(total=sum(each.size for each in found))

        async def one(each: Outgoing) -> None:
            self._sent.add(each)
            await copies.copy(each.path, each.size, each.key)
            self._sent.remove(each)
            self.tell(files=self.progress.files + 1)

        await _all((one(each) for each in found), _lanes(site))

    def _there(self, size: int) -> None:
        self.tell(moved=self.progress.moved + size)

    def _waits(self, reason: str, text: str) -> None:
        if (reason, text) != (self.progress.reason, self.progress.message):
            self.tell(state="Copying", reason=reason, message=text, stalled=False)

    def _moved(self, size: int) -> None:
        self.moved(size)
        if self.progress.reason:  # whatever was wrong is over
            self.tell(state="Copying", reason="", message="", stalled=False)


async def walk(site: Door, path: str, *, strict: bool = True) -> list[tuple[str, int]] | None:
    """The files of a directory with their sizes, by their paths in it; None where it is no directory. Where it isn't
    `strict`, what is broken or too deep is left out, and more may lie there.
    """
    top = await site.entries(path)
    if top is None:
        return None
    found: list[tuple[str, int]] = []
    count = 0
    left = [("", top, 1)]
    while left:
        above, entries, depth = left.pop()
        count += len(entries)  # of directories, too: empty ones would be walked through without an end
        if count > (MOST_FILES if strict else MOST_SEEN):
            text = f"{path} has more than {MOST_FILES} files and directories; pack them into fewer, larger files."
            raise Invalid(text, reason="TooManyFiles")
        for each in entries:
            name = above + each.name
            if not strict and (each.broken or (each.is_directory and depth >= DEEPEST)):
                continue
            if each.broken:  # to leave it out would tell that all are there
                text = f"{path}/{name} is {each.broken}; have the trainer remove it, or write another path."
                raise Invalid(text, reason="BrokenLink")
            if not each.is_directory:
                found.append((name, each.size))
            elif depth >= DEEPEST:
                text = f"{path}/{name} lies deeper than {DEEPEST} directories; is it a link that leads upwards?"
                raise Invalid(text, reason="TooDeep")
            else:
                left.append((f"{name}/", await site.entries(f"{path}/{name}") or (), depth + 1))
    return sorted(found)


def _lanes(site: Door) -> int:
    """Files of a step at a time: where each waits for a job of the site, more of them, and they wait side by side."""
    return JOBS_AT_ONCE if isinstance(site, Handover) else AT_ONCE


async def _all(
    copies: Iterable[Coroutine[None, None, None]],
    at_once: int,
    borne: tuple[type[PasserelleError], ...] = (Invalid, Missing, Rejected),
) -> None:
    """Run them, so many at a time. What is wrong with one file lets the others go on, and is raised at the end, first
    what only takes time; a connection that breaks, unless it is `borne`, or many wrong files, end it at once.
    """
    left = iter(copies)
    wrong: list[PasserelleError] = []

    async def lane() -> None:
        for copy in left:
            try:
                await copy
            except borne as error:
                wrong.append(error)
                if len(wrong) >= MOST_WRONG:
                    return

    try:
        await together(lane() for _ in range(at_once))
    finally:
        for copy in left:
            copy.close()
    if wrong:
        raise min(wrong, key=lambda error: not isinstance(error, Unavailable))
