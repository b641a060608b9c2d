"""The examination of a Site: asks it and its site, cheap questions first, and hands the answers to the doctor.

It changes nothing at the site but one small file in the run root, always of the same name; where a gateway opens files
by a small job of its own (Opens), that job is submitted for it. What can't be asked because of an earlier answer is
told as such. It runs on the machine of whoever types: the operator's way to the site may be another one, so what the
operator says of the Site is held against it last.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from passerelle import profiles
from passerelle.doctor import Check, door, machine, ok, refused, rights, unasked
from passerelle.doctor.canary import canary
from passerelle.errors import Invalid, PasserelleError, Rejected, Unavailable
from passerelle.flight import Flight, fly
from passerelle.gateways.base import (
    NOT_OPENED,
    OPENING,
    Accounting,
    Credential,
    Files,
    Gateway,
    Info,
    Probe,
    Upload,
)
from passerelle.gateways.matrix import lacks
from passerelle.gateways.open import credential, open_gateway
from passerelle.gateways.surveys import Survey
from passerelle.gateways.trust import Trust, trust
from passerelle.marker import Run
from passerelle.profiles import Profile
from passerelle.slurm import RemoteJob
from passerelle.v1alpha1.site import SiteSpec, SiteStatus

PROOF = ".passerelle-doctor"
"""The file in the run root that is written and read again: no gateway removes one, so there is only ever this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A Site, and how its Secrets are read: by name, None where there is none. `home` stands before their names in
    sentences. `status` is the operator's, None where no cluster is asked.
    """

    name: str
    spec: SiteSpec
    secret: Callable[[str], Awaitable[Mapping[str, bytes] | None]]
    home: str = ""
    status: SiteStatus | None = None
    generation: int = 0

    @property
    def credentials(self) -> str:
        return f"{self.home}{self.spec.gateway.credentials.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A canary is to be sent, if a person agrees to the sentence that names its price."""

    agree: Callable[[str], bool]
    flight: Flight


Opener = Callable[[SiteSpec, Callable[[], Credential], Trust], Gateway]


