"""What a Site's status says: every condition anew, from the facts of the moment. Pure in what it reads.

`Ready` and `Stalled` say whether the site can be used now, and `FullyCapable` what can't be done through its door at
all; the others stand there only while something is amiss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passerelle.attempts import rfc3339
from passerelle.doctor.door import LEAST_LIFE, capable, latest_end
from passerelle.errors import Invalid, Unauthorized
from passerelle.facts import IDENTITY_CHANGED
from passerelle.gateways.base import Credential
from passerelle.gateways.matrix import lacks
from passerelle.site_courtesy import calls, courtesy_words
from passerelle.v1alpha1.meta import Condition
from passerelle.v1alpha1.site import SiteStatus
from passerelle.watch import SiteWatch

if TYPE_CHECKING:
    from passerelle.sites import Service

NAMED = 10
"""How many TrainingJobs, or jobs, a condition names; it tells the number of the others."""

Word = tuple[str, str, str, str]
"""Type, status, reason and message of a condition."""


def _strangers(service: Service) -> Invalid | None:
    """What leaves attempts unseen that nobody but an administrator can lead the Site back to."""
    if not service.strangers or service.watch is None or service.watch.probe is None:
        return None
    identity = service.watch.probe.identity
    names = _counted("TrainingJob", sorted(map(str, service.strangers)))
    text = (
        f"The Site now leads to cluster {identity.cluster} as {identity.user}, but {names} had an attempt elsewhere "
        "that has not ended. Point the Site back until they have ended, or delete them with the annotation "
        "passerelle.dev/abandon. New TrainingJobs go where it leads now."
    )
    return Invalid(text, reason=IDENTITY_CHANGED)


def _mistake(service: Service) -> Invalid | None:
    """What lets the site answer, and no TrainingJob be planned."""
    spec, profile = service.site.spec, service.profile
    if spec is None or profile is None or spec.partition is None or profile.partition(spec.partition) is not None:
        return None
    known = ", ".join(each.name for each in profile.partitions)
    text = f"Profile {spec.profile} has no partition {spec.partition!r}; write one of {known}."
    return Invalid(text, reason="PartitionNotFound")


def _capable(driver: str, watch: SiteWatch) -> Word:
    """What the Site's door can't do, whether it answers or not: nobody should find out by a job."""
    missing = [*lacks(watch.gateway), *(watch.probe.lacks if watch.probe is not None else ())]
    text = str(capable(driver, missing))
    return (
        ("FullyCapable", "False", "GatewayLimits", text) if missing else ("FullyCapable", "True", "NothingLacks", text)
    )


def _lasts(credential: Credential, watch: SiteWatch, now: float) -> list[Word]:
    """What is amiss with the credential's end; times are told as they are, since what counts down would be written
    again and again.
    """
    ends = credential.expires
    if ends is None:
        return []
    later = sorted(job.slurm_number or job.job_id for job in watch.live() if (latest_end(job, now) or 0.0) > ends)
    fix = f"Write a new one into {credential.place} before; nothing needs a restart."
    if later:
        text = f"The credential ends at {rfc3339(ends)}, and {_counted('job', later)} may run for longer. {fix}"
        return [("CredentialLasts", "False", "CredentialEndsFirst", text)]
    if credential.issued is not None and ends - now < LEAST_LIFE * (ends - credential.issued):
        text = f"The credential ends at {rfc3339(ends)}: most of its life is over. {fix}"
        return [("CredentialLasts", "False", "CredentialEndsSoon", text)]
    return []


def _strays(watch: SiteWatch) -> list[Word]:
    """What runs in our name, and is no TrainingJob's here."""
    found = [str(each) for each in watch.strays()]
    if not found:
        return []
    names, belong = _counted("job", found), "belongs" if len(found) == 1 else "belong"
    text = (
        f"At the last full listing, at most an hour ago, {names} {belong} to no TrainingJob here. If another cluster "
        "submits as the same user, all is well; else end with scancel what nobody needs. Nothing of it is cancelled."
    )
    return [("JobsKnown", "False", "StrayJobs", text)]


def _counted(kind: str, names: list[str]) -> str:
    more = len(names) - NAMED
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names[:NAMED])}{f' and {more} more' if more > 0 else ''}"


def site_status(service: Service, *, now: float) -> SiteStatus:
    """What a Site's status says. Pure in what it reads."""
    old, trouble, watch = service.site.status, service.trouble, service.watch
    probe = watch.probe if watch is not None else None
    expires = service.credential.expires if service.credential is not None else None
    stamp = rfc3339(now) or ""
    if trouble is None:
        words = [("Ready", "True", "Answering", "The site answers and accepts the credential.")]
    else:
        words = [("Ready", "False", trouble.reason, trouble.message)]
        if isinstance(trouble, Invalid | Unauthorized):
            words.append(("Stalled", "True", trouble.reason, trouble.message))
    if trouble is None and (mistake := _mistake(service) or _strangers(service)) is not None:
        words = [("Ready", "False", mistake.reason, mistake.message)]
        words.append(("Stalled", "True", mistake.reason, mistake.message))
    if watch is not None and trouble is None:
        words += [(side, "False", silent.reason, silent.message) for side, silent in watch.silent.items()]
    if watch is not None and service.site.spec is not None:
        words.append(_capable(service.site.spec.gateway.driver, watch))
    if watch is not None and service.credential is not None and trouble is None:
        words += _lasts(service.credential, watch, now)
    if watch is not None and trouble is None:
        words += _strays(watch)
    if service.site.spec is not None:
        words += courtesy_words(service.site.spec, service.profile, service.courtesy)
    if (strangers := _strangers(service)) is not None:
        words.append(("IdentityKept", "False", strangers.reason, strangers.message))
    before = {condition.type: condition for condition in old.conditions}
    conditions = [
        Condition.model_validate(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": service.site.generation,
                "lastTransitionTime": before[kind].last_transition_time
                if kind in before and before[kind].status == status
                else stamp,
            }
        )
        for kind, status, reason, message in words
    ]
    return SiteStatus(
        observed_generation=service.site.generation,
        conditions=conditions,
        cluster=probe.identity.cluster if probe else old.cluster,
        user=probe.identity.user if probe else old.user,
        version=probe.version if probe else old.version,
        api_version=probe.api_version if probe else old.api_version,
        credential_expiry=rfc3339(expires) if expires else None,
        jobs=watch.live_jobs if watch is not None else 0,
        calls=calls(old.calls, service.courtesy, now),
    )
