"""Writes a pass's outcome to kube-apiserver: one status patch where it changed, and the events that it implies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from passerelle.announce import Event
from passerelle.attempts import SUSPENDED, epoch, rfc3339
from passerelle.bounds import fit
from passerelle.chain import excluded, reached
from passerelle.errors import Invalid, PasserelleError, Unauthorized
from passerelle.facts import IDENTITY_CHANGED, Facts, Unseen
from passerelle.gateways.base import Files
from passerelle.kube import Kube
from passerelle.objects import Key, TrainingJob, merge_patch
from passerelle.onsite import places
from passerelle.passes import Pass, elsewhere, retry_taken
from passerelle.progress import parse_comment
from passerelle.run_directory import run_directory
from passerelle.slurm import RemoteJob, Stage
from passerelle.status import report
from passerelle.v1alpha1.meta import Condition
from passerelle.v1alpha1.trainingjob_status import Attempt, TrainingJobStatus
from passerelle.watch import SiteWatch

SILENT_PERIODS = 3
"""Progress periods after which a relay that was never heard of is taken for refused: it posts once when it starts."""

log = logging.getLogger("passerelle.report")

UNSEEN_SECONDS, UNSEEN_PERIODS = 60.0, 2
"""How long a site is silent before its TrainingJobs say so, and how many periods at least."""
PREFLIGHT = "Preflight"
"""The event's reason for what preflight warns of."""

_NORMAL = frozenset(
    (kind, "True") for kind in ("Accepted", "DataStaged", "Submitted", "Running", "Succeeded", "OutputsStaged")
)
_WARNING = frozenset({("Accepted", "False"), ("Succeeded", "False"), ("Stalled", "True")})

_STATUS_KEYS = TrainingJobStatus.model_json_schema(by_alias=True)["properties"]


