"""The way of one run to its site: the proxy before its gateway, and the Site and Secrets that lead through it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from e2e.doors import Way
from faults.calls import BY_DRIVER
from faults.plan import Plan
from faults.proxy import Leader, Proxy
from faults.wire import Wire
from passerelle.v1alpha1.site import CA_KEY
from passerelle_sandbox import deploy
from passerelle_sandbox.control_plane.pki import Authority, Pair
from passerelle_sandbox.site.serve import Site

AUTHORITY = "faults-authority"
"""The Secret with the authority whose certificates the proxies show."""


class Gate(Protocol):
    """A proxy of one run."""

    port: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the proxies show: one that the operator trusts, and one that it must not."""

    authority: bytes
    right: Pair
    wrong: Pair

    @classmethod
    def made(cls, directory: Path) -> Certificates:
        ours, others = (Authority.create(directory / name, name) for name in ("ours", "others"))
        about = {"subject": "/CN=localhost", "usages": ["serverAuth"], "hosts": ["DNS:localhost", "IP:127.0.0.1"]}
        right, wrong = (each.sign("proxy", **about) for each in (ours, others))  # type: ignore[arg-type]  # by name
        return cls(ours.pair.certificate.read_bytes(), right, wrong)

    def secret(self) -> dict[str, Any]:
        return deploy.secret(AUTHORITY, {CA_KEY: self.authority.decode("ascii")})


def gate(way: Way, plan: Plan, leader: Leader, shown: Certificates) -> Gate:
    """The proxy of a run before the server that this way leads to."""
    there = urlsplit(str(way.gateway["url"]))
    if plan.door == "ssh":
        return Wire(str(there.hostname), there.port or 22, plan, leader)
    return Proxy(
        f"{there.scheme}://{there.netloc}",
        lambda _: plan,
        BY_DRIVER[plan.door],
        leader,
        trust=_trust(way.authority),
        tls=_server(shown.right),
        wrong=_server(shown.wrong),
    )


def address(port: int) -> str:
    """Of a proxy that ends TLS."""
    return f"https://localhost:{port}"


def manifests(name: str, site: Site, way: Way, plan: Plan, port: int, root: str) -> list[dict[str, Any]]:
    """The Site of a run, which leads through its proxy, and its Secret."""
    there, secret = urlsplit(str(way.gateway["url"])), dict(way.secret)
    gateway: dict[str, Any] = {**way.gateway, "driver": plan.door, "credentials": {"name": name}}
    if plan.door == "ssh":
        secret["known_hosts"] = secret["known_hosts"].replace(f"]:{there.port} ", f"]:{port} ")
        gateway["url"] = f"ssh://127.0.0.1:{port}"
    else:
        gateway["url"] = address(port) + there.path
        gateway["tls"] = {"caSecret": {"name": AUTHORITY}}
    spec = {"profile": "sandbox-bare", **way.spec, "gateway": gateway, "runRoot": root}
    return [deploy.secret(name, secret), deploy.site_manifest(name, site, **spec)]


def _server(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _trust(authority: bytes | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cadata=authority.decode("ascii")) if authority is not None else None
