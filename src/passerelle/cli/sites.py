"""`passerelle sites`: the facts of the profiles, for people. It prints what stands there and judges nothing; `doctor`,
which judges, has a file of its own.

A fact that people look for and that nobody found reads `unknown`; whatever else is absent isn't printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from passerelle.cli import machines
from passerelle.cli.doctor import doctor
from passerelle.profiles import Facts, Partition, Profile, Qos, load, names
from passerelle.sizing import duration
from passerelle.v1alpha1.site import GatewaySpec

app = typer.Typer(help="What is known of each supercomputer, and whether a Site works.", no_args_is_help=True)

UNKNOWN = "unknown"
_GIB = 1024
_STYLES = {"high": "green", "medium": "yellow", "low": "red"}
_LOOKED_FOR = frozenset(
    {
        *("architecture", "count", "cpus", "memory_mib", "memory_gib"),
        *("max_nodes", "max_time_minutes", "whole_nodes", "gpu_request"),
        *("required", "unit", "per_gpu_hour", "compute", "login", "unattended"),
    }
)
"""Printed even where absent, or what they mostly are."""
_HEADING = frozenset({"name", "kind", "role"})
"""What the group's heading says already."""
_FROM_THE_PARTITION = frozenset({"max_nodes", "max_time_minutes", "whole_nodes"})
"""What a QoS leaves to its partition: absent there, it isn't unknown."""
_PROSE = frozenset({"gotchas", "policy"})
"""Sentences of one site, which differ from all others."""
_UNITS = {"gib": "GB", "days": "days", "hours": "h", "seconds": "s"}
Name = Annotated[
    str, typer.Argument(help="A profile, as `passerelle sites list` names it, or its beginning, like lumi.")
]


@app.command("list")
def list_() -> None:
    """One line for each profile: its GPUs, its longest ordinary job, and the drivers that reach it."""
    head = ("PROFILE", "GPUS", "VENDOR", "ARCH", "LONGEST JOB", "INTERNET", "DRIVERS")
    _table(head, [_line(load(each)) for each in names()])


@app.command()
def show(name: Name) -> None:
    """Everything that is known of one, with how sure it is and where it was read."""
    facts = load(machines.named(name))
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(facts.name, style="bold"), Text(facts.description), sep=": ")
    for place, group in facts.groups():
        mark = Text(f"({group.confidence}: {', '.join(group.source)})", style=_STYLES[group.confidence])
        console.print()
        console.print(Text(_words(place), style="bold"), mark)
        for label, value in list(_facts(group)) or [("nothing is known", "")]:
            line = value if place.partition(".")[0] in _PROSE else f"{label:<28} {value}".rstrip()
            console.print(Text(f"  {line}"))
    console.print()
    console.print(Text("sources", style="bold"))
    for key, text in facts.sources.items():
        console.print(Text(f"  {key:<28} {text}"))


@app.command()
def diff(a: Name, b: Name) -> None:
    """What differs between two, fact by fact. Their default partitions are held against each other."""
    a, b = machines.named(a), machines.named(b)
    first, second = _comparable(load(a)), _comparable(load(b))
    order = list(Profile.model_fields)
    keys = sorted(first | second, key=lambda key: order.index(key[0]))
    both = [
        (f"{where}: {label}", first.get((field, where, label), "-"), second.get((field, where, label), "-"))
        for field, where, label in keys
    ]
    rows = [row for row in both if row[1] != row[2]]
    if rows:
        _table(("FACT", a, b), rows)
    else:
        typer.echo("Nothing differs.")


app.command()(doctor)


def _line(facts: Profile) -> tuple[str, ...]:
    partition = facts.partition(facts.default_partition)
    assert partition is not None  # noqa: S101 -- the model has seen to it
    memory = f" x {facts.gpu.memory_gib} GB" if facts.gpu.memory_gib else ""
    return (
        facts.name,
        f"{partition.gpus_per_node}{memory}",
        facts.gpu.vendor,
        facts.node.architecture,
        _longest(facts, partition),
        _value("compute", facts.egress.compute),
        ", ".join(_drivers(facts)) or "-",
    )


def _drivers(facts: Profile) -> list[str]:
    """Those by which a Site reaches the machine. ssh is one where logging in takes no person each time: with a key, or
    with a certificate as long as it lasts.
    """
    kinds: set[str] = {each.kind for each in facts.gateways}
    if facts.login.unattended or facts.login.certificate_hours is not None:
        kinds.add("ssh")
    return sorted(kinds & set(get_args(GatewaySpec.model_fields["driver"].annotation)))


def _longest(facts: Profile, partition: Partition) -> str:
    """Of a job that names neither partition nor QoS."""
    automatic: list[str | None] = [
        each.name for each in facts.qos if each.automatic and partition.name in each.partitions
    ]
    times = [facts.limits(partition, each).max_time_minutes for each in (automatic or [None])]
    return _value("max_time_minutes", max((each for each in times if each is not None), default=None))


def _comparable(facts: Profile) -> dict[tuple[str, str, str], str]:
    """Each fact under its field of the profile, its group and its label."""
    found: dict[tuple[str, str, str], str] = {}
    for place, group in facts.groups():
        field = place.partition(".")[0]
        default = isinstance(group, Partition) and group.name == facts.default_partition
        if field not in _PROSE:
            where = "default partition" if default else _words(place)
            name = [("name", facts.default_partition)] if default else []
            found |= {(field, where, label): value for label, value in [*name, *_facts(group)] if label != "note"}
    return found


def _facts(group: Facts) -> Iterator[tuple[str, str]]:
    """Label and value of each fact that is worth a line."""
    for name, info in type(group).model_fields.items():
        value = getattr(group, name)
        left = isinstance(group, Qos) and name in _FROM_THE_PARTITION
        missing = value == info.get_default(call_default_factory=True) and (left or name not in _LOOKED_FOR)
        if missing or name in _HEADING or name in Facts.model_fields:
            continue
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield _label(info.alias or name), _value(name, value)


def _label(key: str) -> str:
    """`maxNodeTime` as `max node time`; units stand with the value."""
    words = re.sub(r"([A-Z])", r" \1", key).lower()
    return re.sub(r" (gib|days|hours)$", "", words)


def _words(place: str) -> str:
    """`file_systems.scratch.2` as `file systems scratch 2`."""
    field, *rest = place.split(".")
    return " ".join([field.replace("_", " "), *rest])


def _value(name: str, value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, int) and name.endswith("_minutes"):
        return duration(value)
    if isinstance(value, int) and name.endswith("_mib"):
        return f"{value}Mi" if value % _GIB else f"{value // _GIB}Gi"
    unit = _UNITS.get(name.rpartition("_")[2])
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit else text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style="dim" if cell == UNKNOWN else "") for cell in row))
    console.print(table)
