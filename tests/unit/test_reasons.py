"""Who is asked why it waits: those of which nothing is known first, then all in turn, and at a pace."""

from passerelle.reasons import QUEUED_PER_TURN, TURN_SECONDS, Reasons
from passerelle.slurm import JobState, RemoteJob


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(number: int, reason: str = "Priority", state: str = "PENDING") -> RemoteJob:
    return RemoteJob(
        job_id=str(number),
        name=f"n{number}",
        user="ada",
        cluster="c",
        state=JobState.parse([state]),
        submit_time=1,
        state_reason=reason,
    )


def test_all_have_their_turn_and_over_a_power_of_ten_in_the_order_of_numbers() -> None:
    clock = Clock()
    reasons, jobs = Reasons(clock), [waiting(number) for number in range(995, 1003)]
    seen = []
    for _ in range(3):
        seen.append(reasons.turn(jobs))
        clock.now += TURN_SECONDS

    assert seen == [["995", "996", "997", "998"], ["999", "1000", "1001", "1002"], ["995", "996", "997", "998"]]


def test_between_two_turns_nobody_is_asked_and_a_turn_of_nobody_is_none() -> None:
    clock = Clock()
    reasons = Reasons(clock)
    assert reasons.turn([waiting(1, state="RUNNING")]) == []
    assert reasons.turn([waiting(2)]) == ["2"], "who comes now need not wait for the next turn"
    clock.now = TURN_SECONDS - 1
    assert reasons.turn([waiting(2)]) == []
    clock.now = TURN_SECONDS
    assert reasons.turn([waiting(2)]) == ["2"]


def test_those_without_a_reason_come_first() -> None:
    jobs = [waiting(number) for number in range(1, 9)] + [waiting(9, ""), waiting(10, "None")]

    turn = Reasons(Clock()).turn(jobs)

    assert turn == ["9", "10", "1", "2"]
    assert len(turn) == QUEUED_PER_TURN
