"""A-REX's answers, as 7.0 and 6 give them, and what they mean for a job's end."""

from __future__ import annotations

from typing import Any

import pytest

from passerelle.errors import Invalid, Misaddressed, Unavailable
from passerelle.gateways.arc import decode, notes, service
from passerelle.gateways.arc.files import candidates, within
from passerelle.gateways.arc.notes import Left
from passerelle.gateways.arc.outcome import UNKNOWN, End, ending
from passerelle.slurm import JobState, Stage

LOCAL = """\
globalid=https://arc.example.eu/arex/rest/1.0/jobs/5d5dcdb11efb
queue=gpu
localid=3429035
args=/bin/sh -c echo\\ H4sI\\ jobname=x
subject=/DC=org/CN=ada
starttime=20261125040029Z
jobname=psr-th5tbs5ijvazrd3uzuff77quoe-1
sessiondir=/scratch/arc/session/5d5dcdb11efb
"""
STEPD = "slurmstepd-n1: error: *** JOB 3429035 ON n1 CANCELLED AT 2026-11-25T04:01:50 {}***\n"
OUTPUT = "------- Contents of output stream forwarded by the LRMS ---------\n"


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"job": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ({"job": {"id": "a"}}, ["a"]),
        ({"job": []}, []),
        ({"job": ""}, []),
        ({}, []),
        ({"jobs": {"job": [{"id": "a"}]}}, ["a"]),
    ],
)
def test_lists_of_one_and_of_none_are_lists(body: dict[str, Any], expected: list[str]) -> None:
    found = decode.job_list(body)
    assert found is not None
    assert [job["id"] for job in found] == expected
    assert decode.job_list(None) is None


def test_what_arex_wrote_down_is_read() -> None:
    found = decode.local(LOCAL)
    assert found.name == "psr-th5tbs5ijvazrd3uzuff77quoe-1"
    assert (found.slurm_id, found.queue, found.sessiondir) == ("3429035", "gpu", "/scratch/arc/session/5d5dcdb11efb")
    assert found.submitted == decode.moment("2026-11-25T04:00:29Z") == 1795579229
    assert decode.local("jobname=x\nlocalid=UNDEFINED\n").slurm_id == ""


@pytest.mark.parametrize("word", sorted(decode.QUEUED | decode.RUNNING | {"HELD", "KILLING", "SOMETHINGNEW"}))
def test_no_word_of_a_live_job_is_an_end(word: str) -> None:
    state = decode.active(word)
    assert state.stage is not Stage.ENDED
    assert (state.ending is None) is (word != "KILLING")


@pytest.mark.parametrize(
    "end, base, code",
    [
        (End("FINISHED", left=Left(0, 1)), "COMPLETED", 0),
        (End("FINISHED", tools=OUTPUT + STEPD.format("DUE TO TIME LIMIT ")), "TIMEOUT", None),
        (End("FAILED", ("LRMS error: (15) Job was cancelled",), STEPD.format("")), "CANCELLED", None),
        (End("FAILED", ("LRMS error: (271) Job failed",), STEPD.format("DUE TO PREEMPTION ")), "PREEMPTED", None),
        (End("FAILED", ("LRMS error: (1) Node fail",)), "NODE_FAIL", None),
        (End("FAILED", (), STEPD.format("DUE TO NODE n1 FAILURE ")), "NODE_FAIL", None),
        (End("FAILED", ("LRMS error: (15) Job timeout",)), "TIMEOUT", None),
        (End("FAILED", ("LRMS error: (3) Job failed",), left=Left(3, 1)), "FAILED", 3),
        (End("FAILED", ("LRMS error: (72) Job failed",), left=Left(200, 1)), "FAILED", 200),
        (End("FAILED", ("LRMS error: (3) Job failed",)), "FAILED", 3),
        (End("FAILED", ("LRMS error: (-1) Job failed",)), "FAILED", None),
        (End("FAILED", ("LRMS error: (-1) Job missing from SLURM",), left=Left(0, 1)), "COMPLETED", 0),
        (End("FAILED", ("LRMS error: (-1) Job missing from SLURM",), left=Left(7, 1)), "FAILED", 7),
        (End("KILLED", ("Job is canceled by external request",)), "CANCELLED", None),
        (End("KILLED", ("Job is canceled by external request",), left=Left(0, 1)), "COMPLETED", 0),
        (End("KILLED", ("Job is canceled by external request",), left=Left(143, 1)), "CANCELLED", None),
        (
            End("KILLED", tools="*** JOB 41 ON n1 CANCELLED AT 2026-11-25T10:00:00 ***", left=Left(0, 1)),
            "CANCELLED",
            None,
        ),
        (
            End("KILLED", ("Job is canceled",), STEPD.format("DUE to SIGNAL Terminated "), Left(0, 1)),  # of 26.05
            "CANCELLED",
            None,
        ),
        (End("FAILED", ("Job is canceled by external request",)), "CANCELLED", None),
        (
            End("FAILED", ("LRMS error: (1) Job failed",), OUTPUT + "Detected 1 oom_kill event in step", Left(1, 1)),
            "OUT_OF_MEMORY",
            None,
        ),
    ],
)
def test_what_is_told_of_an_end_counts(end: End, base: str, code: int | None) -> None:
    found = ending(end, reached_slurm=True)
    assert (found.state, found.exit_code) == (JobState(base), code)


