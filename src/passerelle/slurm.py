"""RemoteJob, and the one table from Slurm's states and flags to our words.

Sources: Slurm's job_state and job flags as slurmrestd 22.05 to 26.05 print them. Success follows from the state alone:
accounting reports TIMEOUT and CANCELLED with exit status 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from passerelle.onsite.codes import BAD_NODE, CONTINUE, DUPLICATE, IMAGE_NOT_FOUND, SITE_FAULT


class Stage(StrEnum):
    """How far a job has come, in our words."""

    QUEUED = "Queued"
    RUNNING = "Running"
    ENDING = "Ending"  # the outcome stands, the site still cleans up
    ENDED = "Ended"


class Blame(StrEnum):
    """Who or what ended an attempt: the retry classes."""

    NOBODY = "Nobody"
    USER = "User"
    INFRASTRUCTURE = "Infrastructure"
    PREEMPTION = "Preemption"
    TIME_LIMIT = "TimeLimit"
    CANCELLATION = "Cancellation"


@dataclass(frozen=True, slots=True)
class Ending:
    """What a terminal base state means. `reason` is the condition's word."""

    succeeded: bool
    reason: str
    blame: Blame


ENDINGS: dict[str, Ending] = {
    "COMPLETED": Ending(succeeded=True, reason="Completed", blame=Blame.NOBODY),
    "FAILED": Ending(succeeded=False, reason="Failed", blame=Blame.USER),
    "OUT_OF_MEMORY": Ending(succeeded=False, reason="OutOfMemory", blame=Blame.USER),
    "TIMEOUT": Ending(succeeded=False, reason="TimeLimit", blame=Blame.TIME_LIMIT),
    "DEADLINE": Ending(succeeded=False, reason="Deadline", blame=Blame.TIME_LIMIT),
    "CANCELLED": Ending(succeeded=False, reason="Cancelled", blame=Blame.CANCELLATION),
    "REVOKED": Ending(succeeded=False, reason="Revoked", blame=Blame.CANCELLATION),
    "PREEMPTED": Ending(succeeded=False, reason="Preempted", blame=Blame.PREEMPTION),
    "NODE_FAIL": Ending(succeeded=False, reason="NodeFailure", blame=Blame.INFRASTRUCTURE),
    "BOOT_FAIL": Ending(succeeded=False, reason="BootFailure", blame=Blame.INFRASTRUCTURE),
}
"""Terminal base states."""

STOPPED = Ending(succeeded=False, reason="Stopped", blame=Blame.TIME_LIMIT)
"""The attempt was told to stop before its time limit, and the next one is to go on."""

REFUSED = Ending(succeeded=False, reason="Refused", blame=Blame.USER)
"""The scheduler took the job and refused it afterwards; it never ran."""

ENDINGS_BY_CODE: dict[int, Ending] = {
    SITE_FAULT: Ending(succeeded=False, reason="SiteFault", blame=Blame.INFRASTRUCTURE),
    IMAGE_NOT_FOUND: Ending(succeeded=False, reason="ImageNotFound", blame=Blame.USER),
    BAD_NODE: Ending(succeeded=False, reason="BadNode", blame=Blame.INFRASTRUCTURE),
    CONTINUE: STOPPED,
}
"""What a FAILED job's exit code means, where it is one of onsite/codes.py: the batch script knows better than Slurm."""

LOG_REFUSED_SIGNAL = 53
"""A batch script that is ended by a signal exits with a code: this one is slurmstepd's own word."""

MAYBE_BEFORE_THE_CLAIM = frozenset(
    {"Cancelled", "Revoked", "Preempted", "Deadline", "NodeFailure", "BootFailure", "SiteFault", "Refused"}
)
"""Reasons of ends that a job may come to before its batch script has taken the run's claim: then another one of its
marker may have it, and train.
"""

ENDING_BY_REASON = {ending.reason: ending for ending in (*ENDINGS.values(), *ENDINGS_BY_CODE.values(), REFUSED)}
"""Back from a recorded reason."""

ACTIVE = {"PENDING": Stage.QUEUED, "RUNNING": Stage.RUNNING, "SUSPENDED": Stage.RUNNING}
"""Base states of a live job. A suspended job still holds its nodes: Slurm's reason tells the rest."""

REQUEUE_FLAGS = frozenset({"REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED"})
"""With one of these a terminal base state is the last life's: the job runs again."""

NO_REASON = frozenset({"", "None", "(null)"})
"""What Slurm prints where it has no reason for a waiting job."""


_NUMBER_LENGTH = 10
"""Digits of Slurm's job numbers, which have 32 bits. An id of A-REX has twelve hexadecimal ones, maybe all decimal."""
JOB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What may be the id of a job: one word that stands in addresses, paths and labels as it is."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A base state (`RUNNING`) and the flags beside it (`COMPLETING`). Unknown flags are kept and mean nothing."""

    base: str
    flags: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, words: list[str]) -> JobState:
        """Slurm's words, the base state at any place: `["CANCELLED", "COMPLETING"]`, or accounting's `PENDING
        REQUEUED`.
        """
        return _state(tuple(words))

    @property
    def stage(self) -> Stage:
        if self.flags & REQUEUE_FLAGS:
            return Stage.QUEUED
        if self.base in ENDINGS:
            return Stage.ENDING if "COMPLETING" in self.flags else Stage.ENDED
        if self.base == "PENDING" or "CONFIGURING" in self.flags:
            return Stage.QUEUED  # [PENDING, COMPLETING] after a requeue, too
        return ACTIVE.get(self.base, Stage.QUEUED)

    @property
    def ending(self) -> Ending | None:
        """What the end means, once it stands (from COMPLETING on); None for a live job."""
        return ENDINGS[self.base] if self.stage in (Stage.ENDING, Stage.ENDED) else None

    def __str__(self) -> str:
        return "+".join([self.base, *sorted(self.flags)])


