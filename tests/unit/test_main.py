"""The composition root under kopf, with a kube-apiserver of our own: what it asks first, when it acts, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import itertools
import logging
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from passerelle.election import Election
from passerelle.kube import Kube
from passerelle.settings import Settings

MAIN = Path(__file__).resolve().parents[2] / "operator" / "main.py"
GROUP = "passerelle.dev"
PATIENCE = 10.0
COUNT, PAGE = 5, 2
PAGES = [f"GET trainingjobs {PAGE} ", f"GET trainingjobs {PAGE} 2", f"GET trainingjobs {PAGE} 4"]
STARTS = ["GET lease", "POST lease", *PAGES, "GET sites"]
NOBODY, ANOTHER = "", "another"


class Apiserver:
    """TrainingJobs of a Site that does not exist, and the Lease. `calls` are all that came, but discovery and watches.
    So often as `outages` says it answers to no listing.
    """

    def __init__(self) -> None:
        self.jobs = {f"job-{number}": _job(number) for number in range(COUNT)}
        self.lease: dict[str, Any] | None = None
        self.calls: list[str] = []
        self.outages = 0
        self.over = asyncio.Event()
        self._version = 1000

    @property
    def told(self) -> dict[str, str]:
        """What the TrainingJobs' statuses say."""
        return {name: body["status"]["reason"] for name, body in self.jobs.items() if "status" in body}

    @property
    def leader(self) -> str | None:
        return self.lease["spec"]["holderIdentity"] if self.lease is not None else None

    def give(self, holder: str) -> None:
        """The Lease has another holder now."""
        self.lease = _named(metadata={"name": "passerelle", "namespace": "home", "resourceVersion": self._next()})
        self.lease["spec"] = {"holderIdentity": holder, "leaseDurationSeconds": 10}

    def app(self) -> web.Application:
        app = web.Application()
        here = f"/apis/{GROUP}/v1alpha1"
        served = _resources(("trainingjobs", "TrainingJob", True), ("sites", "Site", False))
        for method, path, handler in (
            ("GET", "/api", _constant({"versions": ["v1"]})),
            ("GET", "/api/v1", _constant(_resources(("namespaces", "Namespace", False), ("events", "Event", True)))),
            ("GET", "/apis", _constant({"groups": [_group()]})),
            ("GET", here, _constant(served)),
            ("GET", f"{here}/sites", self._list),
            ("GET", f"{here}/trainingjobs", self._list),
            ("GET", f"{here}/namespaces/team/trainingjobs/{{name}}", self._get),
            ("PATCH", f"{here}/namespaces/team/trainingjobs/{{name}}/status", self._patch),
            ("*", "/apis/coordination.k8s.io/v1/namespaces/home/leases{_:.*}", self._lease),
            ("POST", "/api/v1/namespaces/team/events", _constant({})),
        ):
            app.router.add_route(method, path, handler)
        return app

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._silence(request)
        kind, after = request.path.rpartition("/")[2], request.query.get("continue", "")
        asked = f"GET {kind} {request.query.get('limit')} {after}" if kind == "trainingjobs" else f"GET {kind}"
        self.calls.append(asked)
        if self.outages and (kind == "sites" or after):
            self.outages -= 1
            return web.json_response(_named(kind="Status"), status=503)
        all_of_them = list(self.jobs.values()) if kind == "trainingjobs" else []
        start, limit = int(after or 0), int(request.query.get("limit", COUNT))
        more = str(start + limit) if start + limit < len(all_of_them) else ""
        about = {"resourceVersion": str(self._version), "continue": more}
        return web.json_response(_named(kind="List", metadata=about, items=all_of_them[start : start + limit]))

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        """A watch that tells nothing."""
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)
        await self.over.wait()
        return answer

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs[request.match_info["name"]])

    async def _patch(self, request: web.Request) -> web.Response:
        sent, body = await request.json(), self.jobs[request.match_info["name"]]
        if sent["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            return web.json_response(_named(kind="Status"), status=409)
        self.calls.append(f"PATCH {request.match_info['name']}")
        body["metadata"]["resourceVersion"], body["status"] = self._next(), sent["status"]
        return web.json_response(body)

    async def _lease(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} lease")
        if request.method != "GET":
            sent = await request.json()
            if self.lease is not None and sent["metadata"] != self.lease["metadata"]:
                return web.json_response(_named(kind="Status"), status=409)
            self.lease = {**sent, "metadata": {**sent["metadata"], "resourceVersion": self._next()}}
        status = 404 if self.lease is None else 201 if request.method == "POST" else 200
        return web.json_response(self.lease or {}, status=status)

    def _next(self) -> str:
        self._version += 1
        return str(self._version)


class Started:
    """An operator under kopf; `stop` is SIGTERM."""

    def __init__(self, main: ModuleType) -> None:
        self.main = main
        self.stop = asyncio.Event()

    async def answers(self, path: str) -> int:
        async with ClientSession() as session:
            there = f"http://127.0.0.1:{self.main.operator.health.port}{path}"
            async with session.get(there) as answer:
                return answer.status


@pytest.fixture(autouse=True)
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which an operator ended at once. Nor does a test wait long here, or list many."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr("passerelle.election.RENEW_SECONDS", 0.02)
    monkeypatch.setattr("passerelle.kube.PAGE", PAGE)
    return codes


@contextlib.asynccontextmanager
async def started(apiserver: Apiserver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Started]:
    server, main = TestServer(apiserver.app()), _loaded()
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")

    async def connect(*told: Any) -> Kube:
        return Kube(ApiClient(Configuration(host=url)), *told)

    settings = Settings(namespace="home", http_host="127.0.0.1", http_port=0)
    monkeypatch.setattr(main, "kubernetes", url, raising=False)
    monkeypatch.setattr(main, "operator", main.Operator(settings))
    monkeypatch.setattr(main, "PAGE", PAGE)
    monkeypatch.setattr(main, "configure", lambda _: None)
    monkeypatch.setattr(main.Kube, "connect", connect)
    monkeypatch.setattr(main.ForEver, "__iter__", lambda _: itertools.repeat(0.01))
    here = Started(main)
    running = asyncio.create_task(main.kopf.operator(clusterwide=True, standalone=True, stop_flag=here.stop))
    try:
        async with asyncio.timeout(PATIENCE):
            yield here
    finally:
        here.stop.set()
        await asyncio.wait_for(running, PATIENCE)
        apiserver.over.set()
        await server.close()


@functools.cache
def _loaded() -> ModuleType:
    """operator/main.py, once: its handlers stand in kopf's registry, and speak to whatever `operator` it has then."""
    spec = importlib.util.spec_from_file_location("operator_main", MAIN)
    assert spec is not None
    assert spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)

    def login(**_: Any) -> Any:
        return main.kopf.ConnectionInfo(server=main.kubernetes)

    main.kopf.on.login()(login)
    return main


