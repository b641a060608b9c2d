"""The way to the site: the Site's own words, its credential, who answers, and the clocks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from passerelle.doctor.check import UNREACHABLE, Check, ok, refused
from passerelle.errors import PasserelleError, Unauthorized
from passerelle.gateways.base import SLURM, Credential, Probe
from passerelle.periods import BELOW_FLOOR, periods
from passerelle.profiles import Profile
from passerelle.slurm import RemoteJob, Stage
from passerelle.v1alpha1.site import SiteSpec, SiteStatus

LEAST_LIFE = 0.2
"""Of a credential's whole life: with less left, it is time to renew it."""

WAY = "Where all else is ok, look at the way from the cluster to the site: firewall, proxy, name server."

SKEW_SECONDS = 60.0
"""Between two clocks: beyond it, tokens end at another time than they say, and so do jobs."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def site(name: str, spec: SiteSpec, profile: Profile | PasserelleError) -> Iterator[Check]:
    """What can be told of the spec alone."""
    if isinstance(profile, PasserelleError):
        yield refused("site", profile)
        return
    if spec.partition is not None and profile.partition(spec.partition) is None:
        known = ", ".join(each.name for each in profile.partitions)
        text = f"Profile {spec.profile} has no partition {spec.partition!r}."
        yield Check("site", "wrong", text, f"Write one of {known} as spec.partition.", "PartitionNotFound")
        return
    yield ok("site", f"Site {name} is valid: profile {spec.profile}, {spec.gateway.driver} at {spec.gateway.url}.")
    often = periods(spec, profile)
    if not often.as_written:
        yield Check("site", "warning", often.told(spec.profile), often.fix, BELOW_FLOOR)
    if not spec.admission:
        text = "spec.admission is empty: no namespace may use the Site."
        yield Check("site", "warning", text, "Name the namespaces that may.", "NobodyAdmitted")
    named = {name for entry in spec.admission for name in entry.namespaces}
    if len(named) > 1 or any(entry.selector for entry in spec.admission):
        text = "spec.admission admits several namespaces, which share one user at the site and can read one another's "
        fix = "Where they are not one team, give each a Site with a credential of its own."
        yield Check("site", "warning", f"{text}files there, Secrets included.", fix, "NamespacesShareUser")
    if spec.contact is None:
        text = "spec.contact is empty: the machine's administrators see who calls, and not whom to write to."
        fix = "Write an e-mail address or a URL that somebody reads."
        yield Check("site", "warning", text, fix, "NoContact")
    if spec.suspend:
        text = "spec.suspend is true: nothing is submitted."
        yield Check("site", "warning", text, "Set it to false when the site is ready.", "Suspended")


def token(credential: Credential, now: float, jobs: Iterable[RemoteJob]) -> Check:
    """How long a credential that was accepted still lasts, and whether longer than what runs."""
    if credential.expires is None:
        return ok("token", "The site accepts the credential, which does not tell its end.")
    left = credential.expires - now
    fix = f"Write a new one into {credential.place} before; nothing needs a restart."
    last = max(filter(None, (latest_end(job, now) for job in jobs)), default=None)
    if last is not None and last > credential.expires:
        text = f"The credential ends in {span(left)}, before jobs that may run for {span(last - now)}."
        return Check("token", "warning", text, fix, "CredentialEndsFirst")
    if credential.issued is not None and left < LEAST_LIFE * (credential.expires - credential.issued):
        text = f"The credential ends in {span(left)}, of {span(credential.expires - credential.issued)} that it had."
        return Check("token", "warning", text, fix, "CredentialEndsSoon")
    return ok("token", f"The site accepts the credential, which ends in {span(left)}.")


def expired(credential: Credential, now: float) -> Check | None:
    """A credential whose time is over by our clock; None where it isn't."""
    if credential.expires is None or credential.expires > now:
        return None
    text = f"The credential of {credential.user} expired {span(now - credential.expires)} ago."
    return Check("token", "wrong", text, f"Write a new one into {credential.place}.", "TokenExpired")


