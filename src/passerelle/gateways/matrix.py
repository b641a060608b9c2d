"""What each kind of gateway can do, read off its class: the table in docs/gateways.md, and what a Site says it lacks.

A capability is a protocol of base.py that the class has or hasn't, or a trait that the class declares; so the table is
never written by hand, and `make generate` writes it. A word stands here by hand only for what is true of some releases
of a site alone, and beside a yes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from passerelle.gateways.base import Accounting, Files, Gateway, Handover, Signals, Traits, Transfer, Upload
from passerelle.gateways.surveys import EVERY_TOPIC, Topic

YES = "yes"
BEGIN, END = "<!-- written by `make generate` -->", "<!-- until here -->"

UNTOLD = frozenset({"refusal", "slurm_id", "live", "report_trouble", "surplus"})
"""Fields of RemoteJob of which an empty one is an answer, or that we fill in ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """`name` is its row's title. `how` looks at a class and its traits, and says in what way it can, "" where it
    can't. `without` is a clause about a gateway that lacks it: what can't be done, and what follows; "" where nobody
    who runs jobs notices.
    """

    name: str
    how: Callable[[type, Traits], str]
    without: str = ""


def _protocol(capability: type, how: str = YES) -> Callable[[type, Traits], str]:
    """Whether a class has every method of a protocol: issubclass refuses one that has a data member, too."""
    methods = [name for name, value in vars(capability).items() if callable(value) and not name.startswith("_")]
    return lambda kind, _: how if all(callable(getattr(kind, name, None)) for name in methods) else ""


def _heard(kind: type, traits: Traits) -> str:
    """How a running job is heard. Where its comment can't tell all, its report file does."""
    if "comment" not in traits.silent:
        return "by its comment"
    return _protocol(Files, "by its report file")(kind, traits)


CAPABILITIES = (
    Capability(
        name="accounting: jobs that Slurm has forgotten",
        how=_protocol(Accounting),
        without="it has no accounting, so a job that was seen and is gone ends as OutcomeLost",
    ),
    Capability(
        name="progress of a running job",
        how=_heard,
        without="it tells no job's comment and reads no files, so no progress is shown",
    ),
    Capability(
        name="a suspended run may save first",
        how=lambda kind, traits: _protocol(Signals)(kind, traits) or _protocol(Upload, "yes, by a file")(kind, traits),
        without="it can't signal a batch script alone and writes no files, so a suspended run can't save first",
    ),
    Capability(
        name="reads files; `passerelle logs`",
        how=_protocol(Files),
        without="it reads no files, so `passerelle logs` shows none",
    ),
    Capability(
        name="carries Secrets, and files beyond a script's 64 KiB",
        how=_protocol(Upload),
        without="it writes no files, so no Secret reaches a job",
    ),
    Capability(
        name="copies `data` and `outputs`, in parts that go on after a break",
        how=lambda kind, traits: (
            _protocol(Transfer)(kind, traits) or _protocol(Handover, "yes, by jobs of the site")(kind, traits)
        ),
        without="it moves no large files, so neither data nor outputs are copied",
    ),
    Capability(name="forecast of a waiting job's start", how=lambda _, traits: YES if traits.forecasts else ""),
    Capability(name="a job carries our marker as a tag", how=lambda _, traits: YES if traits.tags else ""),
)

CONDITIONS: Mapping[tuple[str, str], str] = {
    ("slurmrestd", "a suspended run may save first"): "from Slurm 23.11 on",
    ("arc", "carries Secrets, and files beyond a script's 64 KiB"): "through a small job of ours",
    ("arc", "copies `data` and `outputs`, in parts that go on after a break"): "through a small job of ours",
}
"""(driver, capability) -> on what a yes depends."""


def table(kinds: Mapping[str, type[Gateway]]) -> str:
    """The matrix as Markdown: a column for each driver."""
    lines = [["", *kinds], ["---"] * (len(kinds) + 1)]
    for each in CAPABILITIES:
        cells = [
            _cell(each.how(kind, kind.traits), CONDITIONS.get((name, each.name), "")) for name, kind in kinds.items()
        ]
        lines.append([each.name, *cells])
    lines.append(["`sites doctor` is told", *map(_surveyed, kinds.values())])
    lines.append(["the states of all jobs come", *(str(kind.traits.listing) for kind in kinds.values())])
    untold = (", ".join(sorted(kind.traits.silent)) or "nothing" for kind in kinds.values())
    lines.append(["never told of a job", *untold])
    lines.append(["a submit of unknown fate is settled after", *(f"{settles(kind):g} s" for kind in kinds.values())])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def settles(kind: type[Gateway]) -> float:
    """A driver's settle time, where nobody sets another."""
    return float(inspect.signature(kind).parameters["settle_seconds"].default)


def lacks(gateway: Gateway) -> Iterator[str]:
    """A clause for each thing that this gateway's kind can't do."""
    for each in CAPABILITIES:
        if each.without and not each.how(type(gateway), gateway.traits):
            yield each.without


def written(text: str, matrix: str) -> str:
    """The page with the table between its marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r} to write the table between")
    return f"{before}{BEGIN}\n{matrix}{END}{after}"


def _cell(how: str, condition: str) -> str:
    return "no" if not how else f"{how}, {condition}" if condition else how


def _surveyed(kind: type[Gateway]) -> str:
    topics = kind.traits.surveys
    return "all it asks" if topics == EVERY_TOPIC else ", ".join(each for each in Topic if each in topics) or "nothing"


def _write(page: Path) -> None:
    from passerelle.gateways.open import DRIVERS  # noqa: PLC0415 -- what asks for clauses needs no driver

    kinds = {name: driver.kind() for name, driver in DRIVERS.items()}
    page.write_text(written(page.read_text(encoding="utf-8"), table(kinds)), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/gateways.md"))
