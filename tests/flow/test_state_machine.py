"""Nothing lost, nothing twice: a state machine that draws what users, sites and processes do, and asks after each step.

Each run is a play of the little world (little_play.py) in virtual time: operators with the real election, a site with
users and nodes whose jobs take the real claim, and mishaps at every call. A step is an act and the seconds after it.
After each step must hold: no attempt executes in two jobs; none is submitted twice without a cause for doubt; no status
goes back, counts more attempts than were asked for, or tells a secret; no job lives of a TrainingJob that is gone, nor
for long of one that is deleted or suspended while nothing is amiss; no operator logs a defect. At the end everything is
healed, all must come to their ends, and faults/history.py judges.

Stage `flow` of tests/stages.py plays the same few runs each time. To search, by hand:

    HYPOTHESIS_PROFILE=long pytest -p no:randomly tests/flow/test_state_machine.py

plays thousands, other ones each time, and lets the machine find each mutant by itself. PASSERELLE_PLAYS is how many.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from faults.mutation import HERE
from faults.plan import Fault, Kind
from little_mishaps import POSSIBLE, HardDoor
from little_operators import DOORS, USERS
from little_play import AT_SITE, OUT, Play
from little_truth import Asked
from passerelle import decide, errors, kube
from passerelle.batch import Batch
from passerelle.errors import Unavailable
from passerelle.onsite import claim

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
PLAYS = int(os.environ.get("PASSERELLE_PLAYS", "3000"))
SETTINGS = settings(
    max_examples=PLAYS if LONG else 40,
    stateful_step_count=40 if LONG else 25,
    derandomize=not LONG,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

MOST_JOBS = 4
PAUSES = st.sampled_from((0.0, 0.4, 2.0, 7.0))
OUTAGES = st.sampled_from((1.0, 6.0, 25.0, 70.0))
WHICH = st.integers(0, MOST_JOBS - 1)
AT_SUBMIT = st.sampled_from(("", *POSSIBLE[Kind.SUBMIT]))
AT_CALLS = st.sampled_from([kind for kind in POSSIBLE if kind is not Kind.SUBMIT]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.sampled_from(POSSIBLE[kind]))
)
JOBS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(("ok", "fails", "long")),
        "most": st.integers(1, 3),
        "run_id": st.booleans(),
        "secret": st.booleans(),
        "suspend": st.sampled_from((False, False, True)),
        "queued": st.sampled_from((0.0, 3.0, 20.0)),
        "running": st.sampled_from((2.0, 10.0, 45.0)),
    }
)
"""What a TrainingJob asks for, and how long its jobs wait and run."""


class Machine(RuleBasedStateMachine):
    """`play` is its subject; a rule that has nobody to act on is not drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.play: Play

    @initialize(
        door=st.sampled_from(sorted(DOORS)),
        replicas=st.integers(1, 2),
        full=st.booleans(),
        jobs=st.lists(JOBS, min_size=1, max_size=2),
        mishap=AT_SUBMIT,
        pause=PAUSES,
    )
    def begin(
        self, door: str, replicas: int, full: bool, jobs: list[dict[str, Any]], mishap: str, pause: float
    ) -> None:
        self.turned = False
        self.play = Play(door=door, replicas=replicas, max_jobs=1 if full else None)
        self.play.befall(Kind.SUBMIT, mishap)
        for each in jobs:
            self.play.create(**each)
        self.play.pass_time(pause)

    # Users

    @precondition(lambda self: len(self.play.asked) < MOST_JOBS)
    @rule(job=JOBS, mishap=AT_SUBMIT, pause=PAUSES)
    def create(self, job: dict[str, Any], mishap: str, pause: float) -> None:
        self.play.befall(Kind.SUBMIT, mishap)
        self.play.create(**job)
        self.play.pass_time(pause)

    @precondition(lambda self: self.play.living)
    @rule(which=WHICH, pause=PAUSES)
    def delete(self, which: int, pause: float) -> None:
        self.play.delete(self._of(which))
        self.play.pass_time(pause)

    @precondition(lambda self: self._again() and not self.turned)
    @rule(which=WHICH, pause=PAUSES)
    def create_again(self, which: int, pause: float) -> None:
        found = self._again()
        self.play.create_again(found[which % len(found)])
        self.play.pass_time(pause)

    @precondition(lambda self: self.play.living)
    @rule(which=WHICH, pause=PAUSES)
    def suspend_or_resume(self, which: int, pause: float) -> None:
        self.play.suspend(self._of(which))
        self.play.pass_time(pause)

    @precondition(lambda self: self.play.living)
    @rule(which=WHICH, pause=PAUSES)
    def ask_for_a_retry(self, which: int, pause: float) -> None:
        self.play.ask_again(self._of(which))
        self.play.pass_time(pause)

    @rule(seconds=st.sampled_from((1.0, 5.0, 15.0, 40.0, 100.0)))
    def time_passes(self, seconds: float) -> None:
        self.play.pass_time(seconds)

    # Calls, servers and processes

    @rule(mishap=AT_SUBMIT, pause=PAUSES)
    def at_the_next_submit(self, mishap: str, pause: float) -> None:
        self.play.befall(Kind.SUBMIT, mishap)
        self.play.pass_time(pause)

    @rule(mishap=AT_CALLS, pause=PAUSES)
    def at_another_call(self, mishap: tuple[Kind, str], pause: float) -> None:
        self.play.befall(*mishap)
        self.play.pass_time(pause)

    @rule(what=st.sampled_from(OUT), seconds=OUTAGES, pause=PAUSES)
    def something_is_out(self, what: str, seconds: float, pause: float) -> None:
        self.play.put_out(what, seconds)
        self.play.pass_time(pause)

    @rule(listing=st.sampled_from((0.0, 1.0, 3.0)), accounting=st.sampled_from((0.0, 3.0, 60.0)))
    def listings_lag(self, listing: float, accounting: float) -> None:
        faults = self.play.world.site.faults
        faults.listing_lag, faults.accounting_lag = listing, accounting

    @precondition(lambda self: self.play.leader)
    @rule(
        what=st.sampled_from(("killed", "killed", "stands still", "asked to end")),
        calls=st.integers(0, 9),
        seconds=OUTAGES,
        pause=PAUSES,
    )
    def who_leads(self, what: str, calls: int, seconds: float, pause: float) -> None:
        self.play.trouble_leader(what, calls, seconds)
        self.play.pass_time(pause)

    # The site's people and machines

    @precondition(lambda self: self.play.live())
    @rule(what=st.sampled_from(AT_SITE), which=WHICH, pause=PAUSES)
    def at_the_site(self, what: str, which: int, pause: float) -> None:
        found = self.play.live()
        self.play.at_site(what, *found[which % len(found)])
        self.play.pass_time(pause)

    @precondition(lambda self: self.play.world.site.ever)
    @rule(accounting=st.booleans(), colleague=st.booleans(), pause=PAUSES)
    def the_site_loses_its_state(self, accounting: bool, colleague: bool, pause: float) -> None:
        self.play.lose_state(accounting=accounting, colleague=colleague)
        self.play.pass_time(pause)

    # What is written down, and whom the Site leads to

    @precondition(lambda self: self.play.living and not self.turned)
    @rule(which=WHICH, pause=PAUSES)
    def a_status_is_emptied(self, which: int, pause: float) -> None:
        self.play.empty_status(self._of(which))
        self.play.pass_time(pause)

    @precondition(lambda self: self.play.backups and not self.turned)
    @rule(ago=st.integers(1, 6), pause=PAUSES)
    def restore(self, ago: int, pause: float) -> None:
        self.play.restore(ago)
        self.play.pass_time(pause)

    @precondition(lambda self: not any(each.losses for each in self.play.asked))
    @rule(user=st.sampled_from(USERS), cluster=st.sampled_from(("", "other")), pause=PAUSES)
    def the_site_turns(self, user: str, cluster: str, pause: float) -> None:
        self.turned = True
        self.play.turn(user=user, cluster=cluster)
        self.play.pass_time(pause)

    # What must hold

    @invariant()
    def nothing_is_lost_and_nothing_twice(self) -> None:
        if hasattr(self, "play"):
            self.play.complain()
            self.play.back_up()

    def teardown(self) -> None:
        if not hasattr(self, "play"):
            return
        try:
            if sys.exc_info()[0] is None:
                defects = self.play.rest().defects
                assert not defects, defects
        finally:
            self.play.close()

    def _again(self) -> list[Asked]:
        return [each for each in self.play.asked if each.deleted and "runId" in each.spec and self.play.gone(each)]

    def _of(self, which: int) -> Asked:
        return self.play.living[which % len(self.play.living)]


