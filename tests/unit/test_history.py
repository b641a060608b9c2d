"""What the check of three truths says of ends that a person or a site brings about, and of later attempts."""

from __future__ import annotations

import pytest

from faults.history import Job, Task, Told, Wanted, check

RUN = "psr-" + "a" * 26
CANCELLED = Told(finished=True, succeeded="False", reason="Cancelled", attempts=1, job_ids=("7",))
LOST = Told(finished=True, succeeded="Unknown", reason="OutcomeLost", attempts=1, job_ids=("8",))
TWICE_TRIED = Told(finished=True, succeeded="True", reason="Completed", attempts=2, job_ids=("7", "8"))


def judged(wanted: Wanted, told: Told, *jobs: Job, ran: tuple[str, ...] = (), attempts: int = 1) -> list[str]:
    executed = {job.name: [job.job_id] for job in jobs if job.job_id in ran}
    return check([Task("job-0", RUN, wanted, attempts)], jobs, executed, {"job-0": told}).defects


def job(job_id: str, state: str, attempt: int = 1) -> Job:
    return Job(job_id, f"{RUN}-{attempt}", state)


def test_a_job_that_somebody_cancelled_need_not_have_begun() -> None:
    assert judged("cancelled", CANCELLED, job("7", "CANCELLED")) == []


def test_of_a_job_that_the_site_has_lost_nobody_knows_the_end() -> None:
    assert judged("lost", LOST, job("7", "LOST"), job("8", "FAILED"), ran=("7",)) == []


@pytest.mark.parametrize("wanted", ["cancelled", "lost"])
def test_neither_of_both_is_a_success(wanted: Wanted) -> None:
    told = Told(finished=True, succeeded="True", reason="Completed", attempts=1, job_ids=("7",))

    assert judged(wanted, told, job("7", "CANCELLED")) == [
        f"job-0 says Succeeded=True (Completed), and it {wanted}",
    ]


def test_as_many_attempts_are_told_as_there_were_to_be() -> None:
    jobs = (job("7", "NODE_FAIL"), job("8", "COMPLETED", 2))

    assert judged("ok", TWICE_TRIED, *jobs, ran=("7", "8"), attempts=2) == []
    assert judged("ok", TWICE_TRIED, *jobs, ran=("7", "8")) == ["job-0 has 2 attempts, where one was asked for"]
    assert judged("ok", TWICE_TRIED, *jobs, ran=("7", "8"), attempts=3) == [
        "job-0 has 2 attempts, where 3 were asked for",
    ]
