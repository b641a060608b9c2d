"""What a gateway must do, and what it may do.

`Gateway` is required of every driver. Capabilities (`Accounting`, `Signals`, `Files`, `Upload`, `Transfer`, `Opens`,
`Handover`, `Info`) are optional and asked for by type, with `isinstance(gateway, Accounting)`. A driver raises only
errors of `passerelle.errors`:

- `submit` returns an id, or raises Rejected (the scheduler said no, nothing runs), Unauthorized (the scheduler refused
  the credential, nothing runs) or Unavailable (unknown: the job may run). It never tries twice.
- reads raise Unauthorized or Unavailable, never return an empty answer for "I don't know".
- a write raises Rejected where the site says no: no such directory, no right, no room.

A job's id is what the gateway calls the job: Slurm's number in decimal, or a word of the gateway's own (JOB_ID in
slurm.py says which). An id that the driver can't have given, of a Site that had another driver, is an unknown one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from passerelle.batch import Batch
from passerelle.errors import PasserelleError
from passerelle.gateways.secret import the_secret
from passerelle.gateways.surveys import Survey, Topic
from passerelle.marker import Run
from passerelle.slurm import JobState, RemoteJob


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers and as whom we asked: evidence counts only on the cluster and as the user of the intent."""

    cluster: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Who we are at the site, and until when; each driver adds its proof of it, which no `repr` shows.

    `issued` and `expires` are in epoch seconds, None where that isn't known or the driver renews the proof by itself.
    `kept` is the namespace/name of the Secret that it is from.
    """

    user: str
    expires: float | None = None
    issued: float | None = None
    kept: str = field(default="", repr=False, compare=False)

    @property
    def place(self) -> str:
        """Where it is written, in a sentence."""
        return the_secret(self.kept)


SLURM = "Slurm"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a reachable site says of itself, asked with a credential that it accepted.

    `version` is Slurm's release, or that of `product`, where the gateway tells no other. `lacks` are clauses about what
    this very site can't do, although its kind of gateway can. `unready` is a sentence, with what to do, about why it
    would refuse the jobs that are planned for it; "" where nothing is known to stand in their way. `everybody`: its
    light listing is none, but one of all users' whole records.
    """

    identity: Identity
    version: str
    api_version: str
    lacks: tuple[str, ...] = ()
    product: str = SLURM
    unready: str = ""
    everybody: bool = False


class Listing(StrEnum):
    """What the states of a hundred jobs cost."""

    STATES = "in one answer, states alone"
    RECORDS = "in one answer, whole records"
    EACH = "a request for each job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What no method tells of a kind of gateway; the contract holds each word of it against a live server.

    `silent` are the fields of RemoteJob that are never told. `surveys` is what a survey tells. `forecasts`: a waiting
    job's start is the scheduler's forecast. `tags`: a job carries our marker as a tag of the gateway's own, beside its
    name. `by_name`: accounting, asked by name, has each job some seconds after its submit, also one that was never
    eligible. `renames`: a file of Transfer's can get another name; where none can, a large file grows under its own.
    """

    listing: Listing
    silent: frozenset[str] = frozenset()
    surveys: frozenset[Topic] = frozenset()
    forecasts: bool = True
    tags: bool = False
    by_name: bool = False
    renames: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """What is to be brought to a path: `job` waits at the site until an object is whole in the gateway's object store.

    The URLs are pre-signed, and so they are secrets: of each part's PUT, and of the POST that makes an object of them.
    `most_bytes` is the most that one part takes. `error_log` is where the job says what went wrong.
    """

    job: str
    parts: tuple[str, ...] = field(repr=False)
    complete: str = field(repr=False)
    most_bytes: int
    error_log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """What is to be fetched from a path: `job` puts it into the gateway's object store. `url` is the pre-signed one of
    its GET, and so a secret. `stamp` is what stamp() told of the file before.
    """

    job: str
    url: str = field(repr=False)
    stamp: str
    error_log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or a directory, within one. `size` is a file's in bytes, and 0 of a directory. A link is what it leads to;
    of one that leads to nothing that may be seen, `broken` tells why. A pipe or a device is not told where the gateway
    can tell it from a file.
    """

    name: str
    size: int
    is_directory: bool
    broken: str = ""


