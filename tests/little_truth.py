"""What is true of a play's TrainingJobs at the sites, in the words of the faults suite's check (faults/history.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faults.history import Blow, Job, Task, Told, Verdict, Wanted, What, check
from little_nodes import HardSite, Life
from passerelle.gateways.memory import Fate
from passerelle.marker import Run, parse
from passerelle.objects import Key
from passerelle.slurm import ENDINGS
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

OWN_ENDS: Mapping[str, Wanted] = {"COMPLETED": "ok", "FAILED": "fails"}
_BEFALL = frozenset({What.TIMEOUT, What.NODE_FAIL, What.PREEMPTED})


@dataclass
class Asked:
    """A TrainingJob that was created. The numbers are how often each was asked for."""

    key: Key
    run: Run
    kind: str
    fate: Fate
    most: int  # maxAttempts
    spec: dict[str, Any]
    deleted: bool = False
    deleted_at: float = 0.0
    suspended_at: float | None = None
    suspensions: int = 0
    retries: int = 0
    losses: int = 0  # of its status
    unheld: bool = False  # deleted as an older backup has it that knows nothing of what must be waited for


@dataclass(frozen=True, slots=True)
class Truth:
    """One of them at the end, with all the jobs that it ever had. `accounting`: it forgets none. `held`: nothing of it
    may live on. `status` is None where it is gone. `hit`: see Task.
    """

    asked: Asked
    lives: Sequence[tuple[HardSite, Life]]
    status: TrainingJobStatus | None
    accounting: bool
    held: bool
    hit: float = 0.0

    @property
    def task(self) -> Task:
        asked, uncounted = self.asked, self.status.attempts_suspended if self.status is not None else 0
        wanted: Wanted = "deleted" if asked.deleted else self._wanted()
        again = asked.retries * (1 + asked.losses)
        return Task(
            asked.key.name,
            asked.run.key,
            wanted,
            asked.most,
            max(uncounted, asked.suspensions),
            again,
            deleted_at=asked.deleted_at if asked.deleted else None,
            hit=self.hit if self.held else float("inf"),
        )

    def _wanted(self) -> Wanted:
        """As the trainer ended that began in the last attempt; where none did, what befell it is its excuse."""
        mine = [(site, life) for site, life in self.lives if _number(life) == self.last]
        began = [OWN_ENDS.get(site.base(life), "ok") for site, life in mine if life.began]
        return began[0] if began else "ok"

    @property
    def last(self) -> int:
        return max((_number(life) for _, life in self.lives), default=0)

    @property
    def told(self) -> Told | None:
        if self.status is None:
            return None
        conditions = {each.type: each for each in self.status.conditions}
        finished, succeeded = conditions.get("Finished"), conditions.get("Succeeded")
        return Told(
            finished=finished is not None and finished.status == "True",
            succeeded=succeeded.status if succeeded is not None else "",
            reason=succeeded.reason if succeeded is not None else "",
            attempts=last(self.status),
            job_ids=tuple(each.job_id or "" for each in self.status.attempts),
        )

    @property
    def jobs(self) -> list[Job]:
        """The rows that accounting has."""
        return [
            Job(
                life.job.job_id,
                life.marker,
                site.base(life),
                int(life.job.submitted),
                over=over,
                known=not life.lost,
                ended=int(life.job.end) if site.base(life) in ENDINGS else 0,
                by=life.ended_by,
            )
            for site, life in self.lives
            if (self.held or not site.lives(life)) and not self._forgotten(site, life)
            for over in [not site.lives(life) and not life.lost]
        ]

    def _forgotten(self, site: HardSite, life: Life) -> bool:
        """Whether no memory is left of a job's end: then the TrainingJob may say so of its last attempt."""
        said = self.told
        lost = said is not None and said.reason == "OutcomeLost" and _number(life) == self.last
        return lost and not self.accounting and site.base(life) in ENDINGS

    @property
    def blows(self) -> list[Blow]:
        found: list[Blow] = []
        for site, life in self.lives:
            base = site.base(life)
            whats = [What.REQUEUED] * life.job.restarts
            if (life.lost and base not in ENDINGS) or not self.accounting:
                whats.append(What.LOST)
            if base in _BEFALL and not self._left_to_try(life):
                whats.append(What(base))
            if base == What.CANCELLED and (life.ended_by == "somebody" or self.asked.losses):
                whats.append(What.CANCELLED)
            found += [Blow(life.marker, life.job.job_id, what, int(life.job.submitted)) for what in whats]
        return found

    def _left_to_try(self, life: Life) -> bool:
        if self.status is None or _number(life) < self.last:
            return False
        return last(self.status) - self.status.attempts_suspended < self.asked.most


def judged(truths: Sequence[Truth], sent_twice: Collection[str]) -> Verdict:
    by_marker: dict[str, list[Life]] = {}
    for truth in truths:
        for _, life in truth.lives:
            by_marker.setdefault(life.marker, []).append(life)
    return check(
        [each.task for each in truths],
        [row for each in truths for row in each.jobs],
        _words(by_marker),
        {each.asked.key.name: told for each in truths if (told := each.told) is not None},
        blows=[blow for each in truths for blow in each.blows],
        ended={
            marker: [
                life.job.job_id
                for truth in truths
                for site, life in truth.lives
                if life.marker == marker and life.began and site.base(life) in OWN_ENDS
            ]
            for marker in by_marker
        },
        sent_twice=sent_twice,
    )


def twice(by_marker: Mapping[str, Sequence[Life]]) -> list[str]:
    """What began in two jobs, or in one more often than that was requeued."""
    blows = [
        Blow(life.marker, life.job.job_id, What.REQUEUED)
        for lives in by_marker.values()
        for life in lives
        for _ in range(life.job.restarts)
    ]
    return check([], [], _words(by_marker), {}, blows=blows).executed_twice


def last(status: TrainingJobStatus) -> int:
    return max((each.number for each in status.attempts), default=0)


def _words(by_marker: Mapping[str, Sequence[Life]]) -> dict[str, list[str]]:
    """As the trainers themselves would write them down."""
    found = {
        marker: [f"{life.job.job_id}+{each}" if each else life.job.job_id for life in lives for each in life.began]
        for marker, lives in by_marker.items()
    }
    return {marker: words for marker, words in found.items() if words}


def _number(life: Life) -> int:
    named = parse(life.marker)
    return named[1] if named is not None else 0
