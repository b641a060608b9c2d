"""The registry of drivers, and what each asks of a Site's Secret."""

from __future__ import annotations

import subprocess
import sys
import typing

import asyncssh
import pytest

from passerelle.errors import Unauthorized
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.door import Charge
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Gateway
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.open import DRIVERS, credential, open_gateway
from passerelle.gateways.slurmrestd.credential import TokenCredential
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.ssh.credential import SshCredential
from passerelle.gateways.ssh.driver import Ssh
from passerelle.gateways.ssh.sessions import MOST_SESSIONS
from passerelle.gateways.trust import Trust
from passerelle.v1alpha1.site import GatewaySpec, SiteSpec

WORDS = typing.get_args(GatewaySpec.model_fields["driver"].annotation)
EACH = pytest.mark.parametrize("word", WORDS)


def test_every_word_of_the_spec_has_its_driver() -> None:
    assert set(DRIVERS) == set(WORDS)


@EACH
def test_a_missing_secret_is_told_with_the_keys_to_write(word: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        credential(word, "ns/lumi", None)

    assert caught.value.reason == "SecretMissing"
    assert caught.value.message == f"The Secret ns/lumi does not exist; create it with the keys {DRIVERS[word].keys}."


@EACH
def test_an_empty_secret_is_told(word: str) -> None:
    with pytest.raises(Unauthorized, match=r"^The Secret ns/lumi "):
        credential(word, "ns/lumi", {})


async def test_firecrest() -> None:
    told = {"client-id": b"we", "client-secret": b"s", "token-url": b"https://auth.example.eu/token"}
    found = credential("firecrest", "ns/alps", told)
    assert isinstance(found, FirecrestCredential)
    spec = {"driver": "firecrest", "url": "https://api.example.eu/v2", "system": "Daint", "credentials": {"name": "c"}}
    site = SiteSpec.model_validate({"profile": "alps-daint", "runRoot": "/scratch", "gateway": spec})
    made = open_gateway(site, lambda: found, Trust())

    assert isinstance(made, Gateway)
    assert isinstance(made, Firecrest)
    await made.close()


async def test_slurmrestd() -> None:
    found = credential("slurmrestd", "ns/lumi", {"username": b"ada", "token": b"opaque"})
    assert found == TokenCredential(user="ada", token="opaque")
    assert found.place == "the Secret ns/lumi"
    spec = {"driver": "slurmrestd", "url": "https://slurm.example.eu", "credentials": {"name": "lumi"}}
    site = SiteSpec.model_validate({"profile": "lumi", "runRoot": "/scratch", "gateway": spec})
    made = open_gateway(site, lambda: found, Trust())

    assert isinstance(made, Gateway)
    assert isinstance(made, Slurmrestd)
    await made.close()


def test_what_speaks_ssh_is_loaded_by_the_first_site_that_needs_it() -> None:
    look = "import sys, passerelle.gateways.open; print('asyncssh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "False\n"


async def test_ssh() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    known = b"login.example.eu " + key.export_public_key()
    secret = {"username": b"ada", "ssh-privatekey": key.export_private_key(), "known_hosts": known}
    found = credential("ssh", "ns/lumi", secret)
    assert isinstance(found, SshCredential)
    spec = {"driver": "ssh", "url": "ssh://login.example.eu", "jump": "ssh://jump.example.eu:8822"}
    gateway = spec | {"credentials": {"name": "lumi"}}
    site = SiteSpec.model_validate({"profile": "lumi", "runRoot": "/scratch", "gateway": gateway})
    made = open_gateway(site, lambda: found, Trust())

    assert isinstance(made, Ssh)
    with pytest.raises(Unauthorized, match=r"no host key of jump\.example\.eu:8822.*\[jump\.example\.eu\]:8822"):
        await made.probe()
    await made.close()


@pytest.mark.parametrize(
    "profile, most", [("discoverer-plus", 4), ("lumi-g", MOST_SESSIONS), ("nowhere", MOST_SESSIONS)]
)
async def test_a_login_node_has_as_many_sessions_as_its_site_says(profile: str, most: int) -> None:
    gateway = {"driver": "ssh", "url": "ssh://login.example.eu", "credentials": {"name": "a"}}
    site = SiteSpec.model_validate({"profile": profile, "runRoot": "/scratch", "gateway": gateway})
    made = open_gateway(site, lambda: pytest.fail("a credential was asked for"), Trust())

    assert isinstance(made, Ssh)
    assert made._connection.sessions.most == made._bulk.sessions.most == most
    await made.close()


@pytest.mark.parametrize(
    "door, more, charge",
    [
        ({}, {}, Charge(partition="standard-g")),
        ({}, {"partition": "dev-g"}, Charge(partition="dev-g")),
        ({"doorPartition": "small"}, {"partition": "dev-g"}, Charge(partition="small")),
        (
            {},
            {"admission": [{"namespaces": ["a"], "accounts": ["one", "two"], "qos": ["q"]}, {"accounts": ["three"]}]},
            Charge(partition="standard-g", account="one", qos="q"),
        ),
        ({}, {"profile": "nowhere"}, Charge()),
    ],
    ids=["the profile's partition", "the Site's", "its own", "the first account", "no profile"],
)
async def test_arcs_door_job_is_the_first_admitted_ones(
    door: dict[str, str], more: dict[str, object], charge: Charge
) -> None:
    gateway = {"driver": "arc", "url": "https://arc.example.eu/arex", "credentials": {"name": "vega"}, **door}
    site = SiteSpec.model_validate({"profile": "lumi-g", "runRoot": "/scratch", "gateway": gateway} | more)
    made = open_gateway(site, lambda: ArcCredential(user="ada", token="opaque"), Trust())

    assert isinstance(made, Arc)
    assert made._charge == charge
    await made.close()
