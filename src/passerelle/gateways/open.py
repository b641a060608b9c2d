"""Which driver a Site asks for, and what its Secret must hold.

The registry is all that knows the drivers. One more is a line in it and a word in GatewaySpec.driver. What speaks SSH
takes 15 MiB of memory, and is loaded by the first Site that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from passerelle import admission, profiles
from passerelle.errors import Invalid, Unauthorized
from passerelle.gateways.arc import credential as arc
from passerelle.gateways.arc.door import Charge
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Credential, Gateway
from passerelle.gateways.firecrest import credential as firecrest
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.slurmrestd import credential as slurmrestd
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.ssh.node import Nodes
from passerelle.gateways.ssh.sessions import Sessions
from passerelle.gateways.trust import Trust
from passerelle.gateways.unicore import credential as unicore
from passerelle.gateways.unicore.driver import Unicore
from passerelle.v1alpha1.site import Admission, SiteSpec

if TYPE_CHECKING:
    from passerelle.gateways.ssh.credential import SshCredential

_C = TypeVar("_C", bound=Credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(Generic[_C]):
    """A kind of gateway. `keys` names what its Secret holds, for a person who has to write one.

    `credential` makes a credential of a Secret's namespace/name and keys, or raises Unauthorized with what is missing.
    `open` makes the gateway, which asks for its credential before each call; it sends nothing, and raises Invalid for
    what can't be used. `kind` is the gateway's class, loaded when it is called.
    """

    keys: str
    credential: Callable[[str, Mapping[str, bytes]], _C]
    open: Callable[[SiteSpec, Callable[[], _C], Trust], Gateway]
    kind: Callable[[], type[Gateway]]


def _slurmrestd(spec: SiteSpec, credentials: Callable[[], slurmrestd.TokenCredential], trust: Trust) -> Gateway:
    return Slurmrestd(spec.gateway.url, credentials, ca=trust.ca, certificate=trust.certificate, caller=trust.caller)


def _ssh_credential(name: str, data: Mapping[str, bytes]) -> SshCredential:
    from passerelle.gateways.ssh.credential import credential_from_secret  # noqa: PLC0415 -- see above

    return credential_from_secret(name, data)


def _arc(spec: SiteSpec, credentials: Callable[[], arc.ArcCredential], trust: Trust) -> Gateway:
    door = spec.gateway
    return Arc(
        door.url,
        credentials,
        environment=door.runtime_environment,
        charge=_charge(spec),
        ca=trust.ca,
        caller=trust.caller,
    )


def _charge(spec: SiteSpec) -> Charge:
    """A small job of the gateway's own is the first admitted one's, on the Site's partition unless it has its own."""
    first = spec.admission[0] if spec.admission else Admission()
    try:
        partition = spec.gateway.door_partition or spec.partition or profiles.load(spec.profile).default_partition
    except Invalid:
        partition = None
    return Charge(partition=partition, account=admission.account(first, None), qos=admission.qos(first, None))


_NODES = Nodes()
"""The login nodes of all Sites."""


def _ssh(spec: SiteSpec, credentials: Callable[[], SshCredential], trust: Trust) -> Gateway:
    from passerelle.gateways.ssh.driver import Ssh  # noqa: PLC0415 -- see above

    try:
        most = profiles.load(spec.profile).login.max_sessions
    except Invalid:
        most = None
    bound = Sessions() if most is None else Sessions(most)
    return Ssh(spec.gateway.url, credentials, jump=spec.gateway.jump, caller=trust.caller, sessions=bound, nodes=_NODES)


def _unicore(spec: SiteSpec, credentials: Callable[[], unicore.UnicoreCredential], trust: Trust) -> Gateway:
    return Unicore(spec.gateway.url, credentials, ca=trust.ca, certificate=trust.certificate, caller=trust.caller)


def _firecrest(spec: SiteSpec, credentials: Callable[[], firecrest.FirecrestCredential], trust: Trust) -> Gateway:
    door = spec.gateway
    return Firecrest(
        door.url,
        door.system or "",
        credentials,
        ca=trust.ca,
        certificate=trust.certificate,
        allow_rest=door.allow_rest_mode,
        caller=trust.caller,
    )


def _ssh_kind() -> type[Gateway]:
    from passerelle.gateways.ssh.driver import Ssh  # noqa: PLC0415 -- see above

    return Ssh


DRIVERS: Mapping[str, Driver[Any]] = {
    "slurmrestd": Driver(
        keys=slurmrestd.KEYS, credential=slurmrestd.credential_from_secret, open=_slurmrestd, kind=lambda: Slurmrestd
    ),
    "ssh": Driver(
        keys="username, ssh-privatekey and known_hosts", credential=_ssh_credential, open=_ssh, kind=_ssh_kind
    ),
    "unicore": Driver(
        keys=unicore.KEYS, credential=unicore.credential_from_secret, open=_unicore, kind=lambda: Unicore
    ),
    "firecrest": Driver(
        keys=firecrest.KEYS,
        credential=firecrest.credential_from_secret,
        open=_firecrest,
        kind=lambda: Firecrest,
    ),
    "arc": Driver(keys=arc.KEYS, credential=arc.credential_from_secret, open=_arc, kind=lambda: Arc),
}
"""By GatewaySpec.driver."""


def open_gateway(spec: SiteSpec, credentials: Callable[[], Credential], trust: Trust) -> Gateway:
    """The Site's gateway; no byte is sent yet. Raises Invalid for an address that can't be used."""
    return DRIVERS[spec.gateway.driver].open(spec, credentials, trust)


def credential(driver: str, name: str, data: Mapping[str, bytes] | None) -> Credential:
    """The credential in the Secret of this namespace/name, which is None where there is no such Secret. Raises
    Unauthorized with what is missing.
    """
    if data is None:
        text = f"The Secret {name} does not exist; create it with the keys {DRIVERS[driver].keys}."
        raise Unauthorized(text, reason="SecretMissing")
    found: Credential = DRIVERS[driver].credential(name, data)
    return replace(found, kept=name)
