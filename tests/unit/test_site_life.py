"""What runs of a site's life promise: their plans, what an event excuses, and that it excuses nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faults.accounts import behind, compared, queued, rows, written
from faults.cluster_life import CLOCKS, moved, restored
from faults.events import (
    LATE_SECONDS,
    MOST,
    WAYS,
    Event,
    Happening,
    Row,
    Window,
    by_event,
    drawn_life,
    events_of,
    forgotten,
    is_site_run,
    struck,
)
from faults.history import Blow, Job, Task, Told, Verdict, What, check
from faults.life import Life
from faults.plan import drawn
from faults.run import told
from faults.site_run import DOES
from faults.site_trial import stories
from faults.unseen import named
from passerelle.marker import parse
from passerelle.strays import Stray
from passerelle_sandbox.control_plane import backup
from passerelle_sandbox.errors import SandboxError

RUN = "psr-" + "a" * 26
ONE, TWO = f"{RUN}-1", f"{RUN}-2"
SEEDS = range(20, 20 * 501, 20)


def task(wanted: str = "ok", most: int = 1) -> Task:
    return Task("job-0", RUN, wanted, most)  # type: ignore[arg-type]  # one of the three


def job(
    state: str, job_id: str = "7", name: str = ONE, submitted: int = 100, *, over: bool = True, ended: int = 0
) -> Job:
    return Job(job_id, name, state, submitted, over=over, known=not over, ended=ended)


def blow(what: What, job_id: str = "7", name: str = ONE, submitted: int = 100) -> Blow:
    return Blow(name, job_id, what, submitted)


def end(succeeded: str, reason: str, *job_ids: str) -> Told:
    ids = job_ids or ("7",)
    return Told(finished=True, succeeded=succeeded, reason=reason, attempts=len(ids), job_ids=ids)


OK, FAILED, CANCELLED = end("True", "Completed"), end("False", "Failed"), end("False", "Cancelled")
LOST = end("Unknown", "OutcomeLost")
NODE_FAILED, PREEMPTED = end("False", "NodeFailure"), end("False", "Preempted")
NO_STEP = end("False", "SiteFault")
AGAIN = end("True", "Completed", "7", "8")
RAN, RAN_TWICE = {ONE: ["7+0"]}, {ONE: ["7+0"], TWO: ["8+0"]}
RUNAWAY = replace(job("RUNNING", over=False), known=False)
"""A job that the scheduler lost, of whose end accounting never hears."""
REQUEUED = [job("REQUEUED"), job("COMPLETED", submitted=160)]
STRUCK = [blow(What.NODE_FAIL)]


class TestExcuses:
    @pytest.mark.parametrize(
        "a_task,jobs,ran,told,blows",
        [
            (task(), [job("CANCELLED")], RAN, CANCELLED, [blow(What.CANCELLED)]),
            (task(most=3), [job("CANCELLED")], {}, CANCELLED, [blow(What.CANCELLED)]),
            (task(), [job("COMPLETED")], RAN, OK, [blow(What.CANCELLED)]),
            (task("fails"), [job("FAILED")], RAN, FAILED, [blow(What.CANCELLED)]),
            (task(), [job("TIMEOUT")], RAN, end("False", "TimeLimit"), [blow(What.TIMEOUT)]),
            (task(), [job("FAILED")], {}, NO_STEP, [blow(What.TIMEOUT)]),
            (task(most=2), [job("FAILED"), job("COMPLETED", "8", TWO)], {TWO: ["8+0"]}, AGAIN, [blow(What.TIMEOUT)]),
            (task(), [job("NODE_FAIL")], RAN, NODE_FAILED, STRUCK),
            (task(), [job("PREEMPTED")], {}, PREEMPTED, [blow(What.PREEMPTED)]),
            (task(most=2), [job("NODE_FAIL"), job("COMPLETED", "8", TWO)], RAN_TWICE, AGAIN, STRUCK),
            (task(most=2), [job("NODE_FAIL"), job("COMPLETED", "8", TWO)], {TWO: ["8+0"]}, AGAIN, STRUCK),
            (
                task(most=2),
                [job("NODE_FAIL"), job("PREEMPTED", "8", TWO)],
                RAN_TWICE,
                end("False", "Preempted", "7", "8"),
                [*STRUCK, blow(What.PREEMPTED, "8", TWO)],
            ),
            (task(), REQUEUED, {ONE: ["7+0", "7+1"]}, OK, [blow(What.REQUEUED)]),
            (task(), REQUEUED, {ONE: ["7+1"]}, OK, [blow(What.REQUEUED)]),
            (task(), [RUNAWAY], RAN, LOST, [blow(What.LOST)]),
            (task(), [RUNAWAY], {}, LOST, [blow(What.LOST)]),
            (task(), [], {}, LOST, [blow(What.LOST)]),
            (
                task(),
                [RUNAWAY, job("COMPLETED", submitted=200)],
                RAN,
                OK,
                [blow(What.LOST)],
            ),
            (
                task(),
                [RUNAWAY, job("FAILED", "8", submitted=200)],
                RAN,
                end("Unknown", "OutcomeLost", "8"),
                [blow(What.LOST)],
            ),
            (task("deleted"), [RUNAWAY], RAN, None, [blow(What.LOST)]),
            (task(), [job("COMPLETED"), job("FAILED", "8")], RAN, OK, [blow(What.FOREIGN, "8")]),
        ],
        ids=[
            "cancelled",
            "cancelled before it began, and not tried again",
            "it ended before it was cancelled",
            "it failed before it was cancelled",
            "its time was cut",
            "its time was over before its trainer began",
            "so it was, and it was tried again",
            "its node failed, and there is no other attempt",
            "preempted before its trainer began",
            "tried again after its node failed",
            "tried again, and its first trainer never began",
            "both attempts struck",
            "requeued",
            "requeued before its trainer began",
            "its running job was lost",
            "its waiting job was lost",
            "lost before accounting heard of it",
            "lost, its answer too, and submitted again under the same id",
            "lost, its answer too, and its second job turned away",
            "deleted after it was lost",
            "others submitted the same name",
        ],
    )
    def test_what_an_event_explains_is_no_defect(
        self, a_task: Task, jobs: list[Job], ran: dict[str, list[str]], told: Told | None, blows: list[Blow]
    ) -> None:
        verdict = check([a_task], jobs, ran, {} if told is None else {"job-0": told}, blows=blows)

        assert verdict.defects == []

    def test_an_end_that_was_seen_before_it_was_forgotten_counts(self) -> None:
        lost = [blow(What.LOST)]

        assert check([task()], [RUNAWAY], RAN, {"job-0": OK}, blows=lost, ended={ONE: ["7+0"]}).defects == []
        assert check([task()], [RUNAWAY], RAN, {"job-0": OK}, blows=lost).wrong_end

    def test_a_job_that_was_cancelled_has_not_ended_as_its_trainer_says(self) -> None:
        jobs, cancelled = [job("CANCELLED")], [blow(What.CANCELLED)]

        assert check([task()], jobs, RAN, {"job-0": OK}, blows=cancelled, ended={ONE: ["7+0"]}).wrong_end

    def test_the_lives_of_a_requeued_job_are_one_submit(self) -> None:
        ran = {ONE: ["7+0", "7+1"]}

        assert check([task()], REQUEUED, ran, {"job-0": OK}, blows=[blow(What.REQUEUED)]).submitted_twice == []

    def test_a_row_that_has_its_end_is_not_alive(self) -> None:
        assert not job("PENDING").live

    def test_the_jobs_of_others_are_not_counted_as_ours(self) -> None:
        jobs = [job("COMPLETED"), job("FAILED", "8")]

        assert check([task()], jobs, RAN, {"job-0": OK}, blows=[blow(What.FOREIGN, "8")]).submitted_twice == []
        assert check([task()], jobs, RAN, {"job-0": OK}).submitted_twice == [f"{ONE}: jobs 7, 8"]


class TestLimits:
    """Under each excuse the check still sees what must not be."""

    @pytest.mark.parametrize(
        "a_task,jobs,ran,told,blows,kind,words",
        [
            (task(), [job("CANCELLED")], RAN, CANCELLED, [], "wrong_end", "says Succeeded=False"),
            (task(), [job("CANCELLED")], RAN, CANCELLED, [blow(What.CANCELLED, "8")], "wrong_end", "says CANCELLED"),
            (task(), [job("CANCELLED")], RAN, CANCELLED, [blow(What.CANCELLED, name=TWO)], "wrong_end", "Cancelled"),
            (task(), [job("CANCELLED")], RAN, FAILED, [blow(What.CANCELLED)], "wrong_end", "Failed"),
            (task(), [job("CANCELLED")], RAN, OK, [blow(What.CANCELLED)], "wrong_end", "accounting says CANCELLED"),
            (task(), [job("COMPLETED")], RAN, CANCELLED, [blow(What.CANCELLED)], "wrong_end", "says COMPLETED"),
            (task("fails"), [job("CANCELLED")], RAN, FAILED, [blow(What.CANCELLED)], "wrong_end", "says CANCELLED"),
            (
                task(most=2),
                [job("CANCELLED"), job("COMPLETED", "8", TWO)],
                RAN_TWICE,
                AGAIN,
                [blow(What.CANCELLED)],
                "wrong_end",
                "nothing befell number 1",
            ),
            (task(most=2), [job("NODE_FAIL")], RAN, NODE_FAILED, STRUCK, "wrong_end", "may have 2"),
            (task(), [job("NODE_FAIL")], RAN, FAILED, STRUCK, "wrong_end", "Failed"),
            (
                task(),
                [job("NODE_FAIL"), job("COMPLETED", "8", TWO)],
                RAN_TWICE,
                AGAIN,
                STRUCK,
                "wrong_end",
                "where one was asked for",
            ),
            (
                task(most=2),
                [job("COMPLETED"), job("COMPLETED", "8", TWO)],
                RAN_TWICE,
                AGAIN,
                STRUCK,
                "wrong_end",
                "nothing befell number 1",
            ),
            (
                task(most=2),
                [job("NODE_FAIL"), job("COMPLETED", "8", TWO), job("COMPLETED", "9", f"{RUN}-3")],
                RAN_TWICE | {f"{RUN}-3": ["9+0"]},
                end("True", "Completed", "7", "8", "9"),
                [*STRUCK, blow(What.NODE_FAIL, "8", TWO)],
                "wrong_end",
                "where 2 were allowed",
            ),
            (task(), REQUEUED, {ONE: ["7+0", "7+1"]}, OK, [], "executed_twice", "7+0, 7+1"),
            (task(), REQUEUED, {ONE: ["7+0", "7+0"]}, OK, [blow(What.REQUEUED)], "executed_twice", "7+0, 7+0"),
            (task(), REQUEUED, {ONE: ["7+0", "8+1"]}, OK, [blow(What.REQUEUED)], "executed_twice", "7+0, 8+1"),
            (task(), REQUEUED, {ONE: ["7+0", "7+2"]}, OK, [blow(What.REQUEUED)], "executed_twice", "7+2"),
            (task(), [RUNAWAY], {ONE: ["7+0", "7+0"]}, LOST, [blow(What.LOST)], "executed_twice", "7+0, 7+0"),
            (task(), [replace(RUNAWAY, known=True)], RAN, LOST, [blow(What.LOST)], "orphans", "is RUNNING"),
            (task(), [RUNAWAY], RAN, LOST, [blow(What.LOST, submitted=99)], "orphans", "is RUNNING"),
            (task(), [job("COMPLETED")], RAN, LOST, [blow(What.LOST)], "wrong_end", "accounting says COMPLETED"),
            (task(), [job("COMPLETED")], RAN, LOST, [], "wrong_end", "OutcomeLost"),
            (task(), [RUNAWAY], RAN, CANCELLED, [blow(What.LOST)], "wrong_end", "Cancelled"),
            (task(), [], {}, LOST, [], "lost", "Slurm has no job of it"),
            (
                task(),
                [job("COMPLETED"), job("RUNNING", "8", over=False)],
                RAN,
                OK,
                [blow(What.CANCELLED, "8")],
                "orphans",
                "is RUNNING",
            ),
            (
                task(),
                [job("COMPLETED"), job("CANCELLED", "8")],
                RAN,
                CANCELLED,
                [blow(What.CANCELLED, "8")],
                "wrong_end",
                "accounting says COMPLETED",
            ),
            (
                task(),
                [job("CANCELLED"), job("COMPLETED", "8")],
                RAN,
                OK,
                [blow(What.CANCELLED)],
                "wrong_end",
                "accounting says CANCELLED of job 7",
            ),
            (task(), [job("COMPLETED"), job("REQUEUED", "8", over=False)], RAN, OK, [], "orphans", "is REQUEUED"),
            (task("deleted"), [job("CANCELLED")], RAN, OK, [blow(What.CANCELLED)], "lost", "is there still"),
            (task("deleted"), [job("COMPLETED")], RAN, None, [blow(What.CANCELLED)], "orphans", "job 7 is COMPLETED"),
            (task(), [job("NODE_FAIL")], RAN, Told(False, "Unknown", "Active", 1), STRUCK, "lost", "its end"),
            (task(), [job("FAILED")], RAN, NO_STEP, [blow(What.TIMEOUT)], "wrong_end", "accounting says FAILED"),
            (task(), [job("FAILED")], {}, FAILED, [blow(What.TIMEOUT)], "wrong_end", "accounting says FAILED"),
            (task(), [job("FAILED")], {}, NO_STEP, [], "wrong_end", "accounting says FAILED"),
            (task(), [job("FAILED")], {}, NO_STEP, [blow(What.TIMEOUT, "8")], "wrong_end", "accounting says FAILED"),
            (task(most=2), [job("FAILED")], {}, NO_STEP, [blow(What.TIMEOUT)], "wrong_end", "may have 2"),
            (task(), [job("COMPLETED")], {}, OK, [blow(What.FOREIGN, "8")], "wrong_end", "never began"),
            (
                task(),
                [job("COMPLETED"), job("COMPLETED", "8")],
                RAN,
                end("True", "Completed", "8"),
                [],
                "wrong_end",
                "8",
            ),
        ],
        ids=itertools.count(),
    )
    def test_what_no_event_explains_is_seen(
        self,
        a_task: Task,
        jobs: list[Job],
        ran: dict[str, list[str]],
        told: Told,
        blows: list[Blow],
        kind: str,
        words: str,
    ) -> None:
        verdict = check([a_task], jobs, ran, {"job-0": told}, blows=blows)

        assert any(words in each for each in getattr(verdict, kind)), verdict
        assert set(_kinds(verdict)) == {kind}, "and it is called by nothing else"

    def test_another_trainingjob_s_blow_excuses_nothing(self) -> None:
        other = Task("job-1", "psr-" + "b" * 26, "ok")
        jobs = [job("CANCELLED"), job("CANCELLED", "8", f"{other.run}-1")]

        told = {"job-0": CANCELLED, "job-1": replace(CANCELLED, job_ids=("8",))}
        verdict = check([task(), other], jobs, RAN, told, blows=[blow(What.CANCELLED)])

        assert verdict.defects == ["job-1 says Succeeded=False (Cancelled), and it ok; accounting says CANCELLED"]


def _kinds(verdict: Verdict) -> list[str]:
    kinds = ("executed_twice", "orphans", "lost", "wrong_end")
    return [kind for kind in kinds if getattr(verdict, kind)]


class TestPlan:
    def test_a_seed_is_a_plan(self) -> None:
        assert [drawn_life(seed) for seed in SEEDS] == [drawn_life(seed) for seed in SEEDS]

    def test_each_has_one_to_three_different_events_in_their_order(self) -> None:
        for seed in SEEDS:
            found = drawn_life(seed)
            assert 1 <= len({each.event for each in found}) == len(found) <= MOST
            assert [each.at for each in found] == sorted(each.at for each in found)

    def test_together_they_have_every_event_in_every_way(self) -> None:
        found = {(each.event, each.way) for seed in SEEDS for each in drawn_life(seed)}

        assert found == {(event, way) for event, ways in WAYS.items() for way in ways}

    def test_as_many_runs_as_there_are_events_have_each(self) -> None:
        some = SEEDS[: len(Event)]

        assert {each.event for seed in some for each in drawn_life(seed)} == set(Event)

    def test_what_nobody_could_judge_is_not_drawn_together(self) -> None:
        for seed in SEEDS:
            drawn = {str(each) for each in drawn_life(seed)}
            assert not {"secret-changed/other-user", "etcd-restored"} <= drawn
            assert not {"same-name/other-job", "requeued/forced"} <= drawn

    def test_every_event_can_be_done(self) -> None:
        assert set(DOES) == set(WAYS) == set(Event)
        assert {file.stem for file in CLOCKS.glob("*.py")} == set(WAYS[Event.CLOCK_OFF])

    @pytest.mark.parametrize("seed,is_one", [(1, False), (20, True), (30, False), (100, True)])
    def test_every_twentieth_seed_is_a_site_run(self, seed: int, is_one: bool) -> None:
        assert is_site_run(seed) is is_one

    def test_a_word_is_an_event_in_each_of_its_ways_or_in_one(self) -> None:
        assert events_of("held") == [(Event.HELD, "by-root"), (Event.HELD, "by-user")]
        assert events_of("held/by-user") == [(Event.HELD, "by-user")]
        assert events_of("preempted") == [(Event.PREEMPTED, "")]
        for word in ("heard", "held/by-all", ""):
            with pytest.raises(SandboxError, match="Nothing is called"):
                events_of(word)

    def test_stories_are_of_seeds_and_of_events_alone(self) -> None:
        named = stories(["held/by-root", "40"])

        assert [[str(each) for each in happenings] for _, happenings, _ in named] == [
            ["held/by-root"],
            [str(each) for each in drawn_life(40)],
        ]
        assert [plan.mishaps for plan, _, _ in named] == [(), drawn(40).mishaps]
        assert len(stories([])) == sum(map(len, WAYS.values()))

    def test_events_are_counted_by_their_ways(self) -> None:
        happened = [Happening(Event.HELD, "by-user"), Happening(Event.HELD, "by-user"), Happening(Event.PREEMPTED)]

        assert by_event(happened) == {"held/by-user": 2, "preempted": 1}


class TestStruck:
    WINDOW = Window(What.NODE_FAIL, "n2", 1000.4, 1003.2)

    @pytest.mark.parametrize("ended", [1000, 1003, 1003 + LATE_SECONDS])
    def test_who_ended_so_on_its_node_in_its_time(self, ended: int) -> None:
        found = struck([self.WINDOW], [Row(job("NODE_FAIL", ended=ended), "n2")])

        assert found == [blow(What.NODE_FAIL)]

    @pytest.mark.parametrize(
        "row",
        [
            Row(job("NODE_FAIL", ended=1001), "n1"),
            Row(job("FAILED", ended=1001), "n2"),
            Row(job("NODE_FAIL", ended=999), "n2"),
            Row(job("NODE_FAIL", ended=1004 + LATE_SECONDS), "n2"),
        ],
        ids=["on another node", "in another way", "before", "long after"],
    )
    def test_nobody_else(self, row: Row) -> None:
        assert struck([self.WINDOW], [row]) == []

    def test_lost_are_those_whose_end_accounting_has_not_heard_of(self) -> None:
        known = [job("RUNNING", over=False), job("COMPLETING", "8"), job("PENDING", "9", over=False)]
        accounting = [
            Row(job("RUNNING", over=False)),
            Row(job("COMPLETED", "8")),
            Row(job("CANCELLED", "9", submitted=1)),
        ]

        assert forgotten(known, accounting) == [blow(What.LOST), blow(What.LOST, "9")]


class TestAccounts:
    RUNS = (RUN,)

    def test_accounting_s_rows(self) -> None:
        said = "\n".join(
            [
                f"7|{ONE}|CANCELLED by 1000|100|140|n1|/r/{RUN}",
                f"8|{TWO}|RUNNING|150|Unknown|n2|/r/{RUN}",
                "9|somebody's|RUNNING|150|Unknown|n2|/home/users/somebody",
                "10|psr-zzz-1|RUNNING|150|Unknown|n2|/r/psr-zzz",
                f"5|{ONE}|PENDING|100|Unknown|None assigned|/r/{RUN}",
                "6|psr_aaa|RUNNING|150|Unknown|n2|/arc/session/a80d",
            ]
        )

        assert rows(said, self.RUNS, {"a80d": TWO}) == [
            Row(Job("7", ONE, "CANCELLED", 100, over=True, ended=140, by="1000"), "n1"),
            Row(Job("8", TWO, "RUNNING", 150), "n2"),
            Row(Job("5", ONE, "PENDING", 100), "None assigned"),
            Row(Job("6", TWO, "RUNNING", 150), "n2"),
        ]
        below = [row.job.job_id for row in rows(said, self.RUNS, {"a80d": TWO}, "/r")]
        assert below == ["7", "8", "10", "5", "6"], "what lies there, and is of no TrainingJob, is seen"

    def test_the_queue(self) -> None:
        said = f"7|{ONE}|RUNNING|100|n1|/r\n9|x|PENDING|1||/r\n8|psr_aaa|RUNNING|100|n2|/arc/session/a80d\n"

        assert queued(said, self.RUNS, {"a80d": TWO}) == [
            Row(Job("7", ONE, "RUNNING", 100), "n1"),
            Row(Job("8", TWO, "RUNNING", 100), "n2"),
        ]

    def test_what_trainers_wrote(self) -> None:
        said = f"/r/{RUN}/executed-1:7+0\n/r/{RUN}/executed-1:7+1\n/r/{RUN}/executed-2:8+0\n"

        assert written(said) == {ONE: ["7+0", "7+1"], TWO: ["8+0"]}

    def test_a_site_names_a_job_by_its_id_and_its_name(self) -> None:
        key, attempt = parse(ONE) or pytest.fail("no marker")
        found = [Row(Job(job_id, ONE, "RUNNING")) for job_id in ("17", "7", "71")]

        assert named(
            f"At the last listing, jobs {Stray(key, attempt, '7')}, 71 and 2 more belong to nobody.", found
        ) == [found[1]]
        assert named("", found) == []

    def test_ids_that_start_again_are_other_jobs(self) -> None:
        former, later = (Row(Job("7", ONE, "RUNNING", submitted)) for submitted in (100, 200))

        assert [each.known for each in compared([former, later], [later])] == [False, True]
        assert behind([former, later], [later], []) == [replace(former.job, known=False)]
        assert behind([former, later], [later], [("7", 100)]) == []


def test_what_a_trainingjob_says() -> None:
    status = {
        "conditions": [
            {"type": "Succeeded", "status": "False", "reason": "Cancelled"},
            {"type": "Finished", "status": "True", "reason": "Cancelled"},
        ],
        "attempts": [{"number": 2, "jobId": "7"}],
    }

    assert told(status) == Told(True, "False", "Cancelled", 2, ("7",))
    assert told({}) == Told(False, "", "", 0)


class TestRestored:
    async def test_what_was_changed_since_the_backup_is_applied_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a Site would lead for ever to where it led for seconds only."""
        done: list[str] = []
        stage = SimpleNamespace(there=SimpleNamespace(control_plane=object(), directory=Path(), name="cluster"))

        async def applied(*objects: dict[str, Any]) -> None:
            done.extend(f"{each['kind']} {each['spec']['gateway']['url']}" for each in objects)

        stage.apply = applied
        site = {"kind": "Site", "spec": {"gateway": {"url": "https://moved"}}}
        life = Life(stage, "life-1", "/runs/life-1", drawn(1))  # type: ignore[arg-type]  # what the event needs of a stage
        monkeypatch.setattr(backup, "take", lambda *_: life.applied.update(Site=moved(site, "https://back")))
        monkeypatch.setattr(backup, "restore", lambda *_: done.append("restore"))
        await life.apply(site)
        assert await restored(life, Happening(Event.RESTORED)) == "all"
        assert done == ["Site https://moved", "restore", "Site https://back"]
