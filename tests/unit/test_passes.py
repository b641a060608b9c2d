"""What a pass may write down of a job, by who answers."""

from __future__ import annotations

import pytest

from passerelle.actions import Rest
from passerelle.current import Seen
from passerelle.gateways.base import Identity
from passerelle.marker import Run
from passerelle.objects import trainingjob
from passerelle.passes import Memory, Pass
from passerelle.planning import Planned
from passerelle.slurm import JobState, RemoteJob

UID = "00000000-0000-0000-0000-000000000001"
MARKER = Run.of_uid(UID).marker(1)
ATTEMPT = {
    "number": 1,
    "marker": MARKER,
    "cluster": "lumi",
    "user": "startup",
    "runDirectory": "/scratch/run",
    "scriptDigest": "",
    "jobId": "7",
}
BODY = {
    "metadata": {"namespace": "team-a", "name": "a", "uid": UID, "resourceVersion": "1", "generation": 1},
    "spec": {"site": "lumi", "image": "/i.sif", "command": ["train"]},
    "status": {"attempts": [ATTEMPT]},
}


def written(action: Rest, state: str) -> str:
    """The reason of the attempt's end, as this pass has it, when a colleague answers and his listing shows nothing."""
    job = RemoteJob(
        job_id="7", name=MARKER, user="startup", cluster="lumi", state=JobState.parse([state]), submit_time=100
    )
    seen = Seen(jobs=((1, job),), complete=True, quiet=True, identity=Identity("lumi", "colleague"))
    (attempt,) = Pass(trainingjob(BODY), None, Memory(), seen, action, Planned()).attempts
    return attempt.reason


@pytest.mark.parametrize("reason", ["SiteSilent", "IdentityChanged"])
def test_a_cancelled_job_is_no_end_while_nobody_tells_of_the_run_s_other_jobs(reason: str) -> None:
    assert written(Rest(reason), "CANCELLED") == ""
    assert written(Rest("Finished"), "CANCELLED") == "Cancelled"


@pytest.mark.parametrize("reason", ["SiteSilent", "IdentityChanged"])
def test_what_had_the_claim_has_ended_whoever_answers_now(reason: str) -> None:
    assert written(Rest(reason), "COMPLETED") == "Completed"
