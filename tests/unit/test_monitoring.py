"""The dashboard and the alerts ask for metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tree import REPOSITORY

FILES = REPOSITORY / "charts" / "passerelle" / "files"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)
_STANDARD = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
_OURS = re.compile(r"\b(?P<name>passerelle_\w+|process_\w+)(?:\{(?P<matchers>[^}]*)\})?")


def documented() -> dict[str, tuple[str, set[str]]]:
    """Metric -> its type and labels, from docs/metrics.md."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    return {row["name"]: (row["type"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in _ROW.finditer(text)}


METRICS = documented()
DASHBOARD = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))


def panels() -> Iterator[Any]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> dict[str, str]:
    """Where a query stands -> the query."""
    found = {f"alert {alert['alert']}": alert["expr"] for alert in ALERTS}
    for panel in panels():
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    listed = DASHBOARD["templating"]["list"]
    return found | {f"variable {each['name']}": each["definition"] for each in listed if "definition" in each}


def family(name: str) -> str:
    """A histogram is documented once, and asked by three names."""
    bare = re.sub(r"_(bucket|sum|count)$", "", name)
    return bare if bare in METRICS and METRICS[bare][0] == "histogram" else name


@pytest.mark.parametrize("place", queries())
def test_a_query_asks_for_what_is_documented(place: str) -> None:
    asked = list(_OURS.finditer(queries()[place]))

    assert asked
    for each in asked:
        name = family(each["name"])
        assert name in METRICS.keys() | _STANDARD
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", each["matchers"] or ""):
            assert label in METRICS[name][1]


def test_every_metric_is_shown_somewhere() -> None:
    shown = {family(each["name"]) for query in queries().values() for each in _OURS.finditer(query)}

    assert METRICS.keys() <= shown


def test_a_panel_asks_the_data_source_that_was_chosen() -> None:
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"


def test_panels_have_titles_and_ids_of_their_own_and_do_not_overlap() -> None:
    everything = DASHBOARD["panels"]
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in everything)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(panel["title"] for panel in everything)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["annotations"].keys() == {"summary", "description"}
    assert alert["labels"]["severity"] in {"warning", "critical"}
