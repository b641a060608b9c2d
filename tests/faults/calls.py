"""What a request to a server is, by what hangs on it: of kube-apiserver, and of each gateway that speaks HTTP. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from faults.plan import Kind

KindOf = Callable[[web.Request], Kind]


def of_kubernetes(request: web.Request) -> Kind:
    if request.query.get("watch") in ("true", "1"):
        return Kind.WATCH
    if "/leases" in request.path and request.method in ("POST", "PUT"):
        return Kind.LEASE
    return Kind.PATCH if request.method == "PATCH" and "/trainingjobs/" in request.path else Kind.READ


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


def of_firecrest(request: web.Request) -> Kind:
    if re.search(r"/compute/[^/]+/jobs/?$", request.path):
        return Kind.SUBMIT if request.method == "POST" else Kind.LISTING
    if re.search(r"/compute/[^/]+/jobs/[^/]+", request.path):
        return Kind.CANCEL if request.method == "DELETE" else Kind.RECORD
    return Kind.PROBE


def of_unicore(request: web.Request) -> Kind:
    if request.method == "POST" and re.search(r"/jobs/?$", request.path):
        return Kind.SUBMIT
    if request.path.endswith("/actions/abort"):
        return Kind.CANCEL
    if re.search(r"/jobs/?$", request.path):
        return Kind.LISTING
    return Kind.RECORD if "/jobs/" in request.path else Kind.PROBE


def of_arc(request: web.Request) -> Kind:
    if not re.search(r"/jobs(/|$)", request.path):
        return Kind.PROBE
    action = request.query.get("action", "")
    if request.method == "POST" and action == "new":
        return Kind.SUBMIT
    if action in ("kill", "clean"):
        return Kind.CANCEL
    return Kind.LISTING if request.method == "GET" and re.search(r"/jobs/?$", request.path) else Kind.RECORD


BY_DRIVER: dict[str, KindOf] = {
    "slurmrestd": of_slurmrestd,
    "firecrest": of_firecrest,
    "unicore": of_unicore,
    "arc": of_arc,
}