Words = Collection[str]
"""Names or ids."""

DAY_SECONDS = 86_400.0
HORIZON_SECONDS = 90 * DAY_SECONDS
"""How far accounting is searched for a run that may be older than its TrainingJob, since it has a runId: longer than
any queue and a chain of attempts, and the run directory's claims remember what is older. Without a bound each search
would walk all jobs that the user ever had.
"""

MOST_ENTRIES = 10_000
"""In one directory: where a gateway is told of them piece by piece, it reads no more."""
TOO_MANY_ENTRIES = "TooManyFiles"

SIZE_DIFFERS = "SizeDiffers"
"""The reason of an append that was refused since the file has another size."""

OPENING = "DoorOpening"
"""The reason why files are Unavailable while a job of ours, by which the gateway reaches them, waits or runs."""
NOT_OPENED = "DoorFailed"
"""The reason why they are Rejected, all of them, after that job has failed."""


@runtime_checkable
class Gateway(Protocol):
    """A site's door."""

    settle_seconds: float
    """How long after the first good live answer an earlier, unknown submit may still come to light."""

    traits: Traits

    async def probe(self) -> Probe:
        """Prove that the site answers and accepts the credential."""
        ...

    async def submit(self, batch: Batch) -> str:
        """Submit once. Returns the job id."""
        ...

    async def states(self, job_ids: Collection[str]) -> Mapping[str, JobState]:
        """The light listing: the state of each of these jobs that the scheduler still knows; others are absent."""
        ...

    async def get(self, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        """Full live records of these jobs, as few calls as the gateway allows; unknown ids are absent."""
        ...

    async def find(self, ended_of: Collection[Run] | None = None) -> Sequence[RemoteJob]:
        """Full live records of all jobs of our user whose name is a marker. Last resort: a full listing.

        Of jobs that have ended those of `ended_of` alone are wanted, if it is given: others may be absent.
        """
        ...

    async def cancel(self, job_id: str) -> None:
        """Ask for the end of a job. A job that has ended or is unknown is no error."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class Accounting(Protocol):
    """The site's memory: jobs that the scheduler has forgotten."""

    async def accounted(
        self, *, names: Words = (), job_ids: Words = (), within: float = HORIZON_SECONDS
    ) -> Sequence[RemoteJob]:
        """The newest record of each job of our user with one of these names, or one of these ids.

        None of them was submitted more than `within` seconds ago: an older one may be missing. It is a bound for the
        site's sake, and a driver that needs none looks further.
        """
        ...


@runtime_checkable
class Signals(Protocol):
    """A way to the batch script alone: what reaches a step reaches its image's mount and its launcher, too."""

    async def warn(self, job_id: str, signal: str) -> bool:
        """Send this signal (`USR1`) to a running job's batch script. A job that has ended or is unknown is no error.

        False where this release of the site can't: then nothing was sent.
        """
        ...


@runtime_checkable
class Files(Protocol):
    """The site's files, as our user sees them: to read. Paths are absolute paths at the site."""

    async def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        ...

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on; none at the end and behind it. Raises Missing where no file is."""
        ...


@runtime_checkable
class Upload(Protocol):
    """Small files, wherever our user may write. A driver that has it has Files."""

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """Write a small file, in the place of one that is there: whole, or it raises. Its directory exists. `mode` is
        the most that anybody may do with it: a site may give its group and others less.

        Where the gateway renames no file (Traits.renames), a beginning of it is seen meanwhile, and after an error. So
        whoever reads it knows a whole one by its content, or was told of it after the write.
        """
        ...

    async def make_directory(self, path: str) -> None:
        """Make a directory, with those above it that are missing, for its user and at most its group (0750, or 0700).
        One that is there is left as it is. Raises Rejected where the site says no, or something else has its name.
        """
        ...


@runtime_checkable
class Transfer(Protocol):
    """Large files, in parts, and what moving them takes. A driver that has it has Files and Upload.

    A file that is made here gets the permissions that the site gives to new ones: who may read data is said by the
    directory that it lies in. What must be kept from others is written by Upload.
    """

    part_bytes: int
    """The most that an append takes, and what is worth sending, or reading, at once."""

    async def append(self, path: str, offset: int, content: bytes) -> None:
        """Add to a file that has exactly `offset` bytes; 0 makes the file, where there is none yet.

        Raises Rejected with the reason SIZE_DIFFERS where it has another size: nothing was added then. Where it raises
        anything else, any beginning of `content` may have been added, and may still be, even after size() was asked.
        So after either ask size(), again, and go on from there, which may be from 0. One caller at a time adds to a
        file.
        """
        ...

    async def entries(self, path: str) -> Sequence[Entry] | None:
        """What is in a directory, one level, in the order of names; None where there is no such directory. May raise
        Rejected, TOO_MANY_ENTRIES, where there are more than MOST_ENTRIES.
        """
        ...

    async def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same file system, in the place of a file that has it. Raises Missing where
        there is no file `old`, and Rejected, always, where Traits.renames is False.
        """
        ...

    async def remove(self, path: str) -> None:
        """Remove a file. One that is not there is no error."""
        ...

    async def digest(self, path: str) -> str | None:
        """SHA-256 in hexadecimal digits, as the site computes it from the whole file; None where the gateway has no
        way to ask for it, the file is too large for that, or the site lets none come to its end. Raises Missing where
        no file is.
        """
        ...


@runtime_checkable
class Opens(Protocol):
    """Files that must be opened before they are asked for: until then only logs and reports are shown, and any other
    file is missing. A driver that has it has Transfer. What writes, lists or removes opens them by itself.
    """

    async def open_files(self) -> None:
        """Ask for it, and raise Unavailable, OPENING, until they are open; Rejected, NOT_OPENED, where that failed."""
        ...


@runtime_checkable
class Handover(Protocol):
    """Large files, whole, by an object store of the gateway's own and a job of the site. A driver that has it has Files
    and Upload, and of Transfer all but append: what is small is written and read as it is.

    A job of these is no attempt: its name is never a marker.
    """

    part_bytes: int
    """What is worth sending, or reading, at once."""
    small_bytes: int
    """Up to this size a file is written by Upload at once, and what Files reads of it is exact."""
    store_authority: bytes | None
    """PEM: whom the object store's certificate may be of, beside the public authorities."""
    transfer_names: frozenset[str]
    """What the jobs of hand_in and hand_out are called: a job of another name, whatever its number, is not of these."""

    async def whose(self) -> Identity:
        """The cluster whose jobs these are, and the user: a job's number says nothing elsewhere."""
        ...

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        """Ask for a job that brings an object of this size to a path, and for at least so many parts; "" leaves the
        account to the site.

        Raises Rejected, Unauthorized or Unavailable as a submit does. What lies at the path is replaced, so it is one
        that nobody else writes.
        """
        ...

    async def hand_out(self, path: str, account: str) -> HandedOut:
        """Ask for a job that puts a file into the object store. Raises Missing where there is none."""
        ...

    async def waiting_for(self, path: str) -> Sequence[str]:
        """The jobs of hand_in that wait, in the queue or for their object, to bring something to this very path."""
        ...

    async def complaint(self, error_log: str) -> PasserelleError | None:
        """What a job of ours that ended wrote of its trouble, where that is known to be somebody's to mend."""
        ...

    async def stamp(self, path: str) -> str | None:
        """A word that changes when a file does; None where there is none."""
        ...

    async def resembles(self, path: str, offset: int, content: bytes) -> bool:
        """Whether a file's bytes from `offset` on look like these, as exactly as the gateway shows them."""
        ...

    async def entries(self, path: str) -> Sequence[Entry] | None:
        """As Transfer's."""
        ...

    async def rename(self, old: str, new: str) -> None:
        """As Transfer's, but that it may be Unavailable, too, where another file has the name."""
        ...

    async def remove(self, path: str) -> None:
        """As Transfer's."""
        ...

    async def digest(self, path: str) -> str | None:
        """As Transfer's; None, too, where the file is too large for the site to answer in time."""
        ...


@runtime_checkable
class Info(Protocol):
    """What may be asked of the site: for a person who sets it up, never on the way of a job."""

    async def survey(self) -> Survey:
        """Accounts, partitions and the clock, as far as the site tells them to our user."""
        ...
