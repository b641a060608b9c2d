"""A proxy between the operator and a server, that lets a plan's mishaps happen, and everything else through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import Callable, Mapping

import httpx
from aiohttp import web

from faults.plan import KILLS, Fault, Kind, Plan

DELAY_SECONDS = 6.0
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "upgrade"}
_LOST = KILLS | {Fault.LOSE_CALL, Fault.LOSE_ANSWER}
_STATUS = {Fault.BUSY: 429, Fault.BROKEN: 500, Fault.BAD_GATEWAY: 502, Fault.AWAY: 503, Fault.CONFLICT: 409}

PlanOf = Callable[[web.Request], Plan | None]
"""Whose call this is; None: nobody's, it goes through."""


class Proxy:
    """`kill` ends the operator at once."""

    def __init__(
        self,
        upstream: str,
        plan_of: PlanOf,
        kind_of: Callable[[web.Request], Kind],
        kill: Callable[[], None],
        *,
        trust: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._upstream = upstream.rstrip("/")
        self._plan_of, self._kind_of, self._kill = plan_of, kind_of, kill
        self._trust, self._tls = trust, tls
        self._old: dict[str, bytes] = {}
        self._session: httpx.AsyncClient
        self._runner: web.AppRunner
        self.port = 0

    async def start(self) -> None:
        self._session = httpx.AsyncClient(
            base_url=self._upstream,
            verify=self._trust or False,
            timeout=httpx.Timeout(None, connect=10),
            limits=httpx.Limits(max_connections=200),
            trust_env=False,
        )
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.aclose()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._serve_well(request)
        except (ConnectionError, httpx.TransportError):  # one of both sides has gone
            return _abort(request)

    async def _serve_well(self, request: web.Request) -> web.StreamResponse:
        plan, kind = self._plan_of(request), self._kind_of(request)
        fault = plan.next(kind) if plan is not None else None
        if fault is None and kind is not Kind.WATCH:
            return await self._answer(request, kind, keep=True)
        if kind is Kind.WATCH:
            return await self._stream(request, fault)
        return await self._mishap(request, kind, fault)

    async def _mishap(self, request: web.Request, kind: Kind, fault: Fault | None) -> web.StreamResponse:
        if fault in _LOST:
            if fault in (Fault.KILL_AFTER, Fault.LOSE_ANSWER):
                await self._answer(request, kind)
            if fault in KILLS:
                self._kill()
            return _abort(request)
        if fault in _STATUS:
            said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": _STATUS[fault], "message": fault}
            return web.json_response(said, status=_STATUS[fault], headers={"Retry-After": "1"})
        if fault is Fault.ELSEWHERE:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        if fault is Fault.SEND_TWICE:  # as a load balancer does that tries again
            await self._answer(request, kind)
        if fault is Fault.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
        old = self._old.get(request.path_qs)
        return await self._changed(request, await self._answer(request, kind), fault, old)

    async def _changed(
        self, request: web.Request, answer: web.Response, fault: Fault | None, old: bytes | None
    ) -> web.StreamResponse:
        """What comes back is not what was said."""
        body = answer.body if isinstance(answer.body, bytes) else b""
        if fault is Fault.CUT_ANSWER:
            return await _half(request, answer, body)
        if fault is Fault.GARBLE_ANSWER:
            return web.Response(status=answer.status, body=b"<html>" + body[:20], content_type="text/html")
        if fault is Fault.OLD_ANSWER and old is not None:
            return web.Response(status=answer.status, body=old, content_type="application/json")
        if fault is Fault.EMPTY_ANSWER:
            return web.Response(status=answer.status, body=_emptied(body), content_type="application/json")
        return answer

    async def _answer(self, request: web.Request, kind: Kind, *, keep: bool = False) -> web.Response:
        """The server's, whole."""
        async with self._asked(request, await request.read()) as found:
            body = await found.aread()
        if keep and kind is Kind.LISTING:
            self._old[request.path_qs] = body
        return web.Response(status=found.status_code, body=body, headers=_head(found.headers))

    async def _stream(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        """A watch, as it comes; frozen without an end, or cut, after its first piece."""
        async with self._asked(request, await request.read()) as found:
            answer = web.StreamResponse(status=found.status_code, headers=_head(found.headers))
            await answer.prepare(request)
            async for piece in found.aiter_raw():
                await answer.write(piece)
                if fault is Fault.CUT_ANSWER:
                    return _abort(request)
                if fault is Fault.FREEZE:
                    await asyncio.sleep(3600)
        with contextlib.suppress(ConnectionError):
            await answer.write_eof()
        return answer

    def _asked(self, request: web.Request, body: bytes) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        head = {**_head(request.headers), "accept-encoding": "identity"}
        return self._session.stream(request.method, request.path_qs, headers=head, content=body or None)


def _head(headers: Mapping[str, str]) -> dict[str, str]:
    """But for what is between two neighbours."""
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


def of_slurmrestd(request: web.Request) -> Kind:
    path = request.path
    if path.startswith("/slurmdb/"):
        return Kind.ACCOUNTING if "/jobs" in path else Kind.PROBE
    if path.endswith("/job/submit"):
        return Kind.SUBMIT
    if re.search(r"/jobs(/state)?/?$", path):
        return Kind.LISTING
    if re.search(r"/job/[0-9]+$", path):
        return Kind.CANCEL if request.method == "DELETE" else Kind.RECORD
    return Kind.PROBE


def of_kubernetes(request: web.Request) -> Kind:
    if request.query.get("watch") in ("true", "1"):
        return Kind.WATCH
    return Kind.PATCH if request.method == "PATCH" and "/trainingjobs/" in request.path else Kind.READ


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    """With the length of all of it."""
    cut = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    return _abort(request)


def _emptied(body: bytes) -> bytes:
    """The same answer, with no job in it."""
    try:
        told = json.loads(body)
    except ValueError:
        return body
    if isinstance(told, dict) and "jobs" in told:
        told["jobs"] = []
    return json.dumps(told).encode()
