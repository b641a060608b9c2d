"""How a job is ended, or told to end: after reading that the id is still its own. Ids start again where a site has lost
its state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from passerelle import stopping
from passerelle.gate import Gate
from passerelle.gateways.base import Gateway, Identity
from passerelle.gateways.courtesy import Courtesy, Kind
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.marker import Run
from passerelle.picture import Picture
from passerelle.reports import RunDirectory
from passerelle.slurm import RemoteJob, Stage


class Endings:
    """At one site, whatever its door is by now. Whose job it is must be who answers there: Unavailable else."""

    def __init__(
        self,
        door: Callable[[], Gateway],
        picture: Picture,
        gate: Gate,
        *,
        courtesy: Courtesy,
        run_directory: RunDirectory,
    ) -> None:
        self._door = door
        self._picture = picture
        self._gate = gate
        self._courtesy = courtesy
        self._run_directory = run_directory

    async def cancel(self, run: Run, attempt: int, job: RemoteJob, *, surplus: bool) -> RemoteJob | None:
        """Have it cancelled; a `surplus` one only while it waits. Its record, where that was not done: it has ended, or
        begun.
        """
        with self._ending(job):
            door = self._door()
            records = await door.get([job.job_id])
            mine = next((each for each in records if each.name == job.name and self._picture.ours(each)), None)
            if mine is not None and (mine.stage is Stage.ENDED or (surplus and not mine.never_began)):
                return mine
            if mine is not None:
                if surplus:
                    self._picture.turn_away(run, mine)
                await door.cancel(job.job_id)
            elif records:
                self._picture.lose(run, attempt, job)
        return None

    async def ask_to_stop(self, job: RemoteJob) -> bool:
        """Have it save and stop. False where nobody can ask it."""
        with self._ending(job):
            door = self._door()
            records = await door.get([job.job_id])
            if any(each.name == job.name and self._picture.ours(each) for each in records):
                return await stopping.ask(door, job, self._run_directory)
        return False

    @contextlib.contextmanager
    def _ending(self, job: RemoteJob) -> Iterator[None]:
        """To read this job and to end it are one try: where the site answers to neither, the others need not."""
        whose = Identity(job.cluster, job.user)
        with self._gate.passing(whose), made_for(Purpose.END), self._courtesy.trying(Kind.ENDS, job.job_id):
            yield
