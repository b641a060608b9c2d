"""The marker: a pure function of (run, attempt), and the Slurm job's name.

A run is a TrainingJob's uid, or, where the user gave a runId, namespace, name and runId: then a TrainingJob that Git
or a rebuilt cluster creates again finds its jobs again. The marker alone identifies an attempt; a job id counts only
together with the submit time that the site reported.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from dataclasses import dataclass
from functools import lru_cache

PREFIX = "psr-"
ATTEMPT_LIMIT = 99_999
"""Five digits: the marker stays within 36 characters, a file name and a UNICORE tag everywhere."""

_MARKER = re.compile(r"(psr-[a-z2-7]{26})-([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Run:
    """What all attempts of one TrainingJob have in common. `key` is `psr-` and 128 bits in lower-case base32."""

    key: str

    def marker(self, attempt: int) -> str:
        """The Slurm job name of an attempt, counted from 1."""
        if not 1 <= attempt <= ATTEMPT_LIMIT:
            raise ValueError(f"attempt {attempt} is not between 1 and {ATTEMPT_LIMIT}")
        return f"{self.key}-{attempt}"

    @classmethod
    def of_uid(cls, uid: str) -> Run:
        """The run of an object without a runId."""
        return _of_uid(uid)

    @classmethod
    def of_run_id(cls, namespace: str, name: str, run_id: str) -> Run:
        """The run of an object with a runId. None of the three may hold a slash, so no two triples meet."""
        if "/" in namespace + name + run_id:
            raise ValueError("a namespace, a name and a runId hold no slash")
        return cls(_key(hashlib.sha256(f"{namespace}/{name}/{run_id}".encode()).digest()[:16]))


def parse(job_name: str) -> tuple[Run, int] | None:
    """The run and the attempt of a Slurm job name, or None where it is no marker of ours."""
    found = _MARKER.fullmatch(job_name)
    return (Run(found[1]), int(found[2])) if found else None


@lru_cache(maxsize=1024)
def _of_uid(uid: str) -> Run:
    """Of those in hand: a pass asks for it again and again."""
    return Run(_key(uuid.UUID(uid).bytes))


def _key(bits: bytes) -> str:
    return PREFIX + base64.b32encode(bits).decode().rstrip("=").lower()
