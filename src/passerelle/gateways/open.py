"""Which driver a Site asks for, and what its Secret must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from passerelle.gateways.base import Credential, Gateway
from passerelle.gateways.slurmrestd.credential import credential_from_secret
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.v1alpha1.site import SiteSpec


def open_gateway(spec: SiteSpec, credentials: Callable[[], Credential], ca: bytes | None) -> Gateway:
    """The Site's gateway; no byte is sent yet. Raises Invalid for an address that can't be used."""
    return Slurmrestd(spec.gateway.url, credentials, ca=ca)


def credential(name: str, data: Mapping[str, bytes]) -> Credential:
    """The credential in the Secret of this namespace/name. Raises Unauthorized with what is missing."""
    return credential_from_secret(name, data)