async def until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110 -- what it waits for is heard of by nobody here
        await asyncio.sleep(0.01)


def _job(number: int) -> dict[str, Any]:
    about = {"namespace": "team", "name": f"job-{number}", "uid": str(uuid.UUID(int=number)), "generation": 1}
    return {
        "metadata": about | {"resourceVersion": str(number + 1), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"site": "nowhere", "image": "/i.sif", "command": ["train"], "gpus": 1, "timeLimit": "1h"},
    }


def _named(**facts: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", **facts}


def _constant(body: dict[str, Any]) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    return answer


def _group() -> dict[str, Any]:
    version = {"groupVersion": f"{GROUP}/v1alpha1", "version": "v1alpha1"}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def _resources(*kinds: tuple[str, str, bool]) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch"]
    return {
        "resources": [
            {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}
            for name, kind, namespaced in kinds
        ]
    }


def without_renewals(calls: list[str]) -> list[str]:
    return [call for call in calls if call != "PUT lease"]


async def test_it_leads_then_takes_in_all_pages_then_the_sites_and_only_then_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apiserver = Apiserver()
    async with started(apiserver, monkeypatch):
        await until(lambda: len(apiserver.told) == COUNT)
        await until(lambda: apiserver.calls.count(PAGES[-1]) == 2)
    calls = without_renewals(apiserver.calls)

    assert calls[: len(STARTS)] == STARTS
    assert set(apiserver.told.values()) == {"SiteNotFound"}
    assert sorted(call for call in calls if call.startswith("PATCH")) == [f"PATCH job-{n}" for n in range(COUNT)]
    assert [calls.count(page) for page in PAGES] == [2, 2, 2], "kopf's first listing comes in the same pages"


async def test_a_listing_that_breaks_off_is_begun_anew_and_nothing_is_acted_on_before_it_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apiserver = Apiserver()
    apiserver.outages = 3
    async with started(apiserver, monkeypatch):
        await until(lambda: len(apiserver.told) == COUNT)
    calls = without_renewals(apiserver.calls)

    assert calls[:11] == [*STARTS[:2], *PAGES[:2] * 3, *PAGES]
    assert "GET sites" in calls[11:]


async def test_who_stands_by_is_ready_and_asks_for_nothing_but_the_lease_until_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apiserver = Apiserver()
    apiserver.give(ANOTHER)
    async with started(apiserver, monkeypatch) as here:
        await until(lambda: apiserver.calls.count("GET lease") > 3)
        assert await here.answers("/readyz") == 200
        assert await here.answers("/livez") == 200
        assert set(apiserver.calls) == {"GET lease"}
        apiserver.give(NOBODY)
        await until(lambda: len(apiserver.told) == COUNT)
        assert apiserver.leader not in (NOBODY, ANOTHER)


async def test_who_is_ended_while_it_stands_by_leaves_the_lease_alone(
    monkeypatch: pytest.MonkeyPatch, exits: list[int]
) -> None:
    apiserver = Apiserver()
    apiserver.give(ANOTHER)
    async with started(apiserver, monkeypatch):
        await until(lambda: "GET lease" in apiserver.calls)

    assert apiserver.leader == ANOTHER
    assert set(apiserver.calls) == {"GET lease"}
    assert exits == []


async def test_who_is_ended_in_the_midst_of_its_start_gives_the_lease_back(
    monkeypatch: pytest.MonkeyPatch, exits: list[int]
) -> None:
    apiserver = Apiserver()
    apiserver.outages = 1_000_000
    async with started(apiserver, monkeypatch):
        await until(lambda: apiserver.outages < 999_990)
        assert apiserver.leader not in (None, NOBODY)

    assert apiserver.leader == NOBODY
    assert exits == []


async def test_who_is_ended_gives_the_lease_back_last(
    monkeypatch: pytest.MonkeyPatch, exits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    apiserver = Apiserver()
    async with started(apiserver, monkeypatch):
        await until(lambda: len(apiserver.told) == COUNT)
        assert apiserver.leader not in (None, NOBODY)

    assert apiserver.leader == NOBODY
    assert apiserver.calls[-1] == "PUT lease"
    assert exits == []
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_who_loses_the_lease_ends_at_once_and_writes_no_more(
    monkeypatch: pytest.MonkeyPatch, exits: list[int]
) -> None:
    apiserver = Apiserver()
    async with started(apiserver, monkeypatch) as here:
        await until(lambda: len(apiserver.told) == COUNT)
        apiserver.give(ANOTHER)
        await until(lambda: bool(exits))
        assert not here.main.operator.election.leads

    assert exits == [75]
    assert apiserver.leader == ANOTHER


async def test_who_can_renew_the_lease_no_more_by_a_defect_of_ours_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, exits: list[int]
) -> None:
    apiserver = Apiserver()

    async def broken(_: Election) -> None:
        await until(lambda: len(apiserver.told) == COUNT)
        raise RuntimeError

    monkeypatch.setattr(Election, "hold", broken)
    async with started(apiserver, monkeypatch):
        await until(lambda: bool(exits))

    assert exits == [75]