async def examine(
    subject: Subject,
    *,
    trial: Trial | None = None,
    opener: Opener = open_gateway,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[Check]:
    """Every check, as soon as its answer is there; a canary's only where a trial is asked for, and nothing before it
    was wrong. Raises what reading a Secret raises, and no error of the site's.
    """
    spec = subject.spec
    try:
        profile: Profile | Invalid = profiles.load(spec.profile)
    except Invalid as error:
        profile = error
    for each in door.site(subject.name, spec, profile):
        yield each
    data = await subject.secret(spec.gateway.credentials.name)
    try:
        held = credential(spec.gateway.driver, subject.credentials, data)
        whose = f"a credential of {held.user}" if held.user else "a token, which does not name its user"
        yield ok("secret", f"{subject.credentials} holds {whose}.")
        known = await trust(spec.gateway.tls, subject.secret, subject.home)
        gateway = opener(spec, lambda: held, known.called_by(subject.name, spec.contact))
    except PasserelleError as error:
        yield refused("address" if error.reason in ("InvalidUrl", "InsecureUrl") else "secret", error)
        yield unasked(("address", "token", "slurm", "accounts", "partition"), "they need the Secret")
        return
    try:
        if (over := door.expired(held, now())) is not None:
            yield over
            yield unasked(("address", "slurm", "accounts", "partition"), "they need a credential")
            return
        causes: set[str] = set()
        async for each in _at_the_site(subject, gateway, held, profile, now, canary_comes=trial is not None):
            if each.verdict == "wrong":
                causes.add(each.id)
            yield each
        if trial is not None:
            async for each in _tried(subject, gateway, profile, trial, wrong=bool(causes)):
                yield each
    finally:
        await gateway.close()
    told = door.operator(subject.status, subject.generation, causes)
    if told is not None:
        yield told


async def _at_the_site(
    subject: Subject,
    gateway: Gateway,
    held: Credential,
    profile: Profile | Invalid,
    now: Callable[[], float],
    *,
    canary_comes: bool,
) -> AsyncIterator[Check]:
    began = time.monotonic()
    try:
        probe = await gateway.probe()
    except PasserelleError as error:
        for each in door.unanswered(error):
            yield each
        yield unasked(("accounting", "accounts", "partition", "run root"), "they need the site's answer")
        return
    for each in door.answered(probe, time.monotonic() - began, subject.status):
        yield each
    if (unready := door.ready(probe)) is not None:
        yield unready
    yield door.capable(subject.spec.gateway.driver, [*lacks(gateway), *probe.lacks])
    yield await _accounting(gateway, subject.spec)
    async for each in _surveyed(subject, gateway, probe, held, profile, now):
        yield each
    if isinstance(gateway, Upload) or not canary_comes:
        yield await _run_root(gateway, subject.spec)


async def _accounting(gateway: Gateway, spec: SiteSpec) -> Check:
    """Asked for a job that nobody has."""
    if not isinstance(gateway, Accounting):
        return ok("accounting", f"{spec.gateway.driver} has none, and does without.")
    try:
        await gateway.accounted(names=[Run.of_uid(str(uuid.uuid4())).marker(1)])
    except PasserelleError as error:
        return refused("accounting", error)
    return ok("accounting", "Slurm's accounting answers.")


async def _surveyed(
    subject: Subject,
    gateway: Gateway,
    probe: Probe,
    held: Credential,
    profile: Profile | Invalid,
    now: Callable[[], float],
) -> AsyncIterator[Check]:
    """What the site lets our user have, and the time that it has."""
    if not isinstance(gateway, Info):
        yield door.token(held, now(), [])
        yield unasked(("accounts", "qos", "partition", "clock"), f"{subject.spec.gateway.driver} does not tell them")
        return
    before = now()
    try:
        survey = await gateway.survey()
    except PasserelleError as error:
        yield door.token(held, now(), [])
        yield refused("partition", error)
        return
    after = now()
    yield door.token(held, now(), await _live(gateway, held, survey, now()))
    if isinstance(profile, Profile):
        for each in rights.rights(subject.spec, profile, survey, probe.identity.user):
            yield each
        for each in machine.partitions(subject.spec, profile, survey):
            yield each
    yield door.clock(survey.clock, before, after)


async def _live(gateway: Gateway, held: Credential, survey: Survey, now: float) -> Sequence[RemoteJob]:
    """Our jobs at the site, listed only where one of them could outlast the credential."""
    limits = [each.max_time_minutes for each in survey.partitions or ()]
    longest = max((each for each in limits if each is not None), default=None) if None not in limits else None
    if held.expires is None or (longest is not None and held.expires - now > longest * 60):
        return []
    try:
        return await gateway.find()
    except PasserelleError:
        return []


async def _tried(
    subject: Subject, gateway: Gateway, profile: Profile | Invalid, trial: Trial, *, wrong: bool
) -> AsyncIterator[Check]:
    if wrong or not isinstance(profile, Profile):
        yield Check("canary", "open", "No canary was sent: put right what is wrong first.")
        return
    try:
        made = canary(subject.name, subject.spec, profile, Run.of_uid(str(uuid.uuid4())))
    except Invalid as error:
        yield refused("canary", error)
        return
    if not trial.agree(made.price):
        yield Check("canary", "open", "No canary was sent: you said no.")
        return
    async for each in fly(gateway, made, profile, trial.flight):
        yield each


async def _run_root(gateway: Gateway, spec: SiteSpec) -> Check:
    """Whether it is there and writable: by a file that is written and read again."""
    if not (isinstance(gateway, Upload) and isinstance(gateway, Files)):
        text = f"The run root was not checked: {spec.gateway.driver} writes no files. A canary checks it: --canary."
        return Check("run root", "open", text)
    path, proof = f"{spec.run_root.rstrip('/')}/{PROOF}", f"{uuid.uuid4()}\n".encode()
    try:
        await gateway.write(path, proof)
        kept = await gateway.read(path, 0, len(proof))
    except Unavailable as error:
        if error.reason == OPENING:
            text = f"The run root was not checked yet. {error.message}"
            return Check("run root", "open", text, "Ask again in some minutes.", error.reason)
        return refused("run root", error)
    except Rejected as error:
        if error.reason == NOT_OPENED:
            return refused("run root", error)
        fix = f"Make it at the site, for the Site's user to write in: mkdir -p {spec.run_root}"
        return Check("run root", "wrong", error.message, fix, "RunRootRefused")
    except PasserelleError as error:
        return refused("run root", error)
    if kept != proof:
        text = f"{path} was written, and reads otherwise."
        return Check("run root", "wrong", text, "Choose a directory that all of the site's nodes share.", "RunRootOdd")
    return ok("run root", f"{spec.run_root} is there and writable.")
