"""The capability matrix: what it says of each driver is what the driver's code says."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from passerelle.gateways.base import Accounting, Files, Gateway, Listing, Signals, Traits, Upload
from passerelle.gateways.matrix import BEGIN, CAPABILITIES, CONDITIONS, END, UNTOLD, lacks, settles, table, written
from passerelle.gateways.measured import measured
from passerelle.gateways.memory import Memory
from passerelle.gateways.open import DRIVERS
from passerelle.slurm import RemoteJob

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "gateways.md"
GATEWAYS = REPOSITORY / "src" / "passerelle" / "gateways"
KINDS = {name: driver.kind() for name, driver in DRIVERS.items()}
FIELDS = {field.name for field in dataclasses.fields(RemoteJob)}


def test_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert written(text, table(KINDS)) == text, "run `make generate`"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="to write the table between"):
        written("# Gateways\n", "| |\n")
    assert written(f"a\n{BEGIN}\nold\n{END}\nb", "new\n") == f"a\n{BEGIN}\nnew\n{END}\nb"


def rows(kinds: dict[str, type[Gateway]]) -> dict[str, list[str]]:
    lines = [line.strip("| \n").split(" | ") for line in table(kinds).splitlines()[2:]]
    return {title: cells for title, *cells in lines}


def test_a_yes_is_a_protocol_that_the_class_has() -> None:
    found = rows(KINDS)
    able = {
        "accounting: jobs that Slurm has forgotten": Accounting,
        "reads files; `passerelle logs`": Files,
        "carries Secrets, and files beyond a script's 64 KiB": Upload,
    }

    for title, protocol in able.items():
        said = [cell.startswith("yes") for cell in found[title]]
        assert said == [issubclass(kind, protocol) for kind in KINDS.values()]
        assert {True, False} == set(said), "a row that says the same of all would prove nothing"


def test_a_suspended_run_saves_by_a_signal_or_by_a_file() -> None:
    found = dict(zip(KINDS, rows(KINDS)["a suspended run may save first"], strict=True))

    for driver, kind in KINDS.items():
        signals, writes = issubclass(kind, Signals), issubclass(kind, Upload)
        assert found[driver].startswith("yes") is (signals or writes)
        assert found[driver].endswith("by a file") is (writes and not signals)


def test_a_condition_stands_beside_a_yes_and_nowhere_else() -> None:
    known = {each.name: each for each in CAPABILITIES}

    for driver, name in CONDITIONS:
        assert known[name].how(KINDS[driver], KINDS[driver].traits)


@pytest.mark.parametrize("driver", KINDS)
def test_what_a_driver_calls_silent_its_decoder_never_tells(driver: str) -> None:
    told: set[str] = set()
    for path in (GATEWAYS / driver).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RemoteJob":
                told |= {each.arg for each in node.keywords if each.arg and not isinstance(each.value, ast.Constant)}

    assert FIELDS - told - UNTOLD == KINDS[driver].traits.silent


@pytest.mark.parametrize("driver", KINDS)
def test_every_driver_has_a_settle_time(driver: str) -> None:
    assert settles(KINDS[driver]) >= 10


def test_what_can_all_lacks_nothing() -> None:
    site = Memory(clock=lambda: 0.0)

    assert list(lacks(site)) == []
    assert list(lacks(measured(site, lambda _: None, lambda: 0.0))) == []


def test_what_lacks_something_says_what_follows() -> None:
    class Poor:
        traits = Traits(listing=Listing.EACH, silent=frozenset({"comment"}))

    told = "; ".join(lacks(Poor()))  # type: ignore[arg-type]  # a gateway without anything

    for words in ("OutcomeLost", "no progress is shown", "can't save first", "`passerelle logs` shows none"):
        assert words in told