def unanswered(error: PasserelleError) -> Iterator[Check]:
    """Why the site gave no good answer: nobody is there, or somebody refuses us."""
    if isinstance(error, Unauthorized):
        yield ok("address", "The gateway answers.")
        yield refused("token", error)
    elif error.reason == "SchedulerUnavailable":
        yield ok("address", "The gateway answers.")
        yield refused("slurm", error)
    elif error.reason in ("AccountingUnavailable", "QueryTooWide"):
        yield ok("address", "The gateway answers.")
        yield refused("accounting", error)
    elif error.reason == "ClusterUnknown":
        yield refused("identity", error)
    else:
        yield refused("address", error)


def answered(probe: Probe, took: float, status: SiteStatus | None) -> Iterator[Check]:
    """Who answers; `status` is what the operator wrote of the Site last."""
    who = probe.identity
    yield ok("address", f"The gateway answers, in {took:.1f} s.")
    release = f"{probe.product} {probe.version}".rstrip()
    yield ok("slurm" if probe.product == SLURM else "gateway", f"{release}, interface {probe.api_version}.")
    if status is not None and status.cluster and (status.cluster, status.user) != (who.cluster, who.user):
        text = (
            f"The Site leads to cluster {who.cluster} as {who.user}, and led to {status.cluster} as {status.user} when "
            "the operator last looked."
        )
        fix = "Attempts that have not ended there are held until it is pointed back; see their TrainingJobs first."
        yield Check("identity", "warning", text, fix, "IdentityChanged")
    else:
        yield ok("identity", f"Jobs run as {who.user} on cluster {who.cluster}.")


def ready(probe: Probe) -> Check | None:
    """What would have jobs refused, as the gateway knows already; None where it knows of nothing."""
    return Check("gateway", "wrong", probe.unready, "", "NotReady") if probe.unready else None


def capable(driver: str, missing: Sequence[str]) -> Check:
    """What the door can't do. Nothing is wrong with that, and nobody should find out by a job."""
    if not missing:
        return ok("gateway", f"All that Passerelle does can be done through this {driver} gateway.")
    return ok("gateway", f"Not all can be done through this {driver} gateway: {'; '.join(missing)}.")


def clock(told: float | None, before: float, after: float) -> Check:
    """The site's clock, which was told between two readings of ours."""
    if told is None:
        return Check("clock", "open", "The clocks were not compared: the site does not tell its time.")
    ahead = told - after if told > after else min(told - before, 0.0)
    if abs(ahead) <= SKEW_SECONDS:
        return ok("clock", "The site's clock and this machine's agree.")
    text = f"The site's clock is {span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's."
    fix = "Tokens end at another time than they seem to: set the clock that is wrong, here by NTP, or ask the site."
    return Check("clock", "warning", text, fix, "ClockSkew")


def operator(status: SiteStatus | None, generation: int, told: Collection[str]) -> Check | None:
    """What the operator says of the Site, which may reach it by another way than this machine; None without a
    cluster. `told` are the causes that were found from here: such a one is not explained again.
    """
    if status is None:
        return None
    ready = next((each for each in status.conditions if each.type == "Ready"), None)
    if ready is None:
        text = "No operator has looked at the Site yet."
        return Check("operator", "warning", text, "Install it, or see that it runs.", "OperatorSilent")
    if status.observed_generation < generation:
        text = "The operator has not seen the Site's latest change yet."
        return Check("operator", "warning", text, "Wait a moment; see that it runs.", "OperatorBehind")
    if ready.status != "True":
        if ready.reason in told:
            text = "The operator can't use the Site either, for the same cause."
            return Check("operator", "wrong", text, "", ready.reason)
        text = f"The operator can't use the Site: {ready.message}"
        return Check("operator", "wrong", text, WAY if ready.reason == UNREACHABLE else "", ready.reason)
    return ok("operator", "The operator reaches the site, too.")


def span(seconds: float) -> str:
    """A time in its largest unit that people count with."""
    for size, word in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {word}"
    return f"{int(seconds)} s"


def latest_end(job: RemoteJob, now: float) -> float | None:
    """When a live job ends at the latest, if it starts now at the latest."""
    if job.stage is Stage.ENDED or job.time_limit_minutes is None:
        return None
    began = job.start_time if job.stage is Stage.RUNNING and job.start_time is not None else now
    return began + job.time_limit_minutes * _MINUTE
