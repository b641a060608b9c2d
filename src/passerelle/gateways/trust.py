"""Whom we believe a Site's gateway to be, by the certificates in the Secrets that its tls names, and who we are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from passerelle.errors import Invalid
from passerelle.gateways.caller import NOBODY, Caller
from passerelle.gateways.http import ClientCertificate
from passerelle.gateways.secret import the_secret
from passerelle.gateways.unreached import Ca
from passerelle.v1alpha1.site import CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY, Tls


@dataclass(frozen=True, slots=True)
class Trust:
    """`ca` is believed instead of the system's authorities; `certificate` is shown to the gateway that asks for one;
    `caller` is told to every gateway.
    """

    ca: Ca | None = None
    certificate: ClientCertificate | None = None
    caller: Caller = NOBODY

    def called_by(self, site: str, contact: str | None) -> Trust:
        """The same, in the name of a Site."""
        return replace(self, caller=Caller(site, contact or ""))


ReadSecret = Callable[[str], Awaitable[Mapping[str, bytes] | None]]
"""By its name; None where there is none."""


async def trust(tls: Tls, read: ReadSecret, home: str) -> Trust:
    """What the Secrets hold; `home` stands before their names in sentences. Raises Invalid where something is missing,
    and what reading raises.
    """
    ca = certificate = None
    if tls.ca_secret is not None:
        name = tls.ca_secret.name
        (pem,) = _keys(f"{home}{name}", await read(name), "the authority's certificate", CA_KEY)
        ca = Ca(pem, f"{CA_KEY} of {the_secret(f'{home}{name}')}")
    if tls.client_secret is not None:
        name = tls.client_secret.name
        what = "our certificate and its key"
        chain, key = _keys(f"{home}{name}", await read(name), what, CERTIFICATE_KEY, PRIVATE_KEY_KEY)
        certificate = ClientCertificate(chain, key, the_secret(f"{home}{name}"))
    return Trust(ca, certificate)


def _keys(name: str, data: Mapping[str, bytes] | None, what: str, *keys: str) -> list[bytes]:
    missing = [key for key in keys if data is None or not data.get(key)]
    if data is None or missing:
        under = " and ".join(keys)
        lack = f"with {under} does not exist" if data is None else f"has no key {' and no '.join(missing)}"
        raise Invalid(f"The Secret {name} {lack}; write {what} under {under}, as PEM.", reason="SecretMissing")
    return [data[key] for key in keys]
