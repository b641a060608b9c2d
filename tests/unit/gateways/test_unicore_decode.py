"""UNICORE's job -> RemoteJob: its few states, and what Slurm and the server's words add to them.

The jobs are as UNICORE/X 3.0.0 showed them; `details` is what `scontrol show job` said, cut into pairs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from passerelle.gateways.unicore import decode
from passerelle.slurm import Blame, JobState, RemoteJob, Stage

MARKER = "psr-" + "a" * 26 + "-2"
SUBMITTED = 1_795_577_721
LOG = ["Wed Nov 25 04:35:21 CET 2026: Created with type 'JSON'", "Wed Nov 25 04:45:21 CET 2026: Status set to DONE."]
JOB: dict[str, Any] = {
    "status": "SUCCESSFUL",
    "statusMessage": "",
    "exitCode": "0",
    "name": MARKER,
    "tags": [MARKER, "passerelle"],
    "submissionTime": "2026-11-25T03:35:21+0000",
    "terminationTime": "2026-11-26T03:35:21+0000",
    "batchSystemID": "4711",
    "queue": "booster",
    "consumedTime": {"total": "N/A", "queued": "120", "stage-in": "2", "main": "60", "preCommand": "N/A"},
    "log": LOG,
}
DETAILS = {
    "JobId": "4711",
    "JobState": "RUNNING",
    "Reason": "None",
    "Restarts": "0",
    "NodeList": "jpbo-[001-002]",
    "NumNodes": "2",
    "Partition": "booster",
    "Account": "reformo",
    "QOS": "normal",
    "TimeLimit": "1-02:03:00",
    "AllocTRES": "cpu=576,mem=1T,node=2,billing=576,gres/gpu=8",
    "StdOut": "/e/scratch/psr-4711.out",
    "ExitCode": "0:0",
    "SubmitTime": "2026-11-25T04:35:23",
}


def read(details: dict[str, str] | None = None, **changes: object) -> RemoteJob:
    record = {key: value for key, value in (JOB | changes).items() if value is not None}
    return decode.job("B4jDR837ABd", record, details or {}, cluster="JUPITER", user="startup1")


def failed(message: str, **changes: object) -> RemoteJob:
    return read(None, **({"status": "FAILED", "exitCode": None, "statusMessage": message} | changes))


@pytest.mark.parametrize(
    "status, stage",
    [
        ("READY", Stage.QUEUED),
        ("STAGINGIN", Stage.QUEUED),
        ("QUEUED", Stage.QUEUED),
        ("RUNNING", Stage.RUNNING),
        ("STAGINGOUT", Stage.RUNNING),
        ("SUCCESSFUL", Stage.ENDED),
        ("FAILED", Stage.ENDED),
        ("UNDEFINED", Stage.QUEUED),
    ],
)
def test_every_state_has_its_stage(status: str, stage: Stage) -> None:
    assert decode.light_state({"status": status}).stage is stage


def test_a_running_job_is_told_with_what_slurm_says_of_it() -> None:
    job = read(DETAILS, status="RUNNING", exitCode=None)

    assert (job.job_id, job.slurm_id, job.name) == ("B4jDR837ABd", "4711", MARKER)
    assert (job.cluster, job.user, job.partition, job.account, job.qos) == (
        "JUPITER", "startup1", "booster", "reformo", "normal",
    )  # fmt: skip
    assert (job.nodes, job.node_count, job.gpus, job.time_limit_minutes) == ("jpbo-[001-002]", 2, 8, 1563)
    assert job.standard_output == "/e/scratch/psr-4711.out"
    assert (job.submit_time, job.start_time, job.end_time) == (SUBMITTED, SUBMITTED + 122, None)
    assert (job.exit_code, job.exit_signal, job.state_reason) == (None, None, "")


def test_success_ends_when_the_log_does() -> None:
    job = read()

    assert job.state == JobState("COMPLETED")
    assert (job.exit_code, job.end_time) == (0, SUBMITTED + 600)


def test_an_exit_code_is_the_script_s_own() -> None:
    job = failed("User application exited with non-zero exit code: <215>.", exitCode="215")

    assert (job.state.base, job.exit_code) == ("FAILED", 215)
    assert job.ending is not None
    assert job.ending.reason == "Stopped"


def test_a_job_that_was_aborted_was_cancelled() -> None:
    job = failed("Job aborted.")

    assert (job.state.base, job.exit_code) == ("CANCELLED", None)


REFUSALS = [
    (
        "Processing failed: eu.unicore.xnjs.ems.ExecutionException: Resource request <Queue = nowhere> is out of "
        "range. (Invalid resource request)"
    ),
    "Processing failed: java.lang.Exception: Job type 'raw' requires 'BSS file'",
    (
        "Processing failed: Could not submit job: TSI_FAILED: Command 'sbatch ./x' failed with code 1: sbatch: error: "
        "Batch job submission failed: Invalid account or account/partition combination specified:\n (Command execution "
        "on TSI reported an error)"
    ),
]


SAID = [
    "Resource request <Queue = nowhere> is out of range",
    "Job type 'raw' requires 'BSS file'",
    "Batch job submission failed: Invalid account or account/partition combination specified",
]


@pytest.mark.parametrize("message, said", list(zip(REFUSALS, SAID, strict=True)))
def test_a_refusal_that_came_late_reads_as_slurm_s_own(message: str, said: str) -> None:
    job = failed(message, batchSystemID="N/A", consumedTime={"queued": "N/A"})

    assert (job.state.base, job.state_reason) == ("FAILED", "BadConstraints")
    assert job.refused
    assert job.refusal == said
    assert job.ending is not None
    assert (job.ending.reason, job.ending.blame) == ("Refused", Blame.USER)
    assert (job.exit_code, job.start_time, job.nodes) == (None, None, "")


TROUBLES = [
    "Processing failed: Could not submit job: Could not acquire TSI submit lock (timeout)",
    "Staging in failed. Reason: Inline import to '/x' failed: No space left on device",
    "Processing failed: Problem creating working directory: TSI node is unavailable",
    "Processing failed: Could not submit job: TSI_FAILED: Unable to contact slurm controller (connect failure)",
]


@pytest.mark.parametrize("message", TROUBLES)
def test_trouble_of_unicore_s_own_is_nobody_s_refusal(message: str) -> None:
    job = failed(message, batchSystemID="N/A", consumedTime={})

    assert job.ending is not None
    assert job.ending.blame is Blame.INFRASTRUCTURE
    assert not job.refused


LOST = "Job did not complete normally on BSS, please check standard error file and job log for more information."


@pytest.mark.parametrize(
    "state, code, base, exit_",
    [
        ("TIMEOUT", "0:0", "TIMEOUT", (None, None)),
        ("OUT_OF_MEMORY", "0:125", "OUT_OF_MEMORY", (None, 125)),
        ("NODE_FAIL", "1:0", "NODE_FAIL", (1, None)),
        ("PREEMPTED", "0:0", "PREEMPTED", (None, None)),
        ("CANCELLED", "0:15", "CANCELLED", (None, None)),
        ("FAILED", "212:0", "FAILED", (212, None)),
        ("FAILED", "0:53", "FAILED", (None, 53)),
        ("COMPLETED", "0:0", "COMPLETED", (0, None)),
        ("RUNNING", "0:0", "FAILED", (None, None)),
    ],
)
@pytest.mark.parametrize("place", ["details", "log"])
def test_an_end_without_an_exit_code_is_slurm_s_to_tell(
    place: str, state: str, code: str, base: str, exit_: tuple[int | None, int | None]
) -> None:
    told = DETAILS | {"JobState": state, "ExitCode": code}
    line = f"{LOG[1][:29]}: Detailed job information from batch system: {json.dumps(told)}"
    changes = {"log": [LOG[0], line, LOG[1]]} if place == "log" else {}

    job = failed(LOST, **changes) if place == "log" else read(told, status="FAILED", exitCode=None, statusMessage=LOST)

    assert (job.state.base, (job.exit_code, job.exit_signal)) == (base, exit_)
    assert job.end_time == SUBMITTED + 600
    assert not job.refused


def test_the_marker_is_the_tag_and_only_of_jobs_of_ours() -> None:
    assert read(name="N/A").name == MARKER
    assert read(tags=["passerelle"]).name == ""
    assert read(tags=[MARKER]).name == ""
    assert read(tags=[MARKER, MARKER[:-1] + "3", "passerelle"]).name == ""
    assert read(tags=None).name == ""


def test_a_number_of_unicore_s_own_is_not_slurm_s() -> None:
    assert read(batchSystemID="INTERNAL-TSI-1").slurm_id == ""
    assert read(batchSystemID="N/A").slurm_id == ""


def test_a_requeued_job_has_slurm_s_later_submit_time() -> None:
    """Slurm's times have no zone; the log's first line shows by how much they are off."""
    again = DETAILS | {"Restarts": "1", "SubmitTime": "2026-11-25T05:35:23"}

    job = read(again, status="RUNNING", exitCode=None)

    assert (job.restart_count, job.submit_time) == (1, SUBMITTED + 3602)


def test_a_comment_comes_whole_or_not_at_all() -> None:
    """UNICORE cuts what Slurm says at blanks."""
    assert read(DETAILS | {"Comment": '{"v":1,"s":3}'}).comment == '{"v":1,"s":3}'
    assert read(DETAILS | {"Comment": '{"v":1,"err":"out'}).comment == ""


@pytest.mark.parametrize("log", [None, [], ["no time at all"], "nothing", [None, 3]])
def test_a_log_that_tells_no_time_ends_with_the_submit(log: object) -> None:
    assert read(log=log).end_time == SUBMITTED


@pytest.mark.parametrize("base", ["NODE_FAIL", "PREEMPTED", "TIMEOUT", "CANCELLED"])
def test_slurms_own_end_counts_more_than_the_code_of_the_script_that_it_ended(base: str) -> None:
    ended = {"status": "FAILED", "statusMessage": "Job completed with exit code 143", "exitCode": "143"}

    job = read({"JobState": base, "ExitCode": "0:15"}, **ended)

    assert (job.state.base, job.exit_code) == (base, None)


def test_without_slurms_word_the_script_s_code_is_all_there_is() -> None:
    job = read({}, status="FAILED", exitCode="143")

    assert (job.state.base, job.exit_code) == ("FAILED", 143)
