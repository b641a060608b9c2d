"""Rows on answers that were written down: how Slurm's ends are read through a door that has few words of its own."""

from __future__ import annotations

import pytest

from contract.recordings import Recorded
from passerelle.slurm import Stage


@pytest.mark.row("ends")
async def test_an_end_is_read_as_what_it_was(recorded: Recorded) -> None:
    door = recorded.open()

    (job,) = await door.get([recorded.job_id])

    await door.close()
    assert job.stage is Stage.ENDED
    assert job.ending is not None
    assert job.ending.reason == recorded.reason
    assert (job.nodes, job.start_time, job.refused) == (recorded.nodes, job.submit_time + 4, False)
