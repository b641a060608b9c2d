"""The doors that lead from the startup's cluster to its one site, each opened when a test first asks for it.

A door is a Site of the cluster, by its driver's name, and whatever serves it: nothing for slurmrestd and ssh, which the
site has by itself; a UNICORE/X; the fake FirecREST of tests/firecrest; an A-REX in the site. The server goes on for all
tests that follow, since some take ten seconds to start; the Site goes with its test, so that nobody looks at it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.neighbourhood import run
from contract.firecrest_world import SYSTEM, SiteShell
from e2e.cluster import Cluster
from firecrest.fake import Fake
from firecrest.issuer import CLIENT, SECRET
from passerelle.batch import Batch
from passerelle.gateways.arc.credential import credential_from_secret
from passerelle.gateways.arc.door import Charge, options
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.unreached import Ca
from passerelle.v1alpha1.site import CA_KEY
from passerelle_sandbox import deploy, processes, state
from passerelle_sandbox.site import arc_server, config
from passerelle_sandbox.site.arc_server import ArcServer
from passerelle_sandbox.site.serve import Site
from passerelle_sandbox.unicore import config as unicore_config
from passerelle_sandbox.unicore import serve as unicore_server

DOORS = ("slurmrestd", "ssh", "unicore", "firecrest", "arc")


@dataclass(frozen=True)
class Way:
    """What leads through a door: its Secret, fields of the Site's gateway and of its spec, and the authority of its
    certificate where that is none of the system's.
    """

    secret: dict[str, str]
    gateway: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)
    authority: bytes | None = None


@dataclass
class Doors:
    """Those of one cluster. `place` is where servers of ours may write."""

    cluster: Cluster
    place: Path
    _ways: dict[str, Way] = field(default_factory=dict)
    _sites: set[str] = field(default_factory=set)
    _ends: list[Callable[[], object]] = field(default_factory=list)

    def open(self, driver: str) -> str:
        """The name of the Site behind that door."""
        way = self.way(driver)
        gateway = {"driver": driver, "credentials": {"name": driver}, **way.gateway}
        if way.authority is not None:
            self.cluster.apply(deploy.secret(f"{driver}-authority", {CA_KEY: way.authority.decode()}))
            gateway["tls"] = {"caSecret": {"name": f"{driver}-authority"}}
        site = deploy.site_manifest(driver, self.cluster.site, gateway=gateway, progressPeriod="2s", **way.spec)
        self.cluster.apply(deploy.secret(driver, way.secret), site)
        self._sites.add(driver)
        return driver

    def way(self, driver: str) -> Way:
        """What leads through that door; its server is started where it isn't yet."""
        if driver not in self._ways:
            self._ways[driver] = getattr(self, f"_{driver}")()
        return self._ways[driver]

    def open_all(self, *drivers: str) -> list[str]:
        """Several, at the same time."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.open, drivers))

    def leave(self) -> None:
        """Nobody looks through them any more."""
        for name in self._sites:
            self.cluster.kubectl("delete", "hpcsite", name)
        self._sites.clear()

    def end(self) -> None:
        for end in self._ends:
            end()

    def _slurmrestd(self) -> Way:
        site = self.cluster.site
        return Way({"username": site.user, "token": site.token(36_000)}, {"url": site.url})

    def _ssh(self) -> Way:
        site = self.cluster.site
        return Way(site.ssh_secret("+10h"), {"url": site.ssh_url})

    def _unicore(self) -> Way:
        found = state.read(self.cluster.sandbox.name)
        assert found is not None
        marks = {processes.SANDBOX: found.marker}
        server = unicore_server.start(self.place / "unicore", self.cluster.site, marks)
        self._ends.append(server.stop)
        login = {"username": unicore_config.LOGIN, "password": unicore_config.PASSWORD}
        return Way(login, {"url": server.url})

    def _firecrest(self) -> Way:
        site = self.cluster.site
        fake = Fake(SYSTEM, SiteShell(site, COMMAND_SECONDS), site.user)
        self._ends.append(fake.end)
        client = {"client-id": CLIENT, "client-secret": SECRET, "token-url": fake.token_url}
        return Way(client, {"url": fake.url, "system": SYSTEM})

    def _arc(self) -> Way:
        server = arc_server.start(self.cluster.site)
        secret = server.token_secret(seconds=36_000)
        asyncio.run(_settle_neighbour(self.cluster.site, server, secret))
        token = {key: value.decode() for key, value in secret.items()}
        gateway = {"url": server.url, "runtimeEnvironment": arc_server.ENVIRONMENT}
        return Way(token, gateway, {"partition": config.PARTITION}, server.authority)


async def _settle_neighbour(site: Site, server: ArcServer, secret: dict[str, bytes]) -> None:
    """A job of A-REX's that waits for a month. Every real A-REX has jobs of others; one that has none can't tell the
    end of a job that was cancelled before it began (docs/gateways.md, "How a job ends").
    """
    words = f"reservation={NEIGHBOUR} users={site.user} starttime=now+30days duration=60 nodes=ALL".split()
    run(site, "scontrol", "create", *words)
    charge = Charge(partition=config.PARTITION, account=config.ACCOUNT)
    asked = replace(options(charge), name=NEIGHBOUR, reservation=NEIGHBOUR, standard_output="/dev/null")
    authority, credential = Ca(server.authority), credential_from_secret("e2e/neighbour", secret)
    door = Arc(server.url, lambda: credential, environment=arc_server.ENVIRONMENT, ca=authority)
    try:
        await door.submit(Batch(options=asked, environment=(), script="#!/bin/sh\n"))
    finally:
        await door.close()


NEIGHBOUR = "neighbours-work"

COMMAND_SECONDS = 30.0
"""FirecREST gives a command five; here trainings and an operator share two cores with it."""
