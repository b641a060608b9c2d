"""What one pass over a TrainingJob knows in the end: the only source of its status. Data alone, no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from passerelle.actions import Action
from passerelle.errors import Invalid, PasserelleError
from passerelle.plan import Plan
from passerelle.preflight import Finding
from passerelle.slurm import RemoteJob
from passerelle.staging.steps import Progress
from passerelle.v1alpha1.trainingjob_status import Attempt

IDENTITY_CHANGED = "IdentityChanged"

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Word:
    """A condition before it has a time: status, reason, message."""

    status: Truth
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """The site that the attempt is at is out of sight: why, and since when (RFC 3339; `""`: that is not known)."""

    why: PasserelleError
    seen_at: str = ""


@dataclass(frozen=True, slots=True)
class Staged:
    """What is to be copied for the run, and how far it is; None: nobody asked about this direction in this pass."""

    sources: int = 0
    outputs: int = 0
    into: tuple[Progress, ...] | None = None
    out: tuple[Progress, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one pass knows in the end. `attempts` are already those of after the pass's action."""

    namespace: str
    name: str
    generation: int
    now: str
    site: str
    action: Action
    attempts: tuple[Attempt, ...] = ()
    attempts_total: int = 0
    job: RemoteJob | None = None
    plan: Plan | None = None
    findings: tuple[Finding, ...] | None = None
    """None: this pass planned nothing, and what was found before stands."""
    digest: str = ""
    invalid: Invalid | None = None
    trouble: PasserelleError | None = None
    unseen: Unseen | None = None
    hold: Word | None = None
    suspend: bool = False
    deleting: bool = False
    retry_handled: str | None = None
    progress_silent: bool = False
    report_path: str = ""
    """Where the job's report file is looked for; `""` where nobody can."""
    attempts_suspended: int = 0
    chain: bool = False
    max_attempts: int = 1
    reached: Mapping[int, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    staged: Staged | None = None