class Reporter:
    """`keep` takes in every answer of kube-apiserver, `tell` has an event written soon; `now` gives epoch seconds."""

    def __init__(
        self,
        kube: Kube,
        keep: Callable[[Key, Mapping[str, Any]], None],
        tell: Callable[[Event], None],
        now: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._keep = keep
        self._tell = tell
        self._now = now

    async def report(
        self,
        done: Pass,
        *,
        attempts: tuple[Attempt, ...] | None = None,
        accepted: RemoteJob | None = None,
        trouble: PasserelleError | None = None,
        retry_handled: str | None = None,
        attempts_suspended: int = 0,
    ) -> tuple[Attempt, ...]:
        """Write the status, if it changed. `attempts` and `accepted` are the pass's own doing, newer than the picture.

        Raises Conflict, Gone or Unavailable; then nothing was written.
        """
        job, planned = done.job, done.planned
        kept = done.attempts if attempts is None else attempts
        silent = _progress_silent(done, self._now())
        facts = Facts(
            namespace=job.key.namespace,
            name=job.key.name,
            generation=job.generation,
            now=rfc3339(self._now()) or "",
            site=job.site,
            action=done.action,
            attempts=kept,
            job=accepted or done.remote,
            plan=planned.plan,
            findings=planned.findings,
            digest=planned.batch.digest if planned.batch is not None else "",
            invalid=(job.invalid or planned.invalid) if not kept or done.action.reason == "NotPlannable" else None,
            trouble=trouble or _trouble(done),
            unseen=_unseen(done),
            hold=done.hold,
            suspend=job.spec.suspend if job.spec is not None else False,
            deleting=job.deleting,
            retry_handled=retry_handled or retry_taken(job, done.seen),
            attempts_suspended=attempts_suspended,
            progress_silent=silent,
            report_path=_report_path(done) if silent else "",
            chain=job.spec is not None and job.spec.checkpoint is not None,
            max_attempts=job.spec.retry.max_attempts if job.spec is not None else 1,
            reached=reached(job.status, done.seen),
            excluded=excluded(job.status, done.seen),
            staged=done.staged,
        )
        new = fit(report(job.status, facts))
        patch = merge_patch(job.raw_status, new.model_dump(by_alias=True, exclude_none=True), _STATUS_KEYS)
        if patch:
            self._keep(job.key, await self._kube.patch_trainingjob_status(job.key, job.resource_version, patch))
            if new.summary != job.status.summary:
                words = {"summary": new.summary, "reason": new.reason or None}
                log.info("changed", extra={"trainingjob": str(job.key), "uid": job.uid, "site": job.site, **words})
            for event in _events(job, new, self._now()):
                self._tell(event)
        return kept


def _events(job: TrainingJob, new: TrainingJobStatus, now: float) -> Iterator[Event]:
    """At most one event a condition that turned True or False, and one for what preflight newly warns of."""
    before = {condition.type: condition.status for condition in job.status.conditions}
    involved = {
        "kind": "TrainingJob",
        "namespace": job.key.namespace,
        "name": job.key.name,
        "uid": job.uid,
        "resourceVersion": job.resource_version,
    }
    told: set[str] = set()
    for condition in new.conditions:
        turned = (condition.type, condition.status)
        suspended = turned == ("Submitted", "False") and condition.reason == SUSPENDED and bool(new.attempts)
        unchanged = before.get(condition.type) == condition.status
        if unchanged or (turned not in _NORMAL | _WARNING and not suspended) or condition.message in told:
            continue
        told.add(condition.message)  # Stalled repeats what it stands for
        yield Event(
            at=now,
            involved=involved,
            namespace=job.key.namespace,
            kind="Warning" if turned in _WARNING else "Normal",
            reason=condition.reason,
            message=_audit(job, new, condition) if turned == ("Submitted", "True") else condition.message,
            minor=turned == ("Accepted", "True"),
        )
    warnings = _new_warnings(job.status, new)
    if warnings:
        yield Event(
            at=now,
            involved=involved,
            namespace=job.key.namespace,
            kind="Warning",
            reason=PREFLIGHT,
            message=" ".join(warnings),
        )


def _new_warnings(old: TrainingJobStatus, new: TrainingJobStatus) -> list[str]:
    """A sentence for each warning of preflight that did not stand before."""
    known = {(each.id, each.field) for each in old.findings}
    return [
        f"{each.id} ({each.field}): {each.message} {each.fix}".rstrip()
        for each in new.findings
        if each.severity == "warning" and (each.id, each.field) not in known
    ]


def heard(job: RemoteJob) -> bool:
    """Whether its relay was ever heard of."""
    return parse_comment(job.comment).heard


def _progress_silent(done: Pass, now: float) -> bool:
    """Whether a job has run for several progress periods, by our clock, and its relay was never heard of."""
    current, service = done.current, done.service
    if current is None or current.job is None or service is None or service.watch is None:
        return False
    if current.job.stage is not Stage.RUNNING or heard(current.job):
        return False
    running = (each for each in done.job.status.conditions if each.type == "Running" and each.status == "True")
    since = next((epoch(each.last_transition_time) for each in running), None)
    return since is not None and now - since >= SILENT_PERIODS * service.watch.reporting_seconds


def _report_path(done: Pass) -> str:
    """Where the current attempt's report file is looked for; `""` where the site's gateway has no files."""
    current, watch = done.current, done.service.watch if done.service is not None else None
    if current is None or watch is None or not isinstance(watch.gateway, Files):
        return ""
    return places.report(run_directory(done.job, done.service, current.number), current.number)


def _audit(job: TrainingJob, new: TrainingJobStatus, condition: Condition) -> str:
    """Who submitted what to whose account."""
    attempt = new.attempts[-1]
    return (
        f"Submitted {job.key} (uid {job.uid}) as attempt {attempt.number}: {condition.message} "
        f"Account: {attempt.account or 'the default'}."
    )


def unseen_after(watch: SiteWatch) -> float:
    """Seconds of silence after which a site is out of sight."""
    return max(UNSEEN_SECONDS, UNSEEN_PERIODS * watch.period)


def _unseen(done: Pass) -> Unseen | None:
    """Why the site is out of sight, once that is more than a moment: one failed look is nobody's news."""
    service = done.service
    if service is None:
        return Unseen(_no_site(done.job.site))
    why, watch = service.trouble, service.watch
    if why is not None and (watch is None or service.refused is not None):
        return Unseen(why)
    silent = None
    if why is not None and watch is not None and watch.silent_seconds >= unseen_after(watch):
        silent = Unseen(why, rfc3339(watch.looked_at) or "")
        if isinstance(why, Invalid | Unauthorized):
            return silent
    return _elsewhere(done) or silent  # a site of others tells nothing by its silence


def _elsewhere(done: Pass) -> Unseen | None:
    """What the Site shows now is of others."""
    attempt, service = elsewhere(done.job, done.service), done.service
    if attempt is None or service is None or service.watch is None or service.watch.probe is None:
        return None
    now = service.watch.probe.identity
    text = (
        f"Attempt {attempt.number} was meant for cluster {attempt.cluster} as {attempt.user}, and the Site leads to "
        f"cluster {now.cluster} as {now.user} now; point it back."
    )
    return Unseen(Invalid(text, reason=IDENTITY_CHANGED))


def _no_site(name: str) -> Invalid:
    return Invalid(f"There is no Site named {name!r}.", reason="SiteNotFound")


def _trouble(done: Pass) -> PasserelleError | None:
    refused = done.memory.refused
    if refused is not None and done.hold is not None and done.hold.reason == refused.reason:
        return refused
    if done.service is None:
        return _no_site(done.job.site)
    return done.service.trouble
