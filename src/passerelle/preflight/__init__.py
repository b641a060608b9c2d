"""Preflight: TrainingJob x Site x profile -> findings, each with what to write instead. Pure.

One file a theme. A finding is worth a careful engineer's time or it isn't made: what isn't known of a site, or only of
low confidence, is passed over, but for limits that a job may well exceed. What planning refuses is a finding too, under
planning's own word.

Everything here needs the manifest and the profile alone. What a live site could tell besides (does the image exist, is
the account good, are there hours left) belongs to a gateway and has no place among pure checks; what only a node can
tell (devices, network, a world that is complete) is looked at by the job itself before the trainers start.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from passerelle.confidential import hosts_only
from passerelle.errors import Invalid
from passerelle.preflight import (
    account,
    chain,
    command,
    credentials,
    directory,
    image,
    mounted,
    network,
    paths,
    placeholders,
    refusals,
    shape,
    variables,
)
from passerelle.preflight.finding import Finding, Id, Operation, Patch, Severity
from passerelle.preflight.request import Request
from passerelle.profiles import Profile
from passerelle.v1alpha1.site import Admission, SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

__all__ = ["Finding", "Id", "Operation", "Patch", "Severity", "preflight"]

_THEMES = (image, shape, chain, account, paths, mounted, directory, network, command, credentials)
_ORDER = {"error": 0, "warning": 1, "info": 2}


def preflight(
    job: TrainingJobSpec,
    site: SiteSpec,
    profile: Profile,
    *,
    entry: Admission | None,
    refused: Invalid | None = None,
    passed_over: Sequence[tuple[str, str]] = (),
) -> tuple[Finding, ...]:
    """What is to be said of a job, the worst first; one finding for each id and field.

    `entry` is the Site's that admits the namespace, None where that isn't known. `refused` is why planning made no
    plan, where it didn't. `passed_over` are keys of envFrom that make no variable, each with what holds it.
    """
    request = Request(job, site, profile, entry)
    found = {(each.id, each.field): each for each in placeholders.findings(request)}
    unwritten = {each.field for each in found.values() if each.severity == "error"}  # what else is wrong there is moot
    themes = (*(theme.findings(request) for theme in _THEMES), variables.findings(passed_over))
    for each in itertools.chain.from_iterable((refusals.findings(request, refused), *themes)):
        if each.field not in unwritten:
            told = replace(each, message=hosts_only(each.message), fix=hosts_only(each.fix))
            found.setdefault((each.id, each.field), told)
    return tuple(sorted(found.values(), key=lambda each: _ORDER[each.severity]))
