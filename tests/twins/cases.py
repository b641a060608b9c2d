"""What is asked of a twin: a profile by launcher by size, planned and rendered by the product. Pure.

A size above what the profile takes is replaced by the largest. Launchers share Options: equal ones are one submission.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from passerelle.batch import Batch, Options
from passerelle.errors import Invalid
from passerelle.launch import LAUNCHERS
from passerelle.marker import Run
from passerelle.plan import Plan
from passerelle.profiles import Partition, Profile
from passerelle.render import render
from passerelle.routing import Route, route
from passerelle_sandbox.site.layout import RUN_ROOT
from plans import image_for, job, planned, site

SIZES = ("1 GPU", "1 node", "4 nodes", "largest")
WHOLE_DAY = 24 * 60
"""Minutes, where the longest job is unknown."""
_OURS = uuid.UUID("5e0c1f5a-6f63-4a51-9a51-1f4f6ee41fd5")


@dataclass(frozen=True)
class Case:
    """One job, and where the profile's rules send it."""

    launcher: str
    size: str
    place: Route
    plan: Plan
    batch: Batch

    @property
    def known(self) -> bool:
        """Whether the profile knows how large and how long a job may be in its place."""
        return self.place.limits.max_nodes is not None and self.place.limits.max_time_minutes is not None

    @property
    def name(self) -> str:
        return f"{self.launcher}, {self.size}"

    @property
    def asks(self) -> Options:
        """What tells one submission from another: all but the name, and the log, which has it in its path."""
        return dataclasses.replace(self.batch.options, name="", standard_output="", standard_error="")


def product(profile: Profile, account: str) -> list[Case]:
    """Every launcher in every size, where the profile's own rules send it. Raises Invalid where they send none."""
    largest = _largest(profile, account)
    sizes: dict[str, dict[str, Any]] = {
        "1 GPU": {"gpus": 1, "gpusPerNode": 1},
        "1 node": {"nodes": 1},
        "4 nodes": {"nodes": min(4, largest)},
        "largest": {"nodes": largest},
    }
    return [
        _case(profile, account, launcher, size, sizes[size], admitted_qos=[])
        for launcher in sorted(LAUNCHERS)
        for size in SIZES
    ]


def places(profile: Profile, account: str) -> Iterator[Case]:
    """One job for every partition and QoS that is named and open to everyone, as small and as long as it takes."""
    for partition in profile.partitions:
        if partition.right is not None:
            continue
        for qos in _qualities(profile, partition):
            limits = profile.limits(partition, qos)
            size = f"{partition.name}{f' with {qos}' if qos else ''}, {limits.min_nodes} nodes"
            named = [qos] if qos else []
            yield _case(profile, account, "srun", size, {"nodes": limits.min_nodes}, partition.name, named)


def beyond(profile: Profile, case: Case) -> Iterator[tuple[str, Options]]:
    """What the place of a case must refuse, if the profile's limits are the site's: one node more, one minute more."""
    asked = case.batch.options
    most = case.place.limits.max_nodes or profile.node.count
    if most is not None:
        yield f"{most + 1} nodes", dataclasses.replace(asked, nodes=most + 1)
    longest = case.place.longest_minutes
    if longest is not None:
        yield f"{longest + 1} minutes", dataclasses.replace(asked, time_limit_minutes=longest + 1)


def _case(
    profile: Profile,
    account: str,
    launcher: str,
    size: str,
    words: Mapping[str, Any],
    partition: str | None = None,
    admitted_qos: list[str] | None = None,
) -> Case:
    at = site(
        profile=profile.name,
        partition=partition,
        runRoot=RUN_ROOT,
        admission=[{"namespaces": ["team-a"], "accounts": [account], "qos": admitted_qos or []}],
    )
    asked = {"gpus": None, "launcher": launcher, "image": image_for(profile), **words}
    place = _route(profile, account, asked, partition, admitted_qos)
    minutes = place.longest_minutes or WHOLE_DAY
    run = Run.of_uid(str(uuid.uuid5(_OURS, f"{profile.name}/{launcher}/{size}")))
    plan = planned(job(**asked, timeLimit=f"{minutes}m"), at, profile, run=run)
    return Case(launcher, size, place, plan, render(plan))


def _route(
    profile: Profile, account: str, asked: Mapping[str, Any], partition: str | None = None, qos: list[str] | None = None
) -> Route:
    return route(job(**asked), profile, partition=partition, qos=qos[0] if qos else None, account=account)


def _largest(profile: Profile, account: str) -> int:
    """The most nodes for which the profile's rules find a place."""
    counts = {each.max_nodes for each in profile.partitions} | {each.max_nodes for each in profile.qos}
    for nodes in sorted({count for count in counts | {profile.node.count, 1} if count is not None}, reverse=True):
        try:
            _route(profile, account, {"gpus": None, "nodes": nodes})
        except Invalid:
            continue
        return nodes
    raise AssertionError(f"{profile.name} has no place for a job of one node")


def _qualities(profile: Profile, partition: Partition) -> list[str | None]:
    free = [each for each in profile.qos if each.right is None and not each.needs_reservation]
    own: list[str | None] = [each.name for each in free if partition.name in each.partitions]
    return own if profile.qos_rule.required else [None, *own]
