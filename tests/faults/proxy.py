"""A proxy between the operator and a server, that lets a plan's mishaps happen, and everything else through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx
from aiohttp import web

from faults.calls import KindOf
from faults.plan import KILLS, Fault, Kind, Plan

DELAY_SECONDS = 6.0
LATE_SECONDS, STALE_SECONDS = 14.0, 45.0
"""Longer than another operator takes to lead, so that the call comes while that one acts; and longer than it takes that
one to believe that the call never came.
"""
SLEEP_SECONDS = 13.0
"""Longer than a Lease."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "upgrade"}
_LOST = KILLS | {Fault.LOSE_CALL, Fault.LOSE_ANSWER, Fault.CERTIFICATE}
_STATUS = {Fault.BUSY: 429, Fault.BROKEN: 500, Fault.BAD_GATEWAY: 502, Fault.AWAY: 503, Fault.CONFLICT: 409}

_HELD = {Fault.KILL_LATE: LATE_SECONDS, Fault.KILL_STALE: STALE_SECONDS}
_TWICE = frozenset({Fault.SEND_TWICE, *_HELD})
_MARKER = re.compile(rb"psr-[a-z0-9]{26}-[0-9]+")

PlanOf = Callable[[web.Request], Plan | None]
"""Whose call this is; None: nobody's, it goes through."""