Machine.TestCase.settings = SETTINGS
TestMachine = Machine.TestCase


# The defects that must be found


def of_the_faults_suite(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """The very file that is loaded ahead of a real operator; what it replaces is put back."""

    def made(patched: pytest.MonkeyPatch) -> None:
        patched.setattr(decide, "decide", decide.decide)
        patched.setattr(kube, "_at", kube._at)
        runpy.run_path(str(HERE / f"{name}.py"))

    return made


def without_fence(patched: pytest.MonkeyPatch) -> None:
    """As no_fence.py has it, which changes the program that travels with the script."""
    patched.setattr(claim, "_compare", lambda *_: "fresh")
    patched.setattr(claim, "_is", lambda *_: True)


def trusting_error_texts(patched: pytest.MonkeyPatch) -> None:
    """As error_text.py has it, which changes a driver."""
    submit = HardDoor.submit

    async def trusting(self: HardDoor, batch: Batch) -> str:
        try:
            return await submit(self, batch)
        except Unavailable as error:
            raise Unavailable(error.message, reason=error.reason, sent=False) from None

    patched.setattr(HardDoor, "submit", trusting)


def without_redaction(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(errors, "redact", lambda text: text)


def never_cancelling(patched: pytest.MonkeyPatch) -> None:
    async def cancel(*_: object) -> None:
        """Whoever asks is told that it was done."""

    patched.setattr(HardDoor, "cancel", cancel)


def befallen(kind: Kind, fault: str, asked: str = "ok") -> Callable[[Play], None]:
    """The story of a TrainingJob, and of one mishap."""

    def story(play: Play) -> None:
        play.befall(kind, fault)
        play.create(asked)
        play.pass_time(60)

    return story


def unseen_deletion(play: Play) -> None:
    """No watch tells of a deletion: the next patch meets it, or is written over it, and its answer is the newest. The
    job was submitted by then, whatever the jitter, and its end is still to be told.
    """
    asked = play.create("ok")
    play.pass_time(10)
    play.put_out("watches", 600)
    play.delete(asked)
    play.pass_time(60)


def deletion(play: Play) -> None:
    """Of one whose job would run on for longer than any operator may take to end it."""
    asked = play.create("long")
    play.pass_time(30)
    play.delete(asked)
    play.pass_time(100)


def suspension(play: Play) -> None:
    asked = play.create("long")
    play.pass_time(30)
    play.suspend(asked)
    play.pass_time(100)


def after_a_lie(play: Play) -> None:
    """What was told of another TrainingJob, long before, excuses nothing of this one."""
    play.befall(Kind.LISTING, Fault.EMPTY_ANSWER)
    play.create("ok")
    play.pass_time(120)
    assert play.world.mishaps.lies, "it was told"
    befallen(Kind.SUBMIT, Fault.LOSE_ANSWER)(play)


Mutant = tuple[Callable[[pytest.MonkeyPatch], None], Callable[[Play], None], str]
MUTANTS: dict[str, Mutant] = {
    "no adoption": (
        of_the_faults_suite("no_adoption"),
        befallen(Kind.SUBMIT, Fault.LOSE_ANSWER),
        "submitted 2 times",
    ),
    "the next attempt after absence": (
        of_the_faults_suite("next_attempt"),
        befallen(Kind.SUBMIT, Fault.LOSE_CALL),
        "attempt 2, where 1 were asked for",
    ),
    "an empty listing is believed": (
        of_the_faults_suite("empty_listing"),
        befallen(Kind.SUBMIT, Fault.LOSE_ANSWER),
        "submitted 2 times",
    ),
    "an error's text is trusted": (
        trusting_error_texts,
        befallen(Kind.SUBMIT, Fault.LOSE_ANSWER),
        "submitted 2 times",
    ),
    "no fence": (without_fence, befallen(Kind.SUBMIT, Fault.SEND_TWICE, "long"), "its trainer began in jobs"),
    "no resourceVersion": (
        of_the_faults_suite("no_resource_version"),
        unseen_deletion,
        "was deleted, and is there still",
    ),
    "no cancel": (never_cancelling, deletion, "after that was deleted"),
    "no redaction": (without_redaction, befallen(Kind.PROBE, Fault.GARBLE_ANSWER), "a secret stands in"),
}
"""What is done to the operator, a story in which it shows, and what is complained of then."""


def played(story: Callable[[Play], None], door: str = "accounting") -> str:
    """All that is complained of in the end."""
    play = Play(door=door)
    try:
        story(play)
        return "; ".join(play.rest().defects)
    except AssertionError as error:
        return str(error)
    finally:
        play.close()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_complained_of_and_nothing_without_it(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, story, complaint = MUTANTS[mutant]

    assert played(story) == ""
    mutate(monkeypatch)
    assert complaint in played(story)


def test_what_is_suspended_and_lives_on_is_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert played(suspension) == ""
    never_cancelling(monkeypatch)
    assert "after that was suspended" in played(suspension)


def test_a_submit_that_comes_again_is_complained_of_where_nothing_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, story, complaint = MUTANTS["no adoption"]

    assert played(story, "no accounting") == ""
    mutate(monkeypatch)
    assert complaint in played(story, "no accounting")


def test_a_submit_that_comes_again_is_complained_of_though_a_lie_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, _, complaint = MUTANTS["no adoption"]

    assert played(after_a_lie) == ""
    mutate(monkeypatch)
    assert complaint in played(after_a_lie)


if LONG:

    @pytest.mark.parametrize("mutant", MUTANTS)
    def test_the_machine_finds_each_defect_by_itself(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
        MUTANTS[mutant][0](monkeypatch)

        with pytest.raises(AssertionError):
            run_state_machine_as_test(Machine, settings=settings(SETTINGS, phases=[Phase.generate]))
