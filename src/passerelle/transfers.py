"""Between the pass over a TrainingJob and the staging of its Site: what is asked for, when, and what holds the submit.

Data are copied when the job can be planned and nothing but its turn holds it, before its first intent; outputs when the
run has succeeded. In the pass that writes an intent, of the first attempt or a later one, the data were seen at the
site a moment ago: a scratch is purged, and a Site turned to another cluster, while a TrainingJob waits. A suspended
TrainingJob copies nothing, and a deleted one leaves nothing half-named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from passerelle.actions import Action, Intend, Rest
from passerelle.errors import Invalid, Unauthorized, Unavailable
from passerelle.facts import IDENTITY_CHANGED, Staged, Word
from passerelle.gateways.base import Handover, Identity, Transfer
from passerelle.job_secrets import JobSecrets, Withheld
from passerelle.kube import Gone
from passerelle.objects import Key, TrainingJob
from passerelle.planning import Planned
from passerelle.render import NeedsFiles
from passerelle.sites import Service
from passerelle.staged import STAGING, all_out, told
from passerelle.staging.door import Door
from passerelle.staging.entries import refused, steps_in, steps_out
from passerelle.staging.s3.credential import Access, access
from passerelle.staging.s3.presigned import OpenPresigned
from passerelle.staging.steps import Direction, Progress, Step
from passerelle.staging.turns import ROOM
from passerelle.staging.worker import OpenStore, Staging
from passerelle.v1alpha1.trainingjob_status import Attempt

_UNSEEN = Word("False", STAGING, "The operator looks whether all data still lie at the site.")


class Moved(Protocol):
    """Told of bytes that were copied."""

    def __call__(self, site: str, direction: Direction, size: int, /) -> None: ...


class Transfers:
    """`wake` has a TrainingJob looked at again; `now` gives epoch seconds."""

    def __init__(
        self,
        secrets: JobSecrets,
        wake: Callable[[Key], None],
        moved: Moved,
        now: Callable[[], float],
        open_store: OpenStore,
        presigned: OpenPresigned,
    ) -> None:
        self._secrets = secrets
        self._wake = wake
        self._moved = moved
        self._now = now
        self._open_store = open_store
        self._presigned = presigned
        self._keys: dict[str, Key] = {}
        self._accounts: dict[str, str] = {}
        self._planned_at: dict[str, int] = {}
        """For which generation of its Site a TrainingJob was planned last."""
        self._room = asyncio.Semaphore(ROOM)

    def checked(self, job: TrainingJob, service: Service | None, planned: Planned) -> Planned:
        """The plan, refused where the Site's gateway can't carry what is to be copied, or two copies meet."""
        if service is not None and job.spec is not None and steps_in(job.spec):
            self._planned_at[job.uid] = service.site.generation
        if planned.plan is not None:
            self._accounts[job.uid] = planned.plan.account or ""
        if job.spec is None or planned.plan is None or service is None or service.watch is None:
            return planned
        driver = service.site.spec.gateway.driver if service.site.spec is not None else "its"
        moves = isinstance(service.watch.gateway, Transfer | Handover)
        refusal = refused(job.spec, site=job.site, driver=driver, moves=moves)
        return planned if refusal is None else Planned(invalid=refusal, findings=planned.findings)

    def outdated(self, job: TrainingJob, service: Service | None) -> bool:
        """Whether what is copied for it was planned for a Site that has changed since: its account may be another."""
        if job.spec is None or service is None or not steps_in(job.spec):
            return False
        return self._planned_at.get(job.uid) != service.site.generation

    def hold(self, job: TrainingJob, service: Service | None, action: Action, *, turn: bool) -> Word | None:
        """What the submit waits for, after asking for it. None where all is there, or nothing is to be copied.
        `turn`: nothing else holds it, so that it is worth a look whether all is there still.
        """
        progress = self._into(job, service, action)
        if progress is None:
            asked = isinstance(action, Intend) and job.spec is not None and steps_in(job.spec)
            return _UNSEEN if asked else None  # the site can't be asked any more, and what was seen is older
        if not all(each.done for each in progress):
            return told(progress, "At the site")
        staging = self._staging(service)
        if turn and isinstance(action, Intend) and staging is not None and not staging.sure(job.uid):
            return _UNSEEN
        return None

    def look(self, job: TrainingJob, service: Service | None, action: Action, run_directory: str) -> Staged | None:
        """How far all is, after asking for outputs where it is time."""
        spec = job.spec
        if spec is None or not (spec.outputs or steps_in(spec)):
            return None
        into = self._into(job, service, action, ask=False)
        out: tuple[Progress, ...] | None = None
        succeeded = isinstance(action, Rest) and action.reason == "Succeeded"
        if succeeded and spec.outputs and not all_out(job.status):
            staging = self._staging(service)
            if staging is not None and _barred(service):
                staging.stop(job.uid, "Out")
            elif staging is not None and service is not None and service.site.spec is not None and not job.deleting:
                self._keys[job.uid] = job.key
                steps = steps_out(spec, run_directory, self._account(job))
                where, whose = _where(service), job.status.attempts[-1]
                home = Identity(whose.cluster, whose.user)
                if where in (None, home):
                    out = staging.ask(job.uid, job.key.namespace, steps, service.site.spec.run_root, home)
                else:
                    staging.stop(job.uid, "Out")
                    out = tuple(_led_away(step, whose, where) for step in steps)
        return Staged(len(steps_in(spec)), len(spec.outputs), into, out)

    def forget(self, job: TrainingJob, service: Service | None) -> None:
        """This TrainingJob is no more."""
        self._accounts.pop(job.uid, None)
        self._planned_at.pop(job.uid, None)
        if self._keys.pop(job.uid, None) is not None and service is not None and service.staging is not None:
            service.staging.forget(job.uid, job.key.namespace)

    def _into(
        self, job: TrainingJob, service: Service | None, action: Action, *, ask: bool = True
    ) -> tuple[Progress, ...] | None:
        """The data's progress, while it counts: before an intent."""
        if job.spec is None:
            return None
        steps = steps_in(job.spec, self._account(job))
        staging = self._staging(service) if steps else None
        if staging is None or service is None or service.site.spec is None:
            return None
        if job.deleting or job.spec.suspend or service.site.spec.suspend or _barred(service):
            staging.stop(job.uid)
            return None
        begun = bool(job.status.attempts)
        intends = ask and isinstance(action, Intend)
        if begun and not intends:
            return staging.known(job.uid, steps)
        if not (intends or job.uid in self._keys):
            return None
        self._keys[job.uid] = job.key
        return staging.ask(job.uid, job.key.namespace, steps, service.site.spec.run_root, _where(service), begun=begun)

    def _account(self, job: TrainingJob) -> str:
        """What is charged for jobs that carry data: the run's own account."""
        attempts = job.status.attempts
        return self._accounts.get(job.uid) or (attempts[-1].account if attempts else "") or ""

    def _staging(self, service: Service | None) -> Staging | None:
        if service is None:
            return None
        if service.staging is None:
            name = service.site.name
            service.staging = Staging(
                name,
                door=lambda where: _door(service, where),
                read_access=self._access,
                open_store=self._open_store,
                changed=self._changed,
                moved=lambda direction, size: self._moved(name, direction, size),
                now=self._now,
                room=self._room,
                presigned=self._presigned,
            )
        return service.staging

    def _changed(self, uid: str) -> None:
        key = self._keys.get(uid)
        if key is not None:
            self._wake(key)

    async def _access(self, namespace: str, name: str) -> Access:
        try:
            return access(f"{namespace}/{name}", await self._secrets.read(namespace, name))
        except Gone:
            text = f"There is no Secret named {name!r} in namespace {namespace}; create it first."
            raise Unauthorized(text, reason="SecretNotFound") from None
        except Withheld as error:
            raise Unauthorized(error.message, reason=error.reason) from None


