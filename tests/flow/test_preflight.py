"""What preflight says reaches whoever looks: conditions, status, one event; and an error keeps a job from the site."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from little_world import World
from passerelle.errors import Invalid
from passerelle.objects import Key
from passerelle.plan import Plan
from passerelle.planning import Planned, _judged
from passerelle.preflight import Finding
from stories import finished, told

DEVICES = [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]
ERROR = Finding(id="ShellSyntax", severity="error", field="spec.command", message="One word.", fix="Write more.")
WARNING = Finding(
    id="GraceTooShort", severity="warning", field="spec.checkpoint.grace", message="Short.", fix="Longer."
)


def findings(world: World, key: Key) -> list[tuple[str, str, str]]:
    status: dict[str, Any] = world.api.objects[key].get("status", {})
    return [(each["severity"], each["id"], each["field"]) for each in status.get("findings", [])]


def test_an_error_keeps_the_job_from_the_site() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", command=["python /opt/train.py"])
        await asyncio.sleep(120)

        assert world.condition(key, "Accepted") == ("False", "ShellSyntax")
        assert findings(world, key) == [("error", "ShellSyntax", "spec.command")]
        assert world.site.snapshot() == []
        (event,) = world.api.events
        assert event[:2] == ("Warning", "ShellSyntax")
        assert event[2].endswith("Write each word of it as one of its own.")

    told(story)


def test_of_a_namespace_that_is_not_admitted_nothing_is_read() -> None:
    async def story(world: World) -> None:
        files = [{"configMap": "no-such", "path": "/a"}, {"secret": "no-such", "path": "/b"}]
        key = world.api.create("a", files=files)
        await world.until(lambda: world.condition(key, "Accepted") == ("False", "NamespaceNotAdmitted"))

        assert "config map" not in world.api.calls
        assert [each["id"] for each in world.status(key)["findings"]] == ["NamespaceNotAdmitted"]

    told(story, admission=[{"namespaces": ["team-b"]}])


def test_a_warning_is_told_once_and_stands_to_the_end() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", env=DEVICES)
        await world.until(finished(world, key))
        await asyncio.sleep(120)

        assert world.condition(key, "Succeeded")[0] == "True"
        assert findings(world, key) == [("warning", "DevicesOverridden", "spec.env[0]")]
        warned = [(reason, text) for kind, reason, text in world.api.events if kind == "Warning"]
        assert [reason for reason, _ in warned] == ["Preflight"]
        assert warned[0][1].startswith("DevicesOverridden (spec.env[0]): Slurm hands out the devices")

    told(story)


def test_a_suspended_job_is_the_dry_run() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", env=DEVICES, suspend=True)
        await asyncio.sleep(30)

        assert world.condition(key, "Accepted")[0] == "True"
        assert findings(world, key) == [("warning", "DevicesOverridden", "spec.env[0]")]
        assert world.site.snapshot() == []

    told(story)


def test_a_refusal_of_planning_keeps_its_own_sentence_and_stands_among_the_findings() -> None:
    async def story(world: World) -> None:
        key = world.api.create("a", timeLimit="30h", env=DEVICES)
        await asyncio.sleep(30)

        assert world.condition(key, "Accepted") == ("False", "TimeLimitTooLong")
        assert [each[1] for each in findings(world, key)] == ["TimeLimitTooLong", "DevicesOverridden"]
        message = next(text for _, reason, text in world.api.events if reason == "TimeLimitTooLong")
        assert "; write at most 1h" in message

    told(story)


def test_a_check_of_a_newer_release_stops_no_run_that_was_taken() -> None:
    plan = object.__new__(Plan)
    planned = Planned(plan=plan)

    first, second = (_judged(planned, (ERROR, WARNING), begun=begun) for begun in (False, True))

    assert first.plan is None
    assert first.invalid is not None
    assert (first.invalid.reason, first.invalid.message) == ("ShellSyntax", "One word. Write more.")
    assert (second.plan, second.invalid, second.findings) == (plan, None, (ERROR, WARNING))


def test_what_planning_refuses_is_refused_at_any_attempt() -> None:
    refused = Planned(invalid=Invalid("No; write yes.", reason="NodesTooMany"))
    finding = Finding(id="NodesTooMany", severity="error", field="spec.nodes", message="No.", fix="Write yes.")
    renamed = Finding(id="QosTooSmall", severity="error", field="spec.qos", message="No.", fix="Write qos: large.")

    assert _judged(refused, (finding,), begun=True).invalid is refused.invalid
    better = _judged(refused, (renamed,), begun=True).invalid
    assert better is not None
    assert (better.reason, better.message) == ("QosTooSmall", "No. Write qos: large.")


def test_warnings_alone_refuse_nothing() -> None:
    planned = Planned(plan=object.__new__(Plan))
    assert _judged(planned, (WARNING,), begun=False).invalid is None


def test_long_findings_are_cut_to_what_a_status_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(
        Finding(id=f"X{place}", severity="warning", field="spec", message="m" * 600, fix="f" * 600)
        for place in range(20)
    )
    monkeypatch.setattr("passerelle.planning.preflight", lambda *_, **__: many)

    async def story(world: World) -> None:
        key = world.api.create("a", suspend=True)
        await asyncio.sleep(30)

        kept = world.api.objects[key]["status"]["findings"]
        assert [each["id"] for each in kept] == [each.id for each in many[: len(kept)]]
        assert 4 <= len(kept) <= 16
        assert {len(each["message"]) for each in kept} == {512}

    told(story)
