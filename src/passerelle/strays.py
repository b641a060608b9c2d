"""Jobs of ours at a site whose marker names no TrainingJob here: of another cluster that submits as the same user, or
of a TrainingJob that went without its job. They are told of and never cancelled. Pure.

Only a full live listing shows them. One is read for other reasons now and then, and at rest once an hour, for the first
time soon after the beginning; every two hours where a site's calls run short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from passerelle.gateways.base import Identity
from passerelle.marker import Run, parse
from passerelle.picture import Picture
from passerelle.slurm import RemoteJob, Stage, id_order

SURVEY_SECONDS = 3600.0
"""How old a full listing may become: of ten thousand jobs it takes a site seconds."""

FIRST_SECONDS = 120.0
"""How long after the beginning the first one comes: what was known before is found by its ids until then."""

KEPT = 1000
"""Jobs that are kept of a listing; beyond that a person needs no longer list."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A job that no run in view knows. `number` is what people at the site call it."""

    run: Run
    attempt: int
    number: str

    def __str__(self) -> str:
        return f"{self.number} ({self.run.marker(self.attempt)})"


class Strays:
    """At one site. `now` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due = now() + FIRST_SECONDS
        self._identity: Identity | None = None
        self._found: tuple[Stray, ...] = ()
        self._asked: set[Stray] = set()

    @property
    def due(self) -> bool:
        """Whether it is time for a listing that nobody else asked for."""
        return self._now() >= self._due

    @property
    def overdue(self) -> bool:
        """Whether it was put off for so long that it comes whatever the hour's calls have room for."""
        return self._now() >= self._due + SURVEY_SECONDS

    def put_off(self) -> None:
        """One is tried now, whatever comes of it."""
        self._due = self._now() + SURVEY_SECONDS

    def listed(self, jobs: Iterable[RemoteJob], picture: Picture) -> None:
        """A full live listing of our jobs. Which of these have a TrainingJob that nobody looks up is not known here."""
        self.put_off()
        self._identity = picture.identity
        live = (
            job for job in jobs if job.stage is not Stage.ENDED and Identity(job.cluster, job.user) == self._identity
        )
        named = ((job, found) for job in live if (found := parse(job.name)) is not None)
        unknown = [(job, found) for job, found in named if found[0] not in picture.views]
        unknown.sort(key=lambda each: id_order(each[0].job_id))
        self._found = tuple(
            Stray(run, attempt, job.slurm_number or job.job_id) for job, (run, attempt) in unknown[:KEPT]
        )

    def forgotten(self, is_here: Callable[[Stray], bool]) -> list[Stray]:
        """Those of the last listing that have a TrainingJob after all, each once: it may have come into view since."""
        self._asked.intersection_update(self._found)
        new = [each for each in self._found if each not in self._asked and is_here(each)]
        self._asked.update(new)
        return new

    def found(self, identity: Identity | None) -> tuple[Stray, ...]:
        """Those of the last listing, where who was asked then is who answers now."""
        return self._found if identity == self._identity else ()
