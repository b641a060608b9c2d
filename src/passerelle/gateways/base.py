"""What a gateway must do, and what it may do.

`Gateway` is required of every driver. Capabilities (`Accounting`) are optional and asked for by type, with
`isinstance(gateway, Accounting)`. A driver raises only errors of `passerelle.errors`:

- `submit` returns an id, or raises Rejected (the scheduler said no, nothing runs), Unauthorized (the scheduler refused
  the credential, nothing runs) or Unavailable (unknown: the job may run). It never tries twice.
- reads raise Unauthorized or Unavailable, never return an empty answer for "I don't know".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from passerelle.batch import Batch
from passerelle.slurm import JobState, RemoteJob


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers and as whom we asked: evidence counts only on the cluster and as the user of the intent."""

    cluster: str
    user: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a bearer token. `expires` is in epoch seconds, None where the token does not tell."""

    user: str
    token: str
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Credential(user={self.user!r}, token=…, expires={self.expires!r})"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a reachable site says of itself, asked with a credential that it accepted."""

    identity: Identity
    version: str
    api_version: str


@runtime_checkable
class Gateway(Protocol):
    """A site's door."""

    settle_seconds: float
    """How long after the first good live answer an earlier, unknown submit may still come to light."""

    async def probe(self) -> Probe:
        """Prove that the site answers and accepts the credential."""
        ...

    async def submit(self, batch: Batch) -> int:
        """Submit once. Returns the job id."""
        ...

    async def states(self, job_ids: Collection[int]) -> Mapping[int, JobState]:
        """The light listing: the state of each of these jobs that the scheduler still knows; others are absent."""
        ...

    async def get(self, job_ids: Collection[int]) -> Sequence[RemoteJob]:
        """Full live records of these jobs, as few calls as the gateway allows; unknown ids are absent."""
        ...

    async def find(self) -> Sequence[RemoteJob]:
        """Full live records of all jobs of our user whose name is a marker. Last resort: a full listing."""
        ...

    async def cancel(self, job_id: int) -> None:
        """Ask for the end of a job. A job that has ended or is unknown is no error."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class Accounting(Protocol):
    """The site's memory: jobs that the scheduler has forgotten."""

    async def accounted(self, *, names: Collection[str] = (), job_ids: Collection[int] = ()) -> Sequence[RemoteJob]:
        """The newest record of each job of our user with one of these names, or one of these ids."""
        ...
