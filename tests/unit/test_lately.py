"""Which ended jobs a light listing names beside those that live."""

from __future__ import annotations

from passerelle.lately import KEPT, PER_CALL, Lately
from passerelle.marker import Run
from passerelle.slurm import JobState, RemoteJob

ENDED, RUNS = JobState("FAILED"), JobState("RUNNING")


def job(number: int, state: JobState = ENDED, attempt: int = 1) -> RemoteJob:
    name = Run(f"psr-{number:026}").marker(attempt)
    return RemoteJob(job_id=str(number), name=name, user="u", cluster="c", state=state, submit_time=7)


def lately(*numbers: int) -> Lately:
    found = Lately()
    for number in numbers:
        found.ended(job(number))
    return found


def test_no_call_is_made_for_them_alone_and_none_more_than_for_the_others() -> None:
    found = lately(1, 2, 3)

    assert found.beside([]) == []
    assert found.beside(["8"]) == ["3", "2", "1"]
    assert found.beside(["2"]) == ["3", "1"], "it lives, and is asked for anyway"
    assert found.beside([str(10 + each) for each in range(PER_CALL - 2)]) == ["3", "2"]
    assert found.beside([str(10 + each) for each in range(PER_CALL)]) == []


def test_the_newest_are_kept() -> None:
    found = lately(*range(1, KEPT + 1), 1, KEPT + 1)

    asked = found.beside(["x"])
    assert len(asked) == KEPT
    assert asked[:2] == [str(KEPT + 1), "1"]
    assert "2" not in asked


def test_what_the_scheduler_has_forgotten_is_asked_for_no_more() -> None:
    found = lately(1, 2)

    assert found.alive(["2", "1"], {"2": ENDED}) == []
    assert found.beside(["x"]) == ["2"]
    assert found.alive(["2"], {"2": RUNS}) == ["2"]


def test_a_job_that_lives_again_is_known_by_its_name_and_read_once() -> None:
    found = lately(1, 2, 3)
    other = job(2, RUNS, attempt=9)

    assert found.known([job(1, RUNS), other], ["1", "2"]) == [job(1, RUNS)]
    assert found.beside(["x"]) == ["3"]
