"""A UNICORE/X that answers from a script and remembers what it was asked. It knows one password and one token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx

from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore

NOW = 1_795_577_700.0
BASE = "http://127.0.0.1:1/rest/core"
ELSEWHERE = "https://unicore.invalid:7/SITE/rest/core"
"""Where the server thinks that it is."""
BY_TOKEN = UnicoreCredential(user="ada", token="good")
BY_PASSWORD = UnicoreCredential(user="ada", password="secret")
KNOWN = {"role": {"selected": "user"}, "xlogin": {"UID": "startup"}}
ANONYMOUS = {"role": {"selected": "anonymous"}, "xlogin": {}}
SERVER = {"siteName": "JUPITER", "version": "11.0.0", "externalConnections": {"TSI 1": "OK"}}
SESSION = {"x-unicore-securitysession": "s1", "x-unicore-securitysession-lifetime": "28800000"}

Reply = httpx.Response | Exception | dict[str, Any]


def jwt(**claims: object) -> str:
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return f"{head}.{body}.signature"


class Server:
    """`replies` maps METHOD and path to what comes, or a list of it; what is not there is 404. To whom the server does
    not know it answers as UNICORE does: 200 to anonymous, empty lists, 403 for a job.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply | list[Reply]] = {}
        self.tokens = {"good"}
        self.sessions: set[str] = set()
        self.server: dict[str, Any] = dict(SERVER)
        self.asked: list[str] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host == "127.0.0.1", "no other server may be asked"
        path = request.url.raw_path.decode().partition("?")[0].removeprefix("/rest/core").strip("/")
        key = f"{request.method} {path}"
        self.asked.append(key)
        self.requests.append(request)
        session = request.headers.get("x-unicore-securitysession")
        if session is not None and session not in self.sessions:
            return httpx.Response(432)
        if path == "token":
            return self._reply(key)
        known = session is not None or self._knows(request.headers.get("authorization", ""))
        if request.headers.get("authorization", "").startswith("Basic") and not known:
            return httpx.Response(403)
        if path == "":
            self.sessions.add("s1")
            client = KNOWN if known else ANONYMOUS
            return httpx.Response(200, json={"client": client, "server": self.server}, headers=SESSION)
        if not known:
            listed = request.method == "GET" and path in ("jobs", "storages")
            return httpx.Response(200, json={path: []}) if listed else httpx.Response(403)
        return self._reply(key)

    def _knows(self, authorization: str) -> bool:
        scheme, _, value = authorization.partition(" ")
        return value in self.tokens if scheme == "Bearer" else base64.b64decode(value) == b"ada:secret"

    def _reply(self, key: str) -> httpx.Response:
        reply = self.replies.get(key, httpx.Response(404))
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)

    def bodies(self, key: str) -> list[Any]:
        """The JSON bodies of the requests under a key."""
        return [json.loads(each.content) for each, asked in zip(self.requests, self.asked, strict=True) if asked == key]


def listed(*job_ids: str) -> dict[str, Any]:
    return {"jobs": [f"{ELSEWHERE}/jobs/{job_id}" for job_id in job_ids], "_links": {"next": {"href": ELSEWHERE}}}


def client(
    server: Server,
    credentials: Callable[[], UnicoreCredential] = lambda: BY_TOKEN,
    clock: Callable[[], float] = lambda: NOW,
) -> Unicore:
    return Unicore(BASE, credentials, transport=httpx.MockTransport(server), clock=clock)
