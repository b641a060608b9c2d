"""A transfer job that waits is looked at less and less."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

import virtual_time
from passerelle.slurm import JobState, RemoteJob
from passerelle.staging.transfer_job import LONGEST_LOOK, HandoverDoor, ended

NAME = "carries"


class Waits:
    """A gateway whose one transfer job waits until a moment, and has ended then."""

    transfer_names = frozenset({NAME})

    def __init__(self, ends_at: float) -> None:
        self.clock = asyncio.get_running_loop().time
        self.ends_at = self.clock() + ends_at
        self.looks: list[float] = []

    async def get(self, job_ids: list[str]) -> list[RemoteJob]:
        self.looks.append(self.clock())
        state = "COMPLETED" if self.clock() >= self.ends_at else "PENDING"
        return [
            RemoteJob(job_id=job_ids[0], name=NAME, user="ada", cluster="alps", state=JobState(state), submit_time=1)
        ]


def test_looks_at_a_job_that_waits_slacken() -> None:
    async def main() -> None:
        gate = Waits(7200)
        job = await ended(cast("HandoverDoor", gate), "7", lambda *_: None, 10.0)
        pauses = [later - earlier for earlier, later in zip(gate.looks, gate.looks[1:], strict=False)]

        assert job is not None
        assert pauses[:3] == pytest.approx([10, 15, 22.5], abs=0.001)
        assert max(pauses) == pytest.approx(10 * LONGEST_LOOK, abs=0.001)
        assert len(pauses) < 80, "every 10 s it would be 720"

    virtual_time.run(main())