class Leader(Protocol):
    """The operator that leads now."""

    def kill(self) -> None: ...
    def sleep(self, seconds: float) -> None: ...
    def upgrade(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request, whole: it may be sent when its sender is gone."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Proxy:
    """`told` hears of each call that was let through, with the answer's status. `tls` is what is shown to the operator,
    and `wrong` what is shown to it once after a mishap; `trust` is for the server. Watches stand still while `hears` is
    not set.
    """

    def __init__(
        self,
        upstream: str,
        plan_of: PlanOf,
        kind_of: KindOf,
        leader: Leader,
        *,
        trust: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        wrong: ssl.SSLContext | None = None,
        told: Callable[[Kind, int], None] | None = None,
        hears: asyncio.Event | None = None,
    ) -> None:
        self._upstream = upstream.rstrip("/")
        self._plan_of, self._kind_of, self._leader, self._told = plan_of, kind_of, leader, told
        self._trust, self._tls, self._wrong, self._hears = trust, tls, wrong, hears
        self._old: dict[str, bytes] = {}
        self._spoilt = 0
        self._late: set[asyncio.Task[None]] = set()
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
        if self._tls is not None:
            self._tls.sni_callback = self._present
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for each in self._late:
            each.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.aclose()

    def _present(self, connection: ssl.SSLObject, _name: str | None, _own: ssl.SSLContext) -> None:
        """Which certificate a new connection is shown."""
        if self._spoilt and self._wrong is not None:
            self._spoilt -= 1
            connection.context = self._wrong

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._serve_well(request)
        except (ConnectionError, httpx.TransportError):  # one of both sides has gone
            return _abort(request)

    async def _serve_well(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.path_qs, _head(request.headers), await request.read())
        plan, kind = self._plan_of(request), self._kind_of(request)
        fault = plan.next(kind) if plan is not None else None
        if kind is Kind.WATCH:
            return await self._stream(request, call, fault)
        if fault is None or plan is None:
            return await self._answer(call, kind, keep=True)
        if kind is Kind.SUBMIT and fault in _TWICE:
            plan.sent_twice.update(word.decode() for word in _MARKER.findall(call.body))
        if fault in _LOST:
            return await self._lose(request, plan, call, kind, fault)
        if fault in _STATUS:
            said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": _STATUS[fault], "message": fault}
            return web.json_response(said, status=_STATUS[fault], headers={"Retry-After": "1"})
        answer = await self._mishap(request, call, kind, fault)
        if answer is None:
            plan.came_to_nothing(kind, fault)
            return await self._answer(call, kind, keep=True)
        return answer

    async def _lose(self, request: web.Request, plan: Plan, call: Call, kind: Kind, fault: Fault) -> web.Response:
        """No answer comes; whether the server gets the call is the fault's."""
        if fault in (Fault.KILL_AFTER, Fault.LOSE_ANSWER):
            await self._answer(call, kind)
        if fault in _HELD:
            late = asyncio.create_task(self._send_late(plan, call, kind, _HELD[fault]))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        if fault is Fault.CERTIFICATE:
            self._spoilt += 1
        if fault in KILLS:
            self._leader.kill()
        return _abort(request)

    async def _send_late(self, plan: Plan, call: Call, kind: Kind, seconds: float) -> None:
        """As something on the way does that holds a call back, and does not know that nobody waits any more."""
        plan.on_their_way += 1
        try:
            await asyncio.sleep(seconds)
            with contextlib.suppress(httpx.TransportError):
                await self._answer(call, kind)
        finally:
            plan.on_their_way -= 1
            plan.arrived_at = time.monotonic()

    async def _mishap(self, request: web.Request, call: Call, kind: Kind, fault: Fault) -> web.StreamResponse | None:
        """None where there was nothing to change."""
        if fault is Fault.ELSEWHERE:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        if fault is Fault.SEND_TWICE:  # as a load balancer does that tries again
            await self._answer(call, kind)
        await meanwhile(fault, self._leader)
        old = self._old.get(call.path)
        return await _changed(request, await self._answer(call, kind), fault, old)

    async def _answer(self, call: Call, kind: Kind, *, keep: bool = False) -> web.Response:
        """The server's, whole."""
        async with self._asked(call) as found:
            body = await found.aread()
        if keep and kind is Kind.LISTING:
            self._old[call.path] = body
        if self._told is not None:
            self._told(kind, found.status_code)
        return web.Response(status=found.status_code, body=body, headers=_head(found.headers))

    async def _stream(self, request: web.Request, call: Call, fault: Fault | None) -> web.StreamResponse:
        """A watch, as it comes; expired, or after its first piece frozen without an end, or cut."""
        if fault is Fault.EXPIRED:
            gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
            return web.json_response({"type": "ERROR", "object": gone})
        async with self._asked(call) as found:
            answer = web.StreamResponse(status=found.status_code, headers=_head(found.headers))
            await answer.prepare(request)
            async for piece in found.aiter_raw():
                if self._hears is not None:
                    await self._hears.wait()
                await answer.write(piece)
                if fault is Fault.CUT_ANSWER:
                    return _abort(request)
                if fault is Fault.FREEZE:
                    await asyncio.sleep(3600)
        with contextlib.suppress(ConnectionError):
            await answer.write_eof()
        return answer

    def _asked(self, call: Call) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        head = {**call.headers, "accept-encoding": "identity"}
        return self._session.stream(call.method, call.path, headers=head, content=call.body or None)


async def meanwhile(fault: Fault | None, leader: Leader) -> None:
    """What happens while a call is on its way, and changes nothing of it."""
    if fault is Fault.DELAY:
        await asyncio.sleep(DELAY_SECONDS)
    if fault is Fault.SLEEP:
        leader.sleep(SLEEP_SECONDS)
    if fault is Fault.UPGRADE:
        leader.upgrade()


async def _changed(
    request: web.Request, answer: web.Response, fault: Fault, old: bytes | None
) -> web.StreamResponse | None:
    """What comes back is not what was said; None where it would be."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    told: bytes | None = None
    match fault:
        case Fault.CUT_ANSWER:
            return await _half(request, body)
        case Fault.GARBLE_ANSWER:
            return web.Response(status=answer.status, body=b"<html>" + body[:20], content_type="text/html")
        case Fault.OLD_ANSWER:
            told = old
        case Fault.EMPTY_ANSWER:
            told = _emptied(body)
        case Fault.OTHER_USER | Fault.OTHER_CLUSTER:
            told = _elses(body, fault)
        case _:
            return answer
    if told is None or told == body:
        return None
    return web.Response(status=answer.status, body=told, content_type="application/json")


def _head(headers: Mapping[str, str]) -> dict[str, str]:
    """But for what is between two neighbours."""
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    """With the length of all of it."""
    cut = web.StreamResponse(status=200, headers={"Content-Type": "application/json"})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    return _abort(request)


def _emptied(body: bytes) -> bytes | None:
    """The same answer, with no job in it: `jobs`, or A-REX's `job`."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    for name in ("jobs", "job") if isinstance(told, dict) else ():
        if isinstance(told.get(name), list):
            told[name] = []
    return json.dumps(told).encode()


def _elses(body: bytes, fault: Fault) -> bytes | None:
    """slurmrestd's answer, as another user would have it, or from another cluster: the ids are those of other jobs."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    for job in told.get("jobs") or []:
        if isinstance(job, dict):
            field = "user_name" if fault is Fault.OTHER_USER else "cluster"
            job |= {name: "elsewhere" for name in ("name", field, "user") if name in job}
    if fault is Fault.OTHER_CLUSTER:
        about = (told.get("meta") or {}).get("slurm")
        if isinstance(about, dict) and "cluster" in about:
            about["cluster"] = "elsewhere"
    return json.dumps(told).encode()
