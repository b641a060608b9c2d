"""Rows on answers that were written down: how Slurm's ends are read through a door that has few words of its own."""

from __future__ import annotations

import pytest

from contract.recordings import Recorded
from passerelle.slurm import Stage


@pytest.mark.row("ends")
async def test_an_end_is_read_as_what_it_was(recorded: Recorded) -> None:
    async with recorded.open() as door:
        (job,) = await door.get([recorded.job_id])

    assert job.stage is Stage.ENDED
    assert job.ending is not None
    assert job.ending.reason == recorded.reason
    assert (job.nodes, job.refused) == (recorded.nodes, False)
    if recorded.waited is not None:
        assert job.start_time == job.submit_time + recorded.waited
