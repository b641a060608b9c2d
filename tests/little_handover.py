"""A site in memory whose gateway takes large files whole: its store, its jobs, and what goes wrong with both."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from passerelle.errors import Missing, PasserelleError, Unavailable
from passerelle.gateways.base import Entry, HandedIn, HandedOut, Identity, Listing, Traits
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.slurm import JobState, RemoteJob
from passerelle.staging.s3.presigned import EXPIRED

SECRET = "X-Amz-Signature=5ec2e7"


@dataclass
class Upload:
    path: str
    parts: dict[int, bytes] = field(default_factory=dict)
    content: bytes | None = None


@dataclass
class LittleHandover:
    """Gateway, as far as jobs of transfers go, Files, Upload and Handover. `ends` is what becomes of a job that finds
    its object; `cut` so many bytes of it arrive; `queued` looks a job waits in the queue. `silent`: hand_in is never
    answered; `late_seconds` it takes until its job is shown to who has no number of it.
    """

    files_at: Memory = field(default_factory=lambda: Memory(clock=lambda: 0.0))
    part_bytes: int = 1000
    small_bytes: int = 100
    store_authority: bytes | None = b"ca"
    transfer_names: frozenset[str] = frozenset({"IngressFileTransfer"})
    settle_seconds: float = 0.0
    traits: Traits = field(default_factory=lambda: Traits(listing=Listing.RECORDS))
    urls: int = 12
    most_bytes: int = 1 << 30
    uploads: list[Upload] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    ends: str = "COMPLETED"
    cut: int | None = None
    queued: int = 0
    grumble: PasserelleError | None = None
    lost_answers: int = 0
    silent: bool = False
    late_seconds: float = 0.0
    shown: dict[str, float] = field(default_factory=dict)
    lost_completions: int = 0
    lost_parts: int = 0
    expired: bool = False
    hashes: bool = True
    puts: int = 0
    looks: list[int] = field(default_factory=list)
    opened: int = 0

    # Files

    async def size(self, path: str) -> int | None:
        return await self.files_at.size(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        return await self.files_at.read(path, offset, length)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        await self.files_at.write(path, content, mode=mode)

    async def make_directory(self, path: str) -> None:
        await self.files_at.make_directory(path)

    async def entries(self, path: str) -> Sequence[Entry] | None:
        return await self.files_at.entries(path)

    async def rename(self, old: str, new: str) -> None:
        await self.files_at.rename(old, new)

    async def remove(self, path: str) -> None:
        await self.files_at.remove(path)

    async def digest(self, path: str) -> str | None:
        return await self.files_at.digest(path) if self.hashes else None

    async def stamp(self, path: str) -> str | None:
        found = self.files_at.files.get(path)
        return None if found is None else hashlib.sha256(found.content).hexdigest()

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        self.looks += [offset, offset + len(content)]
        return self.files_at.files[path].content[offset : offset + len(content)] == content

    # Jobs

    async def whose(self) -> Identity:
        return Identity("alps", "ada")

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        self.accounts.append(account)
        job = self._job(Upload(path))
        self.shown[job] = asyncio.get_running_loop().time() + self.late_seconds
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("The answer was lost.", sent=True)
        if self.silent:
            await asyncio.Event().wait()
        assert parts * 1000 >= size
        urls = tuple(f"https://store/{job}/{number}?{SECRET}" for number in range(1, max(parts, self.urls) + 1))
        complete = f"https://store/{job}/complete?{SECRET}"
        return HandedIn(job=job, parts=urls, complete=complete, most_bytes=self.most_bytes, error_log="/log")

    async def hand_out(self, path: str, account: str) -> HandedOut:
        self.accounts.append(account)
        found = self.files_at.files.get(path)
        if found is None:
            raise Missing("It is not there.")
        made = Upload(path, content=found.content[: self.cut])
        job = self._job(made)
        self.states[job] = self.ends
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("The answer was lost.", sent=True)
        stamp = await self.stamp(path)
        return HandedOut(job=job, url=f"https://store/{job}/get?{SECRET}", stamp=stamp or "", error_log="/log")

    async def waiting_for(self, path: str) -> Sequence[str]:
        now = asyncio.get_running_loop().time()
        alive = [job for job, state in self.states.items() if state == "RUNNING" and self.shown.get(job, now) <= now]
        return [job for job in alive if self._of(job).path == path]

    async def complaint(self, error_log: str) -> PasserelleError | None:
        assert error_log == "/log"
        return self.grumble

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        found = []
        for job in set(job_ids) & self.states.keys() - self.gone:
            if self.queued:
                self.queued -= 1
                found.append(self._record(job, "PENDING", "Priority"))
            else:
                found.append(self._record(job, self.states[job]))
        return found

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        if self.states.get(job_id) == "RUNNING":
            self.states[job_id] = "CANCELLED"

    # The store

    def open(self, url: str, authority: bytes | None) -> LittlePresigned:
        assert (url.partition("/")[0], authority) == ("https:", b"ca")
        self.opened += 1
        return LittlePresigned(self)

    async def put(self, url: str, content: bytes) -> str:
        job, word = self._named(url)
        if self.expired:
            raise Unavailable("It is over.", reason=EXPIRED)
        if self.lost_parts:
            self.lost_parts -= 1
            raise Unavailable("The connection broke.", reason="Unreachable")
        self.puts += 1
        self._of(job).parts[int(word)] = content
        return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'

    async def complete(self, url: str, etags: Sequence[str]) -> bool:
        job, word = self._named(url)
        upload = self._of(job)
        assert word == "complete"
        if upload.content is not None:
            return False
        contents = [upload.parts[number] for number in range(1, len(etags) + 1)]
        assert [f'"{hashlib.md5(each, usedforsecurity=False).hexdigest()}"' for each in contents] == list(etags)
        upload.content = b"".join(contents)
        if self.states[job] == "RUNNING":
            self.states[job] = self.ends
            if self.ends == "COMPLETED":
                self.files_at.files[upload.path] = File(upload.content[: self.cut])
        if self.lost_completions:
            self.lost_completions -= 1
            raise Unavailable("The connection broke.", reason="Unreachable")
        return True

    async def read_url(self, url: str, offset: int, length: int) -> tuple[bytes, int]:
        job, word = self._named(url)
        content = self._of(job).content
        if word != "get" or content is None or self.expired:
            raise Unavailable("It is over.", reason=EXPIRED)
        return content[offset : offset + length], len(content)

    def _job(self, upload: Upload) -> str:
        self.uploads.append(upload)
        job = str(len(self.uploads))
        self.states[job] = "RUNNING"
        return job

    def _of(self, job: str) -> Upload:
        return self.uploads[int(job) - 1]

    def _named(self, url: str) -> tuple[str, str]:
        job, word = url.partition("?")[0].split("/")[-2:]
        return job, word

    def _record(self, job: str, state: str, reason: str = "") -> RemoteJob:
        return RemoteJob(
            job_id=job,
            name=self.named.get(job, "IngressFileTransfer"),
            user="ada",
            cluster="alps",
            state=JobState.parse([state]),
            submit_time=0,
            state_reason=reason,
        )


@dataclass
class LittlePresigned:
    """Presigned, of that store."""

    of: LittleHandover

    async def put(self, url: str, content: bytes) -> str:
        return await self.of.put(url, content)

    async def complete(self, url: str, etags: Sequence[str]) -> bool:
        return await self.of.complete(url, etags)

    async def read(self, url: str, offset: int, length: int) -> tuple[bytes, int]:
        return await self.of.read_url(url, offset, length)

    async def close(self) -> None:
        self.of.opened -= 1
