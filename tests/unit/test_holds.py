"""Whatever befalls those that a site refused, nobody waits for ever behind one that tries no more."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from passerelle import decide
from passerelle.actions import Cancel, Intend, LookUp, Rest, Submit
from passerelle.again import TRANSIENT_LONGEST_SECONDS, refuse
from passerelle.current import Seen
from passerelle.due import PLAN_AGAIN_SECONDS, TURN_AGAIN_SECONDS
from passerelle.errors import Rejected
from passerelle.gateways.base import Identity
from passerelle.holds import OVERDUE_SECONDS, TURNS, Holds
from passerelle.objects import Key, TrainingJob, trainingjob
from passerelle.passes import Memory, wanted
from passerelle.sites import Service
from passerelle.slurm import JobState, RemoteJob
from passerelle.v1alpha1.trainingjob import FINALIZER

HERE, THERE = Identity("lumi", "me"), Identity("other", "me")
ENOUGH_SECONDS = 1.1 * TRANSIENT_LONGEST_SECONDS + OVERDUE_SECONDS + 2 * TURN_AGAIN_SECONDS
SIZE = dict.fromkeys(["nodes", "gpus", "gpusPerNode", "tasks", "cpusPerTask", "timeLimitMinutes"], 1)
PLAN = {**SIZE, "partition": "gpu", "account": "us"}
SPEC = {"site": "lumi", "image": "/i.sif", "command": ["train"], "nodes": 1, "timeLimit": "10m"}


@dataclass
class Subject:
    """A TrainingJob, and what became of it."""

    uid: str
    body: dict[str, Any]
    memory: Memory = field(default_factory=Memory)
    plannable: bool = True
    known: bool = True  # the site was asked for its jobs
    stuck: bool = False  # its passes don't come
    due: float = 0.0
    live: RemoteJob | None = None

    @property
    def job(self) -> TrainingJob:
        return replace(trainingjob(self.body), created=self.uid)

    @property
    def suspended(self) -> bool:
        return bool(self.body["spec"]["suspend"])


class Play:
    """The passes over a few TrainingJobs of one Site, as reconcile.py makes them, by a clock of its own."""

    def __init__(self, limit: int | None) -> None:
        self.clock, self.limit, self.refusal, self.identity = 0.0, limit, "", HERE
        self.holds = Holds(self._wake)
        self.subjects: dict[str, Subject] = {}
        self.made = 0

    def _wake(self, key: Key) -> None:
        if key.name in self.subjects:
            self.subjects[key.name].due = min(self.subjects[key.name].due, self.clock)

    def create(self) -> None:
        self.made += 1
        uid = str(UUID(int=self.made))
        meta = {"namespace": "team", "name": uid, "uid": uid, "resourceVersion": "1", "finalizers": [FINALIZER]}
        body = {"metadata": meta, "spec": {**SPEC, "suspend": False}, "status": {"plan": PLAN, "attempts": []}}
        self.subjects[uid] = Subject(uid, body, due=self.clock)

    def happens(self, event: str, which: int) -> None:
        if event == "create":
            self.create()
        elif event in ("TooManyJobs", "PolicyLimit", ""):
            self.refusal = event
        elif event == "turn":
            self.identity = THERE if self.identity == HERE else HERE
            self._all_are_due()
        elif self.subjects:
            self._befalls(event, self.subjects[sorted(self.subjects)[which % len(self.subjects)]])

    def _befalls(self, event: str, subject: Subject) -> None:
        if event == "suspend":
            subject.body["spec"]["suspend"] = not subject.suspended
        elif event == "break":
            subject.plannable = not subject.plannable
        elif event == "ask":
            subject.known = not subject.known
        elif event == "stick":
            subject.stuck = not subject.stuck
        elif event == "delete" or subject.live is not None:
            del self.subjects[subject.uid]  # its job has ended, too
            self.holds.forget(subject.job, self.limit)
        subject.due = min(subject.due, self.clock)

    def _all_are_due(self) -> None:
        for each in self.subjects.values():
            each.due = min(each.due, self.clock)

    def passes(self, seconds: float) -> None:
        end = self.clock + seconds
        while ready := [each for each in self.subjects.values() if not each.stuck and each.due <= end]:
            subject = min(ready, key=lambda each: (each.due, each.uid))
            self.clock = max(self.clock, subject.due)
            self._pass(subject)
        self.clock = end

    def _pass(self, subject: Subject) -> None:
        job, memory = subject.job, subject.memory
        self.holds.kept(job)
        jobs = ((1, subject.live),) if subject.live is not None else ()
        fresh = frozenset({memory.fresh} if memory.fresh else ())
        seen = Seen(jobs=jobs, complete=subject.known, fresh=fresh, identity=self.identity)
        action, hold = decide.decide(wanted(job, seen), seen), None
        if isinstance(action, Intend | Submit):
            hold = self.holds.reason(job, self._service(), memory, action, self.clock)
            plannable = subject.plannable or hold is not None
            action = decide.decide(wanted(job, seen, plannable=plannable, hold=hold is not None), seen)
        self.holds.decided(job, memory, action, hold, self.limit, self.clock)
        waits = [memory.refused_until - self.clock] if memory.refused_until > self.clock else []
        waits += [TURN_AGAIN_SECONDS] if hold is not None and hold.reason in TURNS else []
        waits += [PLAN_AGAIN_SECONDS] if action.reason == "NotPlannable" else []
        subject.due = self.clock + min(waits, default=float("inf"))
        if isinstance(action, Intend):
            attempt = {"number": 1, "marker": "m", "cluster": self.identity.cluster, "user": self.identity.user}
            subject.body["status"]["attempts"] = [{**attempt, "runDirectory": "/r", "scriptDigest": "d"}]
            memory.fresh, subject.due = 1, self.clock
            self.holds.kept(subject.job)
        elif isinstance(action, Submit):
            self._submit(subject)
        else:
            assert isinstance(action, Rest | LookUp | Cancel)

    def _submit(self, subject: Subject) -> None:
        memory, refusals = subject.memory, subject.memory.refusals
        if self.refusal:
            error = Rejected("No more of them.", reason=self.refusal, transient=True)
            refuse(memory, error, self.clock, 1)
            subject.due = memory.refused_until
        else:
            memory.refused, memory.refusals, memory.fresh = None, 0, 0
            subject.body["status"]["attempts"][0]["jobId"] = subject.uid
            pending, (cluster, user) = JobState("PENDING"), (self.identity.cluster, self.identity.user)
            subject.live = RemoteJob(
                job_id=subject.uid, name="m", user=user, cluster=cluster, state=pending, submit_time=1
            )
        self.holds.tried(subject.job, memory, self.limit, refused=memory.refusals > refusals)
        self.holds.kept(subject.job)

    def _service(self) -> Service:
        spec = SimpleNamespace(max_jobs=self.limit, suspend=False)
        courtesy = SimpleNamespace(submits_wait=lambda _: None)
        site = SimpleNamespace(name="lumi", spec=spec, generation=1)
        return cast("Service", SimpleNamespace(site=site, courtesy=courtesy, watch=self))

    # What must hold

    def eager(self) -> list[str]:
        """Those that want to be submitted, and can be."""
        return [each.uid for each in self.subjects.values() if self._is_eager(each)]

    def _is_eager(self, subject: Subject) -> bool:
        attempts = subject.job.status.attempts
        elsewhere = bool(attempts) and Identity(attempts[0].cluster, attempts[0].user) != self.identity
        can = subject.plannable and subject.known and not subject.stuck and not elsewhere
        return can and not subject.suspended and subject.live is None

    def full(self) -> bool:
        """A place is also whose attempt is open and who is not known to have no job."""
        everybody = self.subjects.values()
        taken = [each for each in everybody if each.live or (not each.known and each.job.status.attempts)]
        return self.limit is not None and len(taken) >= self.limit


EVENTS = st.sampled_from(
    ["create"] * 3 + ["TooManyJobs", "PolicyLimit", "", "turn", "end", "delete"] + ["suspend", "break"] * 2
)
PAUSES = st.sampled_from([0.0, 1.0, 31.0, 100.0, 700.0])


def plays(*more: str) -> st.SearchStrategy[list[tuple[str, int, float]]]:
    events = st.one_of(EVENTS, st.sampled_from(more)) if more else EVENTS
    return st.lists(st.tuples(events, st.integers(0, 9), PAUSES), max_size=40)


def played(limit: int | None, events: list[tuple[str, int, float]]) -> Play:
    """The events, and then a site that takes jobs, for as long as it may take until that is found out."""
    play = Play(limit)
    for _ in range(3):
        play.create()
    for event, which, pause in events:
        play.happens(event, which)
        play.passes(pause)
    play.refusal = ""
    play.passes(ENOUGH_SECONDS)
    return play


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([None, 1, 2]), plays("ask"))
@example(None, [("TooManyJobs", 0, 1.0), ("suspend", 0, 0.0), ("suspend", 1, 0.0), ("create", 0, 31.0)])
@example(1, [("PolicyLimit", 0, 1.0), ("suspend", 0, 0.0)])
@example(1, [("create", 0, 1.0), ("ask", 1, 1.0), ("end", 0, 1.0)])
@example(1, [("PolicyLimit", 0, 1.0), ("turn", 0, 1.0), ("create", 0, 31.0)])
@example(1, [("TooManyJobs", 0, 0.0), ("ask", 0, 0.0)])
def test_while_a_site_takes_jobs_those_that_wait_are_sent(
    limit: int | None, events: list[tuple[str, int, float]]
) -> None:
    play = played(limit, events)
    assert not play.eager() or play.full()


@settings(max_examples=100, deadline=None)
@given(plays("stick", "ask"))
@example([("TooManyJobs", 0, 1.0), ("stick", 0, 0.0), ("stick", 1, 0.0), ("create", 0, 1.0)])
@example([("PolicyLimit", 0, 1.0), *[("create", 0, 1.0)] * 3, *[("ask", each, 31.0) for each in range(4)]])
def test_nor_do_they_wait_behind_those_whose_passes_do_not_come(events: list[tuple[str, int, float]]) -> None:
    assert not played(None, events).eager()