@pytest.mark.parametrize(
    "end",
    [
        End("FINISHED"),
        End("FAILED", ("LRMS error: (-1) Job missing from SLURM",)),
        End("FAILED", ("Failed in files download",)),
    ],
)
def test_what_nobody_tells_is_not_guessed(end: End) -> None:
    assert ending(end, reached_slurm=True).state == UNKNOWN


def test_the_script_in_arexs_diary_is_no_witness() -> None:
    """It stands there as A-REX submitted it, whatever words are in it."""
    diary = "SLURM script follows:\n# beware of the Out Of Memory killer\n" + OUTPUT + "End of output\n"
    found = ending(End("FAILED", ("LRMS error: (1) Job failed",), diary, Left(1, 1)), reached_slurm=True)
    assert found.state == JobState("FAILED")


def test_a_job_that_sbatch_refused_says_why() -> None:
    tools = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n"
    found = ending(End("FAILED", ("Job submission to LRMS failed",), tools), reached_slurm=False)
    assert found.state == JobState("FAILED")
    assert found.reason.startswith("Job submission to LRMS failed; Batch job submission failed: Invalid account")
    assert found.refusal == found.reason


def test_a_signal_is_told_apart_from_a_code() -> None:
    found = ending(End("FAILED", ("LRMS error: (265) Job failed",)), reached_slurm=True)
    assert (found.exit_code, found.exit_signal) == (None, 9)


def test_the_notes_are_read_back() -> None:
    given = notes.given(
        "1795579531\n/scratch/psr-1.out\nJobId=1 Account=startup QOS=normal NumNodes=2 NodeList=n[1-2] "
        "TimeLimit=1-00:33:00 ReqTRES=cpu=12,gres/gpu=4 AllocTRES=cpu=12,node=2,gres/gpu=8\n"
    )
    assert given is not None
    assert (given.began, given.standard_output, given.gpus) == (1795579531, "/scratch/psr-1.out", 8)
    assert given.time_limit_minutes == 24 * 60 + 33
    assert given.fields["NodeList"] == "n[1-2]"
    silent = notes.given("1795579531\n/scratch/psr-1.out\n")
    assert silent is not None
    assert (silent.gpus, silent.time_limit_minutes) == (0, None), "scontrol did not answer"
    assert notes.given("") is None
    assert notes.left("3 1795579531\n") == Left(3, 1795579531)
    assert notes.left("") is notes.left("3") is notes.left("x y") is None


def glue(**manager: Any) -> dict[str, Any]:
    computing = {"ID": "urn:ogf:ComputingService:arc.vega.example:arex", "ComputingManager": manager}
    return {"Domains": {"AdminDomain": {"Services": {"ComputingService": computing}}}}


def test_a_service_tells_who_it_is() -> None:
    listed = {"ApplicationEnvironment": [{"AppName": "ENV/PROXY"}, {"AppName": "PASSERELLE", "AppVersion": "1.0"}]}
    told = service.service(glue(ProductName="slurm", ProductVersion="24.11.5", ApplicationEnvironments=listed))
    assert (told.cluster, told.slurm) == ("arc.vega.example", "24.11.5")
    assert told.lists("PASSERELLE-1.0")
    assert told.lists("env/proxy")
    assert not told.lists("PASSERELLE")
    alone = service.service(
        glue(ProductName="SLURM", ApplicationEnvironments={"ApplicationEnvironment": {"AppName": "X"}})
    )
    assert alone.environments == {"X"}
    assert service.service(glue(ProductName="slurm", ApplicationEnvironments="\n  ")).environments == frozenset()


def test_another_batch_system_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="HTCondor"):
        service.service(glue(ProductName="HTCondor"))
    for body in ({}, None, glue()):
        with pytest.raises(Unavailable):
            service.service(body)


@pytest.mark.parametrize(
    "body, expected",
    [({"version": ["1.0", "1.1", "2.0"]}, "1.1"), ({"version": "1.0"}, "1.0"), ({"version": ["1.0"]}, "1.0")],
)
def test_the_newest_version_that_is_known_is_spoken(body: dict[str, Any], expected: str) -> None:
    assert service.version(body) == expected


@pytest.mark.parametrize("body", [None, {}, {"version": ["2.0"]}])
def test_an_address_without_a_version_says_what_to_write(body: dict[str, Any] | None) -> None:
    with pytest.raises(Misaddressed, match=r"like https://arc\.example\.eu/arex, without /rest") as caught:
        service.version(body)
    assert caught.value.reason == "NoKnownVersion"


def test_a_path_belongs_to_the_session_directory_that_it_lies_in() -> None:
    local = decode.local(LOCAL)
    assert candidates(f"{local.sessiondir}/a/b")[0] == "5d5dcdb11efb"
    assert within(f"{local.sessiondir}/a/b", local) == "a/b"
    for path in (local.sessiondir, f"{local.sessiondir}/../x", "/etc/hostname", f"{local.sessiondir}x/a"):
        assert within(path, local) is None
