"""What a Secret holds for ARC: tokens, certificates and proxies, read without a key."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from passerelle.errors import Unauthorized
from passerelle.gateways.arc.credential import USER_LIMIT, credential_from_secret, named, refuse_expired
from passerelle.gateways.arc.x509 import holder

RECORDINGS = Path(__file__).with_name("recordings") / "arc"
USER = "/DC=org/DC=nordugrid/DC=ARC/O=TestCA/CN=startup"
USER_ENDS, PROXY_ENDS = 1798172105, 1795666509
KEY = b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"


def recorded(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def token(**claims: object) -> bytes:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in ({"alg": "RS256"}, claims)]
    return b".".join([*parts, b"c2ln"])


def test_a_proxy_speaks_for_its_user_while_all_of_its_chain_is_valid() -> None:
    assert holder(recorded("user.pem")).subject == USER
    assert holder(recorded("user.pem")).expires == USER_ENDS
    found = holder(recorded("proxy.pem"))
    assert (found.subject, found.expires) == (USER, PROXY_ENDS)


def test_a_proxy_of_a_proxy_speaks_for_the_user(tmp_path: Path) -> None:
    script = r"""
        openssl req -x509 -newkey rsa:2048 -nodes -subj '/C=SI/O=Example/CN=Ada Lovelace' -keyout k0 -out c0 -days 9
        for level in 1 2; do
            below=$((level - 1))
            subject=$(openssl x509 -in c$below -noout -subject -nameopt compat | sed 's/^subject=//')/CN=$level
            openssl req -new -newkey rsa:2048 -nodes -subj "$subject" -keyout k$level -out r
            openssl x509 -req -in r -CA c$below -CAkey k$below -set_serial $level -days $level -out c$level
        done
        cat c2 c1 c0
    """
    done = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert holder(done.stdout).subject == "/C=SI/O=Example/CN=Ada Lovelace"


@pytest.mark.parametrize("cut", [1, 30, 400, 900])
def test_a_certificate_that_is_cut_off_is_none(cut: int) -> None:
    der = base64.b64decode(b"".join(recorded("user.pem").split(b"-----")[2].split()))
    short = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der[:cut]) + b"\n-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match=r"cut off|certificate"):
        holder(short)


def test_each_kind_of_secret_is_read_and_none_of_it_shown() -> None:
    user = recorded("user.pem")
    certificate = credential_from_secret("ns/arc", {"tls.crt": user, "tls.key": KEY, "ca.crt": b"of the issuer"})
    assert (certificate.user, certificate.expires) == (USER, USER_ENDS)
    assert certificate.certificate is not None
    assert certificate.certificate.chain == user.strip()
    proxy = credential_from_secret("ns/arc", {"proxy.pem": recorded("proxy.pem") + KEY})
    assert (proxy.user, proxy.expires, proxy.token) == (USER, PROXY_ENDS, "")
    claims = token(sub="ada", iss="https://aai.example.eu", exp=2_000_000_000)
    bearer = credential_from_secret("ns/arc", {"token": claims + b"\n"})
    assert (bearer.user, bearer.expires) == ("https://aai.example.eu/ada", 2_000_000_000)
    assert bearer.token == claims.decode()
    for each in (certificate, proxy, bearer):
        assert "secret" not in repr(each)
        assert "eyJ" not in repr(each)
        assert "BEGIN" not in repr(each)


@pytest.mark.parametrize(
    "data, reason, words",
    [
        ({}, "TokenMissing", "tls.crt and tls.key"),
        ({"username": b"ada"}, "TokenMissing", "a proxy under proxy.pem"),
        ({"tls.crt": b"CERT"}, "TokenMissing", "no tls.key"),
        ({"tls.key": KEY}, "TokenMissing", "no tls.crt"),
        ({"tls.crt": b"text", "tls.key": KEY}, "CertificateMalformed", "PEM"),
        ({"token": b"a b"}, "TokenMalformed", "which is one word"),
        ({"token": "é".encode()}, "TokenMalformed", "plain ASCII under token"),
        ({"token": b"opaque"}, "TokenMalformed", "no issuer and no subject"),
        ({"token": token(sub="ada")}, "TokenMalformed", "no issuer and no subject"),
        ({"token": b"x", "proxy.pem": b"y"}, "CredentialAmbiguous", "proxy.pem and token"),
    ],
)
def test_what_is_missing_is_told(data: Mapping[str, bytes], reason: str, words: str) -> None:
    with pytest.raises(Unauthorized, match=words) as caught:
        credential_from_secret("ns/arc", data)
    assert caught.value.reason == reason
    assert "ns/arc" in caught.value.message


@pytest.mark.parametrize("key", [b"", b"nothing", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nx"])
def test_a_proxy_needs_a_key_that_opens(key: bytes) -> None:
    with pytest.raises(Unauthorized, match=r"unencrypted private key in PEM under proxy\.pem"):
        credential_from_secret("ns/arc", {"proxy.pem": recorded("proxy.pem") + key})


def test_a_proxy_that_has_ended_is_not_shown_to_the_server() -> None:
    proxy = credential_from_secret("ns/arc", {"proxy.pem": recorded("proxy.pem") + KEY})
    refuse_expired(proxy, PROXY_ENDS - 1)
    with pytest.raises(Unauthorized, match=r"certificate of .*startup has expired") as caught:
        refuse_expired(proxy, PROXY_ENDS)
    assert caught.value.reason == "TokenExpired"


def test_long_subjects_stay_apart_in_the_room_that_a_status_has() -> None:
    long = [f"https://aai.example.eu/realms/grid/{'0' * 64}{end}@example.eu" for end in "ab"]
    shown = [named(each) for each in long]
    assert all(len(each) == USER_LIMIT for each in shown)
    assert shown[0] != shown[1]
    assert named(USER) == USER
