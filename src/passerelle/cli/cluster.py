"""What a command asks of the Kubernetes cluster, and of a Site through it: as the person who types, by their own
kubeconfig and their own rights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from passerelle import objects
from passerelle.errors import Invalid, Unavailable
from passerelle.gateways.base import Gateway
from passerelle.gateways.open import credential, open_gateway
from passerelle.gateways.trust import trust
from passerelle.kube import REFUSED, Gone, Kube
from passerelle.objects import Key, Site, TrainingJob
from passerelle.v1alpha1.site import SiteSpec

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`secrets` is the operator's namespace, which holds the Sites' Secrets."""

    kube: Kube
    secrets: str

    async def trainingjob(self, key: Key) -> TrainingJob:
        """Raises Invalid where there is none."""
        try:
            return objects.trainingjob(await self.kube.trainingjob(key))
        except Gone:
            text = f"There is no TrainingJob {key.name} in namespace {key.namespace}; name it with --namespace."
            raise Invalid(text) from None

    async def site_object(self, name: str) -> Site:
        """The Site with its status. Raises Invalid where there is none."""
        try:
            return objects.site(await self.kube.site(name))
        except Gone:
            raise Invalid(f"There is no Site {name}; `kubectl get hpcsite` lists those that there are.") from None

    async def site(self, name: str) -> SiteSpec:
        """Raises Invalid where there is none, or none that can be used."""
        site = await self.site_object(name)
        if site.spec is None:
            raise Invalid(f"Site {name} can't be used: {site.invalid}")
        return site.spec

    @asynccontextmanager
    async def door(self, name: str, spec: SiteSpec) -> AsyncIterator[Gateway]:
        """The Site's gateway, opened with the credential that the operator uses. Raises PasserelleError."""
        where = f"{self.secrets}/{spec.gateway.credentials.name}"
        read = credential(spec.gateway.driver, where, await self._secret(name, spec.gateway.credentials.name))
        known = await trust(spec.gateway.tls, partial(self.secret, name), f"{self.secrets}/")
        gateway = open_gateway(spec, lambda: read, known.called_by(name, spec.contact))
        try:
            yield gateway
        finally:
            await gateway.close()

    async def _secret(self, site: str, name: str) -> dict[str, bytes]:
        found = await self.secret(site, name)
        if found is None:
            text = (
                f"Site {site} has its credential in the Secret {self.secrets}/{name}, which does not exist; if the "
                "operator lives in another namespace, name it with --operator-namespace."
            )
            raise Invalid(text)
        return found

    async def secret(self, site: str, name: str) -> dict[str, bytes] | None:
        """A Secret of a Site's; None where there is none. Raises Invalid where the person may not read it."""
        try:
            return await self.kube.secret(self.secrets, name)
        except Gone:
            return None
        except Unavailable as error:
            if error.reason != REFUSED:
                raise
            text = (
                f"You may not read the Secret {self.secrets}/{name} with Site {site}'s credential; ask for the right "
                f"to get it, or look at the site itself."
            )
            raise Invalid(text) from None


def ask(work: Callable[[Cluster], Awaitable[_T]], operator_namespace: str) -> _T:
    """Run what a command does against the cluster of KUBECONFIG."""

    async def connected() -> _T:
        kube = await Kube.connect()
        try:
            return await work(Cluster(kube, operator_namespace))
        finally:
            await kube.close()

    return asyncio.run(connected())
