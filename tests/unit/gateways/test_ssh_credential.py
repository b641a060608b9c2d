"""What a Secret must hold for a login node, and what is said where it doesn't."""

from __future__ import annotations

import time
from collections.abc import Callable

import asyncssh
import pytest

from passerelle.errors import PasserelleError, Unauthorized
from passerelle.gateways.ssh import login
from passerelle.gateways.ssh.address import Address, address
from passerelle.gateways.ssh.certificate import Validity, validity
from passerelle.gateways.ssh.credential import SshCredential, credential_from_secret, refuse_untimely

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
AUTHORITY = asyncssh.generate_private_key("ssh-ed25519")
PEM = KEY.export_private_key("openssh")
"""Once: an export holds a random number."""
CLOSED = KEY.export_private_key("openssh", "open", rounds=1, ignore_few_rounds=True)
"""Few rounds, for each takes a hundredth of a second, and every process of the suite makes it."""
HOST = f"login.example.eu {OTHER.export_public_key().decode()}"


def certificate(key: asyncssh.SSHKey = KEY, after: int | str = 0, before: int | str = "+12h") -> bytes:
    made = AUTHORITY.generate_user_certificate(key, "id", principals=["ada"], valid_after=after, valid_before=before)
    return made.export_certificate()


def secret(**more: bytes | None) -> dict[str, bytes]:
    data = {
        "username": b"ada\n",
        "ssh-privatekey": PEM,
        "known_hosts": HOST.encode(),
    } | {key.replace("ssh_", "ssh-"): value for key, value in more.items()}
    return {key: value for key, value in data.items() if value is not None}


def read(**more: bytes | None) -> SshCredential:
    return credential_from_secret("ns/site", secret(**more))


def test_a_key_alone_has_no_end() -> None:
    found = read()

    assert (found.user, found.expires, found.certificate) == ("ada", None, None)


def test_a_certificate_tells_its_end() -> None:
    found = read(ssh_certificate=certificate())

    assert found.expires == pytest.approx(time.time() + 12 * 3600, abs=60)


def test_nothing_of_it_shows() -> None:
    found = read(passphrase=b"open sesame")
    shown = repr(found) + found.digest

    assert "PRIVATE KEY" not in shown
    assert "sesame" not in shown


@pytest.mark.parametrize("key", ["username", "ssh_privatekey", "ssh_certificate", "passphrase", "known_hosts"])
def test_a_change_of_anything_is_another_credential(key: str) -> None:
    changed = {
        "username": b"eve",
        "ssh_privatekey": OTHER.export_private_key("openssh"),
        "ssh_certificate": certificate(),
        "passphrase": b"x",
        "known_hosts": HOST.encode() + b"\n*.example.eu " + KEY.export_public_key(),
    }[key]

    assert read(**{key: changed}).digest != read().digest
    assert read().digest == read().digest


@pytest.mark.parametrize(
    "more, reason, words",
    [
        ({"username": None}, "UsernameMissing", "under username"),
        ({"username": b"a b"}, "UsernameMissing", "under username"),
        ({"username": b"-oProxyCommand=x"}, "UsernameMissing", "under username"),
        ({"ssh_privatekey": None}, "KeyMissing", "no key ssh-privatekey"),
        ({"ssh_privatekey": KEY.export_public_key()}, "KeyMalformed", "whole file"),
        ({"ssh_privatekey": b"\xff"}, "KeyMalformed", "UTF-8"),
        ({"ssh_certificate": KEY.export_public_key()}, "CertificateMalformed", "key-cert.pub"),
        ({"ssh_certificate": certificate()[:200]}, "CertificateMalformed", "cut off or damaged"),
        ({"known_hosts": None}, "KnownHostsMissing", "no host is trusted unseen"),
        ({"known_hosts": b"nonsense"}, "KnownHostsMalformed", "HOST KIND KEY"),
    ],
)
def test_what_is_missing_is_one_sentence(more: dict[str, bytes | None], reason: str, words: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        read(**more)

    assert caught.value.reason == reason
    assert "ns/site" in caught.value.message
    assert words in caught.value.message
    assert "PRIVATE" not in caught.value.message


def test_an_expired_certificate_says_since_when_and_what_to_do() -> None:
    found = read(ssh_certificate=certificate(after=1000, before=2000))

    refuse_untimely(found, 1999.0)
    with pytest.raises(Unauthorized, match=r"certificate of ada expired 2 h ago; fetch a new one") as caught:
        refuse_untimely(found, 2000.0 + 7200)

    assert caught.value.reason == "CertificateExpired"


def test_a_certificate_of_tomorrow() -> None:
    with pytest.raises(Unauthorized, match=r"valid only in 16 min; check the clocks") as caught:
        refuse_untimely(read(ssh_certificate=certificate(after=1000, before=2000)), 0.0)

    assert caught.value.reason == "CertificateNotYetValid"


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521"])
def test_certificates_of_every_kind_of_key(kind: str) -> None:
    key = asyncssh.generate_private_key(kind)

    assert validity(certificate(key, 1000, 2000).decode()) == Validity(1000.0, 2000.0)


def test_a_certificate_without_an_end() -> None:
    assert validity(certificate(before=2**64 - 1).decode()) == Validity(0.0, None)


def test_a_hosts_certificate_is_no_users() -> None:
    made = AUTHORITY.generate_host_certificate(KEY, "id", principals=["login.example.eu"]).export_certificate()

    with pytest.raises(ValueError, match="a host's"):
        validity(made.decode())


Spoil = Callable[[], dict[str, bytes]]


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"ssh_privatekey": CLOSED}, "PassphraseWrong"),
        ({"ssh_privatekey": CLOSED, "passphrase": b"close"}, "PassphraseWrong"),
        ({"ssh_privatekey": KEY.export_private_key("pkcs8-pem", "open"), "passphrase": b"close"}, "PassphraseWrong"),
        ({"ssh_privatekey": KEY.export_private_key("openssh")[:120]}, "KeyMalformed"),
        ({"ssh_certificate": certificate(OTHER)}, "CertificateMismatch"),
        ({"known_hosts": b"elsewhere.example.eu " + KEY.export_public_key()}, "HostKeyUnknown"),
    ],
)
async def test_what_shows_only_when_the_key_is_opened(more: dict[str, bytes], reason: str) -> None:
    """Nobody listens there: each of these is found before a connection is tried."""
    with pytest.raises(PasserelleError) as caught:
        await login.log_in(Address("login.example.eu", 1), None, read(**more))

    assert isinstance(caught.value, Unauthorized)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "url, found",
    [
        ("ssh://login.example.eu", Address("login.example.eu", 22)),
        ("ssh://login.example.eu:8822/", Address("login.example.eu", 8822)),
        ("ssh://[::1]:2222", Address("::1", 2222)),
    ],
)
def test_addresses(url: str, found: Address) -> None:
    assert address(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "ssh://ada@login.example.eu",
        "ssh://login.example.eu:0",
        "ssh://login.example.eu:70000",
        "ssh://login.example.eu/home",
        "ssh://-oProxyCommand=x",
        "https://login.example.eu",
        "login.example.eu",
        "",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(PasserelleError, match="ssh://HOST") as caught:
        address(url)

    assert caught.value.reason == "InvalidUrl"


def test_a_certificate_of_an_authority_whose_clock_is_ahead_serves_at_once() -> None:
    refuse_untimely(read(ssh_certificate=certificate(after=1000, before=2000)), 1000 - 300.0)
