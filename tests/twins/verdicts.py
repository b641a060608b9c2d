"""A profile against its twin: every case entered through both doors, read back and compared."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from passerelle.batch import Batch
from passerelle.imports import Imported
from passerelle.plan import Plan
from passerelle.profiles import Profile
from passerelle.render import render
from passerelle_sandbox import sandbox
from passerelle_sandbox.twins.model import Twin, load
from twins import agreement, cases, imported
from twins.cases import Case
from twins.door import Door, Refused
from twins.imported import Source

TWIN_OF = {"sandbox-bare": "sandbox"}
"""Profiles that are of one machine."""
_READ_IN_SCRIPTS = ("nodes", "tasks", "GPUs", "minutes")
"""What a script and its import both ask for; CPUs and memory are the site's share where the script names none."""


@dataclass
class Verdict:
    """What came of a profile. A complaint is a sentence; `cases` of which one complains are refused."""

    profile: str
    cases: int = 0
    unknown: int = 0
    refused: int = 0
    submissions: int = 0
    limits: int = 0
    imports: int = 0
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def accepted(self) -> int:
        return self.cases - self.unknown - self.refused

    @property
    def good(self) -> bool:
        return not self.complaints


def twin_of(profile: str) -> str:
    return TWIN_OF.get(profile, profile)


def check(profile: Profile, twin_name: str) -> Verdict:
    """Start the twin, ask it everything, take it down."""
    began = time.monotonic()
    name = f"twins-{secrets.token_hex(3)}"
    there = sandbox.up(name, with_control_plane=False, twin=twin_name)
    try:
        (site,) = there.sites.values()
        door = Door(site)
        try:
            verdict = _asked(profile, load(twin_name), door)
        finally:
            door.close()
    finally:
        sandbox.down(name)
    return replace(verdict, seconds=time.monotonic() - began)


def _asked(profile: Profile, twin: Twin, door: Door) -> Verdict:
    verdict = Verdict(profile.name)
    account = twin.accounts[0]
    default_qos = account.qos[0] if account.default_qos else None
    asked = cases.product(profile, account.name)
    groups: dict[object, list[Case]] = {}
    for case in asked:
        groups.setdefault(case.asks, []).append(case)
    for group in groups.values():
        complaints = list(_complaints(group[0].plan, group[0].batch, default_qos, door))
        verdict.cases += len(group)
        verdict.submissions += len(door.dialects)
        verdict.complaints += [f"{', '.join(case.name for case in group)}: {each}" for each in complaints]
        if complaints:
            verdict.refused += len(group)
        else:
            verdict.unknown += sum(not case.known for case in group)
    places = list(cases.places(profile, account.name))
    for case in places:
        verdict.limits += 1
        verdict.complaints += [f"{case.size}: {each}" for each in _complaints(case.plan, case.batch, default_qos, door)]
    for case in [*places, *_one_a_place(asked)]:
        _beyond(profile, case, door, verdict)
    for source in imported.of(profile.name):
        verdict.imports += 1
        found = imported.imported(source)
        told = import_complaints(source, found, account.name, default_qos, door)
        verdict.complaints += [f"{source.file}: {each}" for each in told]
    return verdict


def import_complaints(
    source: Source, found: Imported, account: str, default_qos: str | None, door: Door
) -> Iterator[str]:
    """What is wrong with an import, by its source's own words, by preflight, and by Slurm, which reads scripts, too."""
    brought = imported.brought(source, found, account)
    yield from brought.complaints
    if brought.plan is None:
        return
    batch = render(brought.plan)
    yield from _complaints(brought.plan, batch, default_qos, door)
    if source.sbatch is None:
        return
    try:
        script = agreement.found(door.as_script(source.text, "-A", account, *source.sbatch.split()))
    except Refused as refused:
        yield f"the script itself: refused: {refused.words}"
        return
    wanted = agreement.planned(brought.plan, batch.options, default_qos)
    in_both = {word: wanted[word] for word in _READ_IN_SCRIPTS}
    yield from (f"the script itself: {each}" for each in agreement.differences(in_both, script))


def _complaints(plan: Plan, batch: Batch, default_qos: str | None, door: Door) -> Iterator[str]:
    wanted = agreement.planned(plan, batch.options, default_qos)
    for dialect, enter in door.dialects.items():
        try:
            got = agreement.found(enter(batch))
        except Refused as refused:
            yield f"{dialect}: refused: {refused.words}"
        else:
            yield from (f"{dialect}: {each}" for each in agreement.differences(wanted, got))
    try:
        door.test_only(batch)
    except Refused as refused:
        yield f"--test-only: refused: {refused.words}"


def _beyond(profile: Profile, case: Case, door: Door, verdict: Verdict) -> None:
    """One node or one minute more is refused: no profile is too strict, as none is too generous."""
    for beyond, options in cases.beyond(profile, case):
        verdict.limits += 1
        try:
            door.test_only(replace(case.batch, options=options))
        except Refused:
            continue
        verdict.complaints.append(f"{case.size}: the profile stops before {beyond}, the twin takes them")


def _one_a_place(asked: Iterable[Case]) -> Iterator[Case]:
    """The largest case of each partition and QoS that the profile's rules lead to."""
    by_size = sorted(asked, key=lambda case: case.plan.nodes)
    yield from {(case.plan.partition, case.plan.qos): case for case in by_size}.values()
