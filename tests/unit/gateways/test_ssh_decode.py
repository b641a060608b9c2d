"""What the commands of three releases printed, blanks squeezed into ␣n␣, and whose words in it are anybody's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from passerelle.gateways.ssh import decode
from passerelle.gateways.ssh.commands import ACCOUNTED, LIGHT
from passerelle.gateways.ssh.decode import NotUnderstood, Site
from passerelle.slurm import JobState, RemoteJob, Stage

MARK = "m0123456789abcdef"
RECORDINGS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "recordings" / "ssh").glob("*.json"))
}
RELEASES = pytest.mark.parametrize("release", RECORDINGS)
HERE = Site("sandbox", "24.11.5", "startup", "1000")


def stdout(answer: dict[str, Any]) -> str:
    assert answer["status"] == 0
    return re.sub("␣(\\d+)␣", lambda found: " " * int(found[1]), answer["stdout"])


def marker(letter: str) -> str:
    return f"psr-{letter * 26}-1"


def live(release: str) -> dict[str, RemoteJob]:
    recorded = RECORDINGS[release]
    kinds = {job_id: kind for kind, job_id in recorded["ids"].items()}
    return {kinds.get(job.job_id, "refused"): job for job in decode.live(stdout(recorded["live"]), MARK, HERE)}


def accounted(release: str) -> dict[str, RemoteJob]:
    recorded = RECORDINGS[release]
    kinds = {job_id: kind for kind, job_id in recorded["ids"].items()}
    rows = decode.newest(decode.accounted(stdout(recorded["by id"]), MARK, HERE))
    return {kinds[job.job_id]: job for job in rows}


def test_recordings_are_there() -> None:
    assert set(RECORDINGS) == {"22.05", "24.11", "26.05"}


@RELEASES
def test_who_answers(release: str) -> None:
    found = decode.site(stdout(RECORDINGS[release]["who"]))

    assert (found.cluster, found.user, found.uid) == ("sandbox", "startup", "1000")
    assert found.release.startswith(release)


@RELEASES
def test_a_bar_and_a_line_break_of_somebody_are_a_part_of_his_field(release: str) -> None:
    for job in (live(release)["hostile"], accounted(release)["hostile"]):
        assert job.name == "a|b\nc; %s"
        assert job.state == JobState("RUNNING")
        assert (job.nodes, job.node_count, job.gpus, job.time_limit_minutes) == ("n[1-2]", 2, 4, 33)
        assert (job.account, job.qos, job.partition, job.user) == ("startup", "normal", "gpu", "startup")
        assert (job.end_time, job.exit_code, job.exit_signal) == (None, None, None)
    assert live(release)["hostile"].comment == 'x|y\n z é "q" FAILED'


@RELEASES
def test_jobs_that_wait(release: str) -> None:
    held, again = live(release)["held"], live(release)["requeued"]

    assert (held.stage, held.state_reason, held.start_time, held.nodes) == (Stage.QUEUED, "JobHeldUser", None, "")
    assert (again.stage, again.state_reason, again.restart_count) == (Stage.QUEUED, "BeginTime", 1)
    assert again.start_time is not None, "the forecast"
    assert accounted(release)["held"].stage is Stage.QUEUED
    newer = accounted(release)["requeued"]
    assert (newer.state, newer.submit_time) == (JobState("PENDING"), again.submit_time), "the newest row of two"


@RELEASES
def test_how_jobs_ended(release: str) -> None:
    for jobs in (live(release), accounted(release)):
        ends = {kind: (job.state.base, job.exit_code, job.exit_signal) for kind, job in jobs.items()}
        assert ends["done"] == ("COMPLETED", 0, None)
        assert ends["failed"] == ("FAILED", 3, None)
        assert ends["killed"] == ("FAILED", None, 9)
        assert ends["heldcancelled"] == ("CANCELLED", None, None)
        assert jobs["nolog"].log_refused
        assert jobs["heldcancelled"].start_time is None
        assert all(job.end_time for kind, job in jobs.items() if job.stage is Stage.ENDED)
    assert live(release)["done"].comment == accounted(release)["done"].comment == '{"step": 3}'
    assert live(release)["done"].standard_output.endswith(f"psr-{RECORDINGS[release]['ids']['done']}.out")
    assert accounted(release)["cancelled"].cancelled_by == "startup"


@RELEASES
def test_the_trace_of_a_refused_submit_is_no_job_that_ran(release: str) -> None:
    job = live(release)["refused"]

    assert job.refused
    assert (job.state_reason, job.exit_code, job.exit_signal) == ("BadConstraints", None, None)


@RELEASES
def test_a_job_that_was_held_until_its_end_is_found_by_name(release: str) -> None:
    eligible, ended = (
        {job.name for job in decode.accounted(stdout(answer), MARK, HERE)} for answer in RECORDINGS[release]["by name"]
    )

    assert marker("c") not in eligible, "or the second search is not needed"
    assert marker("c") in ended
    assert marker("r") in eligible, "a requeued job by its earlier life"


@RELEASES
def test_light_listing(release: str) -> None:
    recorded = RECORDINGS[release]
    found = decode.states(stdout(recorded["states"]), MARK)

    assert found[recorded["ids"]["held"]] == JobState("PENDING")
    assert found == {job.job_id: job.state for job in decode.live(stdout(recorded["live"]), MARK, HERE)}


def record(**fields: str) -> str:
    return "".join(f"{fields.get(name, '')}{MARK}" for name in ACCOUNTED) + "\n"


def test_a_job_that_completes_holds_its_nodes_and_has_no_end_yet() -> None:
    (state,) = decode.states(f"7{MARK}COMPLETING{MARK}\n", MARK).values()

    assert state.stage is Stage.RUNNING
    assert state.ending is None


@pytest.mark.parametrize(
    "by, name", [("1000", "startup"), ("0", "root"), ("4711", "user 4711")], ids=["ourselves", "root", "somebody"]
)
def test_who_cancelled(by: str, name: str) -> None:
    (job,) = decode.accounted(record(JobIDRaw="7", State=f"CANCELLED by {by}"), MARK, HERE)

    assert (job.state, job.cancelled_by) == (JobState("CANCELLED"), name)


@pytest.mark.parametrize("told, code", [("84:0", 212), ("87:0", 215), ("3:0", 3), ("83:0", 83)])
def test_own_code_is_told_although_sacct_takes_128_from_it(told: str, code: int) -> None:
    text = record(JobIDRaw="7", State="FAILED", NodeList="n1", ExitCode=told)

    assert [job.exit_code for job in decode.accounted(text, MARK, HERE)] == [code]


def test_ids_that_started_again_are_other_jobs() -> None:
    text = record(JobIDRaw="7", JobName="psr-a-1", Submit="100") + record(JobIDRaw="7", JobName="psr-b-1", Submit="200")

    found = decode.newest(decode.accounted(text, MARK, HERE))

    assert [(job.name, job.submit_time) for job in found] == [("psr-a-1", 100), ("psr-b-1", 200)]


def test_steps_and_components_are_no_jobs_of_ours() -> None:
    text = record(JobIDRaw="7.batch", State="COMPLETED") + record(JobIDRaw="8", State="COMPLETED")

    assert [job.job_id for job in decode.accounted(text, MARK, HERE)] == ["8"]


@pytest.mark.parametrize(
    "text, found",
    [
        ("33:00", 33),
        ("1:00:00", 60),
        ("2-03:04:00", 2 * 1440 + 184),
        ("0:30", 0),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        ("", None),
    ],
)
def test_time_limits(text: str, found: int | None) -> None:
    assert decode.minutes(text) == found


@pytest.mark.parametrize("tres, count", [("gres/gpu:a100=4,gres/gpu=4", 4), ("cpu=1,gres/gpu:a100=2", 2), ("cpu=1", 0)])
def test_gpus_typed_or_not(tres: str, count: int) -> None:
    (job,) = decode.accounted(record(JobIDRaw="7", State="RUNNING", AllocTRES=tres), MARK, HERE)

    assert job.gpus == count


@pytest.mark.parametrize(
    "text",
    [
        f"7{MARK}RUNNING",
        f"7{MARK}RUN",
        f"7{MARK}RUNNING{MARK}8{MARK}RUNNING{MARK}\n",
        f"7{MARK}RUNNING{MARK}\nmore",
        "squeue: not a listing\n",
    ],
)
def test_what_is_cut_off_or_no_listing_is_not_an_answer(text: str) -> None:
    with pytest.raises(NotUnderstood):
        decode.rows(text, MARK, list(LIGHT))


def test_no_rows_are_an_answer() -> None:
    assert decode.rows("", MARK, list(LIGHT)) == []


@pytest.mark.parametrize("text, job_id", [("123\n", "123"), ("123;alps\n", "123"), ("Budget: 5 h\n123\n", "123")])
def test_what_sbatch_prints(text: str, job_id: str) -> None:
    assert decode.submitted(text) == job_id


@pytest.mark.parametrize("text", ["", "0\n", "0123\n", "Submitted batch job 123\n", "123\n124\n", "-1\n"])
def test_what_is_no_job_id(text: str) -> None:
    with pytest.raises(NotUnderstood):
        decode.submitted(text)


@pytest.mark.parametrize("text", ["", "startup\n", "startup\n1000\n", "startup\n1000\nClusterName = x\n", "a\nb\nc\n"])
def test_who_does_not_say_who_he_is(text: str) -> None:
    with pytest.raises(NotUnderstood):
        decode.site(text)
