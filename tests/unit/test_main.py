"""The composition root as a process: how it lists, and what a start takes with many TrainingJobs and no Site."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

MAIN = Path(__file__).resolve().parents[2] / "operator" / "main.py"
COUNT, PAGE = 600, 500
PATIENCE = 120.0
GROUP = "passerelle.dev"


class Apiserver:
    """What kopf and the operator ask for, with TrainingJobs of a Site that does not exist."""

    def __init__(self) -> None:
        self.jobs = {f"job-{number:04}": self._job(number) for number in range(COUNT)}
        self.lease: dict[str, Any] | None = None
        self.pages: list[tuple[str, str]] = []
        self.reasons: Counter[str] = Counter()
        self.version = COUNT
        self.all_told = asyncio.Event()

    @staticmethod
    def _job(number: int) -> dict[str, Any]:
        meta = {"namespace": "team", "name": f"job-{number:04}", "uid": str(uuid.UUID(int=number)), "generation": 1}
        return {
            "metadata": meta | {"resourceVersion": str(number), "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"site": "nowhere", "image": "/i.sif", "command": ["train"], "gpus": 1, "timeLimit": "1h"},
        }

    def app(self) -> web.Application:
        app = web.Application()
        here = f"/apis/{GROUP}/v1alpha1"
        leases = "/apis/coordination.k8s.io/v1/namespaces/passerelle-system/leases"
        for method, path, handler in (
            ("GET", "/api", {"versions": ["v1"]}),
            ("GET", "/api/v1", _resources(("namespaces", "Namespace", False), ("events", "Event", True))),
            ("GET", "/apis", {"groups": [_group()]}),
            ("GET", here, _resources(("trainingjobs", "TrainingJob", True), ("sites", "Site", False))),
            ("GET", f"{here}/sites", self._sites),
            ("GET", f"{here}/trainingjobs", self._list),
            ("PATCH", f"{here}/namespaces/team/trainingjobs/{{name}}/status", self._patch),
            ("*", f"{leases}{{_:.*}}", self._lease),
            ("POST", "/api/v1/namespaces/team/events", {}),
        ):
            app.router.add_route(method, path, handler if callable(handler) else _constant(handler))
        return app

    async def _sites(self, request: web.Request) -> web.StreamResponse:
        return await _silence(request) if "watch" in request.query else web.json_response(_listed([], "1"))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await _silence(request)
        limit, start = int(request.query.get("limit", COUNT)), int(request.query.get("continue", 0))
        self.pages.append((request.query.get("limit", ""), request.query.get("continue", "")))
        found = list(self.jobs.values())[start : start + limit]
        return web.json_response(_listed(found, "9999", str(start + limit) if start + limit < COUNT else ""))

    async def _patch(self, request: web.Request) -> web.Response:
        told = (await request.json())["status"]
        self.reasons[told["reason"]] += 1
        if sum(self.reasons.values()) == COUNT:
            self.all_told.set()
        self.version += 1
        body = self.jobs[request.match_info["name"]]
        body["metadata"]["resourceVersion"], body["status"] = str(self.version), told
        return web.json_response(body)

    async def _lease(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            self.version += 1
            self.lease = await request.json()
            self.lease["metadata"]["resourceVersion"] = str(self.version)
        status = 404 if self.lease is None else 200
        return web.json_response(self.lease or {}, status=status)


def _constant(body: dict[str, Any]) -> Any:
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


def _listed(items: list[dict[str, Any]], version: str, after: str = "") -> dict[str, Any]:
    return {
        "kind": "List",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": version, "continue": after},
        "items": items,
    }


async def _silence(request: web.Request) -> web.StreamResponse:
    """A watch that tells nothing."""
    answer = web.StreamResponse(headers={"content-type": "application/json"})
    await answer.prepare(request)
    await asyncio.sleep(PATIENCE)
    return answer


def _write_kubeconfig(path: Path, url: str) -> None:
    named = {"name": "x", "cluster": {"server": url.rstrip("/")}, "user": {"token": "t"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    document = {"clusters": [named], "users": [named], "contexts": [context], "current-context": "x"}
    path.write_text(json.dumps(document), encoding="utf-8")


def _held_mib(pid: int) -> float:
    """The most memory that a process ever held."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1024


async def test_a_start_lists_in_pages_and_hears_of_every_training_job(tmp_path: Path) -> None:
    apiserver = Apiserver()
    server = TestServer(apiserver.app())
    await server.start_server()
    kubeconfig, log = tmp_path / "kubeconfig", tmp_path / "log"
    _write_kubeconfig(kubeconfig, str(server.make_url("")))
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")},
        "KUBECONFIG": str(kubeconfig),
        "PASSERELLE_HTTP_HOST": "127.0.0.1",
        "PASSERELLE_HTTP_PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    sink = os.open(log, os.O_WRONLY | os.O_CREAT)
    process = await asyncio.create_subprocess_exec(sys.executable, str(MAIN), env=env, stdout=sink, stderr=sink)
    os.close(sink)
    try:
        async with asyncio.timeout(PATIENCE):
            await apiserver.all_told.wait()
        held = _held_mib(process.pid)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.close()

    assert code == 0
    assert apiserver.reasons == {"SiteNotFound": COUNT}
    assert [page for page in apiserver.pages if page != ("1", "")] == [(str(PAGE), ""), (str(PAGE), str(PAGE))]
    assert held < 200, "of which 90 are the code of all that is imported"
