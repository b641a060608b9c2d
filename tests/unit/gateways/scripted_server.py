"""A slurmrestd that answers from a script, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from passerelle.batch import Batch, Options
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd

OPTIONS = Options(
    name="psr-" + "a" * 26 + "-1",
    account=None,
    partition="gpu",
    qos=None,
    nodes=1,
    tasks_per_node=1,
    cpus_per_task=1,
    memory_per_node_mib=None,
    gpus_per_node=0,
    time_limit_minutes=5,
    working_directory="/run",
    standard_output="/run/out",
    standard_error="/run/err",
)
BATCH = Batch(options=OPTIONS, environment=(("PATH", "/bin"),), script="#!/bin/sh\n")
META = {"slurm": {"release": "24.11.5", "cluster": "site"}}

Reply = httpx.Response | Exception | dict[str, Any]


class Server:
    """Serves some versions; `replies` maps METHOD and the path after the version to what comes, or a list of it."""

    def __init__(self, *versions: int) -> None:
        self.versions = versions or (40, 41, 42)
        self.replies: dict[str, Reply | list[Reply]] = {"GET licenses": {"meta": META}}
        self.asked: list[str] = []
        self.urls: list[httpx.URL] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        _, door, version, *rest = request.url.path.split("/")
        path = "/".join(rest).rstrip("/")
        if int(version.rpartition(".")[2]) not in self.versions:
            return httpx.Response(404, text="Unable to find requested URL")
        if path == "ping":
            return httpx.Response(200, json={"meta": META, "pings": []})
        key = f"{request.method} {path}" if door == "slurm" else f"{request.method} db/{path}"
        self.asked.append(key)
        self.urls.append(request.url)
        reply = self.replies[key]
        if isinstance(reply, list):
            reply = reply.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)


def ada() -> TokenCredential:
    return TokenCredential(user="ada", token="t")


def client(server: Server, credentials: Callable[[], TokenCredential] = ada) -> Slurmrestd:
    return Slurmrestd("http://127.0.0.1:1", credentials, transport=httpx.MockTransport(server))
