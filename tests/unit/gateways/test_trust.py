"""The certificates of a Site's tls: where they are read, and what is said where they are not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from passerelle.errors import Invalid
from passerelle.gateways.http import ClientCertificate
from passerelle.gateways.trust import Trust, trust
from passerelle.gateways.unreached import Ca
from passerelle.v1alpha1.site import Tls

SECRETS: dict[str, Mapping[str, bytes]] = {
    "ca": {"ca.crt": b"authority"},
    "mine": {"tls.crt": b"chain", "tls.key": b"key"},
    "half": {"tls.crt": b"chain", "tls.key": b""},
}


async def read(name: str) -> Mapping[str, bytes] | None:
    return SECRETS.get(name)


def tls(**names: str) -> Tls:
    return Tls.model_validate({field: {"name": name} for field, name in names.items()})


async def test_both_are_read_and_neither_must_be_there() -> None:
    both = await trust(tls(caSecret="ca", clientSecret="mine"), read, "ns/")

    shown = ClientCertificate(b"chain", b"key", "the Secret ns/mine")
    assert both == Trust(Ca(b"authority", "ca.crt of the Secret ns/ca"), shown)
    assert await trust(tls(), read, "ns/") == Trust()
    assert "key" not in repr(both.certificate)


@pytest.mark.parametrize(
    "named, told",
    [
        ({"caSecret": "gone"}, "ns/gone with ca.crt does not exist; write the authority's certificate under ca.crt"),
        ({"caSecret": "mine"}, "ns/mine has no key ca.crt"),
        ({"clientSecret": "gone"}, "ns/gone with tls.crt and tls.key does not exist; write our certificate"),
        ({"clientSecret": "half"}, "ns/half has no key tls.key"),
    ],
)
async def test_what_is_missing_is_said(named: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid) as caught:
        await trust(tls(**named), read, "ns/")

    assert caught.value.reason == "SecretMissing"
    assert told in caught.value.message
