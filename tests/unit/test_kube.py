"""What the operator makes of kube-apiserver's refusals and of its absence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import kube_config

from passerelle.errors import MESSAGE_LIMIT, Invalid, Unavailable
from passerelle.kube import PATCHES_AT_ONCE, UNAVAILABLE, Conflict, Forbidden, Gone, Kube
from passerelle.objects import Key
from stories import made_of


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError("cut off"),
        aiohttp.ClientError(),
        ConnectionRefusedError(),
        TimeoutError(),
        *(ApiException(status=status) for status in (0, 408, 429, 500, 502, 503, 504)),
    ],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'status', '')}",
)
async def test_what_may_pass_by_itself_is_unavailable(error: Exception) -> None:
    made = await made_of(error)

    assert isinstance(made, Unavailable)
    assert made.reason == "KubernetesUnavailable"


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 415, 422])
async def test_what_will_be_refused_again_is_told_apart(status: int) -> None:
    made = await made_of(ApiException(status=status, reason="No"))

    assert isinstance(made, Unavailable)
    assert made.reason == "KubernetesRefused"
    assert f"{status} No" in made.message


@pytest.mark.parametrize("status,kind", [(404, Gone), (409, Conflict)])
async def test_an_object_that_is_gone_or_has_changed_is_no_error_of_kube_apiserver(
    status: int, kind: type[Exception]
) -> None:
    assert type(await made_of(ApiException(status=status))) is kind


async def test_a_missing_right_is_told_apart() -> None:
    made = await made_of(ApiException(status=403, reason="Forbidden"))

    assert isinstance(made, Forbidden)
    assert made.reason == "KubernetesRefused"


async def test_a_defect_of_ours_is_nobodys_refusal() -> None:
    error = KeyError("metadata")

    assert await made_of(error) is error


async def test_where_there_is_no_kubeconfig_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own warning would stand before it."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    paths = os.pathsep.join(str(tmp_path / each) for each in ("a", "b"))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", paths)

    with caplog.at_level(logging.DEBUG), pytest.raises(Invalid, match=r"neither .* nor a kubeconfig at .*; set KUB"):
        await Kube.connect()
    assert caplog.records == []

    (tmp_path / "b").write_text("{}")
    with pytest.raises(Invalid, match="nor a usable kubeconfig"):
        await Kube.connect()


async def test_whoever_does_not_lead_writes_nothing_but_the_lease() -> None:
    def fence() -> None:
        raise Unavailable("another one acts", reason="NotLeading", sent=False)

    told: list[tuple[str, str]] = []
    api = ApiClient(Configuration(host="http://127.0.0.1:9"))
    kube = Kube(api, lambda kind, outcome: told.append((kind, outcome)), fence)
    key = Key("team", "llm")
    writes = [
        kube.patch_trainingjob(key, "1", {}),
        kube.patch_trainingjob_status(key, "1", {}),
        kube.patch_site_status("site", "1", {}),
        kube.delete_trainingjob(key, "uid", "1"),
        kube.event(at=0.0, involved={"name": "llm"}, namespace="team", kind="Normal", reason="A", message="B"),
    ]
    for each in writes:
        with pytest.raises(Unavailable, match="another one acts") as caught:
            await each
        assert caught.value.reason == UNAVAILABLE, "as in any outage it is tried again, and is no fault of the operator"
    assert len(told) == len(writes)
    for other in (kube.any_trainingjob(), kube.create_lease("home", "passerelle", {})):
        with pytest.raises(Unavailable, match="can't be asked"):
            await other
    await kube.close()


class Little:
    """A kube-apiserver that answers with what it has at a path, and keeps what it was sent."""

    def __init__(self, has: dict[str, Any]) -> None:
        self.has = has
        self.sent: list[tuple[str, str, Any]] = []

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[Kube]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        server = TestServer(app)
        await server.start_server()
        kube = Kube(ApiClient(Configuration(host=str(server.make_url("")).rstrip("/"))))
        try:
            yield kube
        finally:
            await kube.close()
            await server.close()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.sent.append((request.method, request.raw_path, body))
        if request.method == "POST":
            return web.json_response(body, status=201)
        found = self.has.get(request.raw_path)
        if isinstance(found, int):
            return web.json_response({"kind": "Status", "code": found}, status=found)
        return web.json_response(found) if found is not None else web.json_response({"kind": "Status"}, status=404)


async def test_all_training_jobs_are_read_a_page_at_a_time() -> None:
    path = "/apis/passerelle.dev/v1alpha1/trainingjobs"
    server = Little(
        {
            f"{path}?limit=500": {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]},
            f"{path}?continue=next&limit=500": {"metadata": {"continue": ""}, "items": [{"metadata": {"name": "b"}}]},
        }
    )
    async with server.up() as kube:
        assert [each["metadata"]["name"] async for each in kube.trainingjobs()] == ["a", "b"]


async def test_secrets_config_maps_and_labels_are_read_as_they_are() -> None:
    server = Little(
        {
            "/api/v1/namespaces/home/secrets/token": {"data": {"token": "c2VjcmV0", "empty": ""}},
            "/api/v1/namespaces/home/secrets/bare": {"metadata": {"name": "bare"}},
            "/api/v1/namespaces/team/configmaps/config": {"data": {"a": "é"}, "binaryData": {"b": "AAH/"}},
            "/api/v1/namespaces/team": {"metadata": {"name": "team", "labels": {"tier": "gold"}}},
            "/api/v1/namespaces/plain": {"metadata": {"name": "plain"}},
            "/api/v1/namespaces/home/secrets/kept": 403,
        }
    )
    async with server.up() as kube:
        assert await kube.secret("home", "token") == {"token": b"secret", "empty": b""}
        assert await kube.secret("home", "bare") == {}
        assert await kube.config_map("team", "config") == {"a": "é".encode(), "b": b"\x00\x01\xff"}
        assert await kube.namespace_labels("team") == {"tier": "gold"}
        assert await kube.namespace_labels("plain") == {}
        with pytest.raises(Gone):
            await kube.secret("home", "missing")
        with pytest.raises(Forbidden):
            await kube.secret("home", "kept")


async def test_a_trainingjob_is_deleted_as_it_was_read_or_not_at_all() -> None:
    path = "/apis/passerelle.dev/v1alpha1/namespaces/team/trainingjobs/llm"
    server = Little({path: {"kind": "Status"}})
    async with server.up() as kube:
        await kube.delete_trainingjob(Key("team", "llm"), "uid", "7")
        server.has[path] = 409
        with pytest.raises(Conflict):
            await kube.delete_trainingjob(Key("team", "llm"), "uid", "7")
    method, _, body = server.sent[0]
    assert (method, body["preconditions"]) == ("DELETE", {"uid": "uid", "resourceVersion": "7"})


async def test_of_a_crowd_a_few_are_patched_at_once_and_the_lease_waits_for_none_of_them() -> None:
    server, full, go_on = Little({}), asyncio.Event(), asyncio.Event()
    under_way: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        under_way.append(request.method)
        if len(under_way) == PATCHES_AT_ONCE:
            full.set()
        if request.method == "PATCH":
            await go_on.wait()
        return web.json_response({})

    server._answer = answer  # type: ignore[method-assign]
    async with server.up() as kube:
        keys = [Key("team", f"llm-{number}") for number in range(3 * PATCHES_AT_ONCE)]
        patches = [
            *(asyncio.create_task(kube.patch_trainingjob(key, "1", {})) for key in keys),
            *(asyncio.create_task(kube.patch_trainingjob_status(key, "1", {})) for key in keys),
        ]
        await full.wait()
        await kube.replace_lease({"metadata": {"namespace": "home", "name": "passerelle"}}, {})
        assert under_way == ["PATCH"] * PATCHES_AT_ONCE + ["PUT"]
        go_on.set()
        await asyncio.gather(*patches)
    assert under_way.count("PATCH") == 6 * PATCHES_AT_ONCE


@pytest.mark.parametrize("items", [0, 1])
async def test_one_trainingjob_tells_that_there_is_any(items: int) -> None:
    path = "/apis/passerelle.dev/v1alpha1/trainingjobs?limit=1"
    server = Little({path: {"metadata": {"continue": "c"}, "items": [{}] * items}})
    async with server.up() as kube:
        assert await kube.any_trainingjob() == bool(items)


async def test_no_name_leads_elsewhere() -> None:
    server = Little({})
    async with server.up() as kube:
        with pytest.raises(Gone):
            await kube.config_map("team", "../secrets/x?y#z")
    ((_, path, _),) = server.sent
    assert path == "/api/v1/namespaces/team/configmaps/..%2Fsecrets%2Fx%3Fy%23z"


async def test_an_event_says_when_it_happened_and_of_what() -> None:
    server = Little({})
    async with server.up() as kube:
        await kube.event(
            at=1_800_000_000.9,
            involved={"kind": "TrainingJob", "namespace": "team", "name": "llm", "uid": "u", "resourceVersion": "7"},
            namespace="team",
            kind="Normal",
            reason="Submitted",
            message="m" * 2000,
        )
    ((method, path, body),) = server.sent
    assert (method, path) == ("POST", "/api/v1/namespaces/team/events")
    assert body["involvedObject"]["apiVersion"] == "passerelle.dev/v1alpha1"
    assert (body["type"], body["reason"], body["count"]) == ("Normal", "Submitted", 1)
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2027-01-15T08:00:00Z"
    assert len(body["message"]) == MESSAGE_LIMIT
    assert body["source"] == {"component": "passerelle"}
    assert body["metadata"]["name"].startswith("llm.")


def test_the_client_s_models_of_all_of_kubernetes_stay_where_they_are() -> None:
    """Loading them takes 25 MB, and half a second of each start."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADS, *sys.path], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "True"]


_LOADS = """\
import asyncio, sys
sys.path[:] = sys.argv[1:]
from kubernetes.aio.client import ApiClient, Configuration
from passerelle.errors import PasserelleError
from passerelle.kube import Kube

async def main():
    kube = Kube(ApiClient(Configuration(host="http://127.0.0.1:9")))
    try:
        await kube.secret("home", "token")
    except PasserelleError:
        print("kubernetes.aio.client.models.v1_pod" in sys.modules, "kubernetes.aio.client.api_client" in sys.modules)
    await kube.close()

asyncio.run(main())
"""