def _led_away(step: Step, whose: Attempt, where: Identity) -> Progress:
    """What lies at that path where the Site leads now is somebody's, and no output of the run."""
    text = (
        f"The run's outputs lie on cluster {whose.cluster}, as {whose.user}, and the Site leads to cluster "
        f"{where.cluster} as {where.user} now; point it back."
    )
    return Progress(
        name=step.name, direction="Out", state="Failed", reason=IDENTITY_CHANGED, message=text, stalled=True
    )


def _where(service: Service) -> Identity | None:
    """Who answers at the site, and as whom we ask; None while nobody does."""
    probe = service.watch.probe if service.watch is not None else None
    return probe.identity if probe is not None else None


def _barred(service: Service | None) -> bool:
    """Whether a person must act before the site can be asked. To try all the same would tell nothing new, and keep the
    step waiting for its next try when that is done.
    """
    return service is not None and isinstance(service.trouble, Invalid | Unauthorized)


def _door(service: Service, where: Identity | None) -> Door:
    """The Site's gateway as it is now, where that leads to whom it led when the copy was asked for."""
    if service.trouble is not None or service.watch is None:
        why = service.trouble.message if service.trouble is not None else "It has not been asked yet."
        raise Unavailable(f"The site can't be asked: {why}", reason="SiteSilent", sent=False)
    if where is not None and _where(service) != where:
        raise Unavailable("The Site leads elsewhere now; it is looked where.", reason="SiteSilent", sent=False)
    if not isinstance(service.watch.gateway, Transfer | Handover):
        raise Invalid("The Site's gateway copies no data.", reason=NeedsFiles.reason)
    return cast("Door", service.watch.gateway)