@lru_cache(maxsize=512)
def _state(words: tuple[str, ...]) -> JobState:
    """Thousands of jobs are in a few states: all of them hold the same object."""
    base = next((word for word in words if word in ENDINGS or word in ACTIVE), "UNKNOWN")
    return JobState(base, frozenset(words) - {base})


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """One job as a site reports it.

    `job_id` is what its gateway calls it, `slurm_id` Slurm's own number where the gateway tells it and it differs.
    Times are epoch seconds of the site's clock, None where the site has none yet. `start_time` of a queued job is the
    scheduler's forecast. `exit_code` and `exit_signal` are None while unknown. `live` is False when accounting
    answered.
    """

    job_id: str
    name: str
    user: str
    cluster: str
    state: JobState
    submit_time: int
    state_reason: str = ""
    start_time: int | None = None
    end_time: int | None = None
    restart_count: int = 0
    partition: str = ""
    account: str = ""
    qos: str = ""
    nodes: str = ""
    node_count: int = 0
    gpus: int = 0
    time_limit_minutes: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    failed_node: str = ""
    """The node through which Slurm says that the job failed; slurmrestd's versions before v0.0.40 don't."""
    comment: str = ""
    """Of a gateway that tells no comment, what the job wrote into its report file instead."""
    report_trouble: str = ""
    """Why the report file of a job that has ended was not read, where that was given up."""
    standard_output: str = ""
    cancelled_by: str = ""
    refusal: str = ""
    """What is said of a job that was taken and then refused, where the gateway tells it."""
    slurm_id: str = ""
    surplus: bool = False
    """We had it cancelled as it waited beside the attempt's own job."""
    live: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the other jobs of its site: an id alone does not, where a site has lost its state and its
        ids have started again.
        """
        return self.job_id, self.name

    @property
    def stage(self) -> Stage:
        return self.state.stage

    @property
    def slurm_number(self) -> str:
        """Slurm's own number, as it stands in the names of logs; `""` where it isn't known."""
        ours = self.job_id.isdecimal() and len(self.job_id) <= _NUMBER_LENGTH
        return self.slurm_id or (self.job_id if ours else "")

    @property
    def scontrol_word(self) -> str:
        """What `scontrol hold` and `release` take for the job: its number, or its name where that isn't known."""
        return self.slurm_number or f"jobname={self.name}"

    @property
    def ending(self) -> Ending | None:
        """What the end means, once it stands; None for a live job. A code of ours says more than Slurm's FAILED."""
        if self.log_refused:
            return ENDINGS_BY_CODE[SITE_FAULT]
        if self.refused and self.state.ending is not None:
            return REFUSED
        if self.state.base == "FAILED" and self.exit_code is not None and self.state.ending is not None:
            return ENDINGS_BY_CODE.get(self.exit_code, self.state.ending)
        return self.state.ending

    @property
    def refused(self) -> bool:
        """The trace of a submit that was refused: Slurm keeps a job record of a request that fits no node. It never
        started; accounting keeps no reason of it.
        """
        return self.state.base == "FAILED" and self.start_time is None

    @property
    def may_have_begun_nothing(self) -> bool:
        """Whether it has ended, or ends, and may never have taken the run's claim."""
        return self.ending is not None and self.ending.reason in MAYBE_BEFORE_THE_CLAIM

    @property
    def never_began(self) -> bool:
        """Whether it waits for its first start."""
        return self.stage is Stage.QUEUED and self.restart_count == 0

    @property
    def log_refused(self) -> bool:
        """Slurm could not open the job's log, in a directory that is missing or closed to the user, and ran nothing.
        All of 22.05, 24.11 and 26.05 say so by this signal alone.
        """
        return self.state.base == "FAILED" and self.exit_signal == LOG_REFUSED_SIGNAL

    @property
    def cancelled_waiting(self) -> bool:
        """Whether it was cancelled before it began. Slurm tells of a start of such a one, too: its end."""
        start, end = self.start_time, self.end_time
        waited = start is None or (not self.node_count and end is not None and end <= start)
        return self.state.base == "CANCELLED" and self.state.ending is not None and waited

    @property
    def duplicate(self) -> bool:
        """Whether the fence turned this job away, or we did: another job is the attempt."""
        if self.surplus and self.state.base == "CANCELLED":
            return True
        return self.state.base == "FAILED" and self.exit_code == DUPLICATE


def id_order(job_id: str) -> tuple[int, str]:
    """Sorts job ids: numbers as numbers, and any others in some order that stays."""
    return len(job_id), job_id


def first_nodes(nodelist: str, limit: int) -> list[str]:
    """The first nodes of Slurm's `n[1-2,5],login`: expanded, in order, at most `limit`."""
    names: list[str] = []
    for part in _split_outside_brackets(nodelist):
        head, bracket, rest = part.partition("[")
        if not bracket:
            names.append(part)
        for span in rest.rstrip("]").split(",") if bracket else []:
            first, _, last = span.partition("-")
            if not first.isdigit() or not (last or first).isdigit():
                names.append(part)
                continue
            for number in range(int(first), int(last or first) + 1):
                names.append(f"{head}{number:0{len(first)}d}")
                if len(names) >= limit:
                    return names
    return names[:limit]


def _split_outside_brackets(nodelist: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, character in enumerate(nodelist):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(nodelist[start:place])
            start = place + 1
    return [part for part in [*parts, nodelist[start:]] if part]
