"""Partitions as the scheduler has them, held against the profile and the Site. Pure.

A profile ages: where the site now takes less than it says, jobs that were planned well are refused, or wait for ever.
Where it takes more, nothing breaks, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from passerelle.doctor.check import Check, ok
from passerelle.gateways.surveys import SitePartition, Survey
from passerelle.profiles import Partition, Profile
from passerelle.sizing import duration
from passerelle.v1alpha1.site import SiteSpec

_UP = "UP"


def partitions(spec: SiteSpec, profile: Profile, survey: Survey) -> Iterator[Check]:
    """Those to which jobs of this Site go: the named one, or the profile's default and the larger ones behind it."""
    if survey.partitions is None:
        yield Check("partition", "open", "Partitions were not checked: the site does not tell them.")
        return
    there = {each.name: each for each in survey.partitions}
    for number, facts in enumerate(_gone_to(spec, profile)):
        found = there.get(facts.name)
        if found is None:
            yield _missing(facts, there, first=number == 0)
        else:
            judged = [*_state(found, first=number == 0), *_lists(spec, found), *_drift(facts, found, profile)]
            yield from judged or [ok("partition", _shape(found))]


def _gone_to(spec: SiteSpec, profile: Profile) -> Iterator[Partition]:
    found = profile.partition(spec.partition or profile.default_partition)
    while found is not None:
        yield found
        larger = None if spec.partition is not None else found.larger
        found = profile.partition(larger) if larger is not None else None


def _missing(facts: Partition, there: dict[str, SitePartition], *, first: bool) -> Check:
    text = f"The site shows no partition {facts.name} to your user."
    fix = f"It shows {', '.join(sorted(there)) or 'none at all'}: name one of these in spec.partition, or ask the site."
    if first:
        return Check("partition", "wrong", text, fix, "PartitionMissing")
    more = "Larger jobs would go there; ask the site for it, or tell the Site's users."
    return Check("partition", "warning", text, more, "PartitionMissing")


def _state(found: SitePartition, *, first: bool) -> Iterator[Check]:
    if found.state not in ("", _UP):
        text = f"Partition {found.name} is {found.state}: jobs wait there, or are refused."
        fix = "Ask the site when it is up again; set spec.suspend meanwhile, or name another in spec.partition."
        yield Check("partition", "wrong" if first else "warning", text, fix, "PartitionDown")


def _lists(spec: SiteSpec, found: SitePartition) -> Iterator[Check]:
    """What the partition admits; accounts and QoS that our user may use can be shut out here."""
    accounts = [name for entry in spec.admission for name in entry.accounts]
    qos = [name for entry in spec.admission for name in entry.qos]
    for word, names, allowed, denied in (
        ("account", accounts, found.allowed_accounts, found.denied_accounts),
        ("QoS", qos, found.allowed_qos, found.denied_qos),
    ):
        inside, outside = ({each.lower() for each in some} for some in (allowed, denied))
        unique = {name.lower(): name for name in names}
        out = [name for key, name in unique.items() if (inside and key not in inside) or key in outside]
        if out:
            text = f"Partition {found.name} takes no jobs of {word} {', '.join(out)}."
            instead = f"; it takes {', '.join(sorted(allowed))}" if allowed else ""
            fix = f"Remove it from spec.admission, or name another partition in spec.partition{instead}."
            yield Check("partition", "wrong", text, fix, "PartitionNotAllowed")


def _drift(facts: Partition, found: SitePartition, profile: Profile) -> Iterator[Check]:
    age = f"The profile, of {profile.machine.as_of}, has aged: report it."
    asked, given = facts.max_time_minutes, found.max_time_minutes
    if asked is not None and given is not None and given < asked:
        text = (
            f"Partition {found.name} takes jobs of at most {duration(given)}, and profile {profile.name} lets "
            f"{duration(asked)} through."
        )
        yield Check("partition", "warning", text, f"Write shorter time limits. {age}", "TimeLimitDrift")
    there = found.nodes if profile.node.count is not None else None  # a profile may be of a machine of any size
    most = min((each for each in (there, found.max_nodes) if each is not None), default=None)
    if facts.max_nodes is not None and most is not None and most < facts.max_nodes:
        text = (
            f"Partition {found.name} takes jobs of at most {most} nodes, and profile {profile.name} lets "
            f"{facts.max_nodes} through."
        )
        yield Check("partition", "warning", text, f"Ask for fewer nodes. {age}", "NodesDrift")
    if found.gpus_per_node is not None and found.gpus_per_node != facts.gpus_per_node:
        text = (
            f"Nodes of partition {found.name} have {found.gpus_per_node} GPUs, and {facts.gpus_per_node} in profile "
            f"{profile.name}."
        )
        yield Check("partition", "warning", text, f"Name another partition, or another profile. {age}", "GpusDrift")


def _shape(found: SitePartition) -> str:
    """What is told of a partition that is well."""
    told = [
        f"{found.nodes} nodes" if found.nodes is not None else "",
        f"{found.gpus_per_node} GPUs a node" if found.gpus_per_node is not None else "",
        f"at most {duration(found.max_time_minutes)}" if found.max_time_minutes is not None else "",
    ]
    words = ", ".join(filter(None, told))
    return f"{found.name} is {'up' if found.state else 'there'}{f': {words}' if words else ''}."
