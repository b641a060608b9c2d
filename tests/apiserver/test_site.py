"""What a real kube-apiserver takes, refuses and shows of a Site, and that the examples are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import samples
from passerelle.crd import schema
from passerelle.v1alpha1.meta import (
    ABSOLUTE_PATH_HELP,
    DNS_LABEL_HELP,
    DNS_SUBDOMAIN_HELP,
    DURATION_HELP,
    SLURM_WORD_HELP,
)
from passerelle.v1alpha1.site import (
    CERTIFICATE_OF_ARC,
    JUMP_OF_ANOTHER,
    SYSTEM_MISSING,
    TLS_OF_SSH,
    URL_INSECURE,
    URL_OF_ANOTHER,
    URL_OF_SSH,
    URL_WITH_QUERY,
    URL_WITH_USER,
    URL_WITH_VERSION,
    SiteSpec,
    SiteStatus,
)
from passerelle_sandbox import deploy

if TYPE_CHECKING:
    from apiserver.conftest import Api

pytestmark = pytest.mark.apiserver

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = REPOSITORY / "examples" / "quickstart"
SMALL: dict[str, Any] = {
    "profile": "sandbox",
    "gateway": {"driver": "slurmrestd", "url": "https://slurm.example", "credentials": {"name": "lumi"}},
    "runRoot": "/scratch/runs",
}


def manifest(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "passerelle.dev/v1alpha1", "kind": "Site", "metadata": {"name": name}, "spec": spec}


def test_a_full_site_is_taken_and_any_of_it_may_change(api: Api) -> None:
    for full in samples.sites(schema(SiteSpec)):
        api.accepts("apply", manifest("full", full))


def test_nothing_is_written_into_spec(api: Api) -> None:
    api.accepts("apply", manifest("small", SMALL))

    assert json.loads(api.kubectl("get", "hpcsite", "small", "-o", "json"))["spec"] == SMALL


@pytest.mark.parametrize(
    "url", ["https://a.example:6820/x", "http://127.0.0.1:6820", "http://localhost", "http://[::1]:1"]
)
def test_addresses_that_keep_the_token_are_taken(api: Api, url: str) -> None:
    api.accepts("apply", manifest("url", samples.put(SMALL, ("gateway", "url"), url)))


@pytest.mark.parametrize(
    "url,answer",
    [
        ("http://a.example", URL_INSECURE),
        ("http://127.0.0.1.a.example", URL_INSECURE),
        ("http://localhost.a.example", URL_INSECURE),
        ("slurm-api.example", URL_INSECURE),
        ("", URL_INSECURE),
        ("https://me:pw@a.example", URL_WITH_USER),
        ("https://a.example/?a=b", URL_WITH_QUERY),
        ("https://a.example/ x", URL_WITH_QUERY),
        ("https://a.example:6820/slurm/v0.0.40", URL_WITH_VERSION),
    ],
)
def test_an_address_that_can_t_be_is_answered_with_one_sentence(api: Api, url: str, answer: str) -> None:
    told = api.refuses("create", manifest("bad", samples.put(SMALL, ("gateway", "url"), url)))

    assert samples.complaints(told) == [f"spec.gateway.url: Invalid value: {json.dumps(url)}: {answer}"]


CLIENT_SECRET = {"clientSecret": {"name": "mine"}}
SSH = {"driver": "ssh", "url": "ssh://login.example", "credentials": {"name": "lumi"}}


@pytest.mark.parametrize(
    "url", ["ssh://login.example", "ssh://login.example:8822", "ssh://127.0.0.1:22/", "ssh://[::1]"]
)
def test_login_nodes_are_taken(api: Api, url: str) -> None:
    api.accepts("apply", manifest("ssh", SMALL | {"gateway": SSH | {"url": url, "jump": url}}))


@pytest.mark.parametrize(
    "gateway,place,answer",
    [
        (SSH | {"url": "ssh://login.example/home"}, "url", URL_OF_SSH),
        (SSH | {"url": "https://login.example"}, "url", URL_OF_SSH),
        (SSH | {"jump": "ssh://me@jump.example"}, "jump", URL_OF_SSH),
        (SSH | {"tls": {}}, "tls", TLS_OF_SSH),
        (SMALL["gateway"] | {"url": "ssh://login.example"}, "driver", URL_OF_ANOTHER),
        (SMALL["gateway"] | {"jump": "ssh://jump.example"}, "jump", JUMP_OF_ANOTHER),
        (SMALL["gateway"] | {"driver": "arc", "tls": CLIENT_SECRET}, "tls.clientSecret", CERTIFICATE_OF_ARC),
    ],
)
def test_what_belongs_to_another_driver_is_answered_with_one_sentence(
    api: Api, gateway: dict[str, Any], place: str, answer: str
) -> None:
    (told,) = samples.complaints(api.refuses("create", manifest("bad", SMALL | {"gateway": gateway})))

    assert told.startswith(f"spec.gateway.{place}: Invalid value:")
    assert told.endswith(f": {answer}")


@pytest.mark.parametrize(
    "path,value,answer",
    [
        (("runRoot",), "scratch/runs", ABSOLUTE_PATH_HELP),
        (("profile",), "LUMI", DNS_LABEL_HELP),
        (("partition",), "gpu,cpu", SLURM_WORD_HELP),
        (("pollingPeriod",), "1d", DURATION_HELP),
        (("gateway", "credentials", "name"), "My_Secret", DNS_SUBDOMAIN_HELP),
        (("admission", 0, "namespaces", 0), "Team", DNS_LABEL_HELP),
        (("admission", 0, "accounts", 0), "project 1", SLURM_WORD_HELP),
        (("admission", 0, "qos", 0), "--now", SLURM_WORD_HELP),
    ],
)
def test_a_mistyped_value_is_answered_with_what_to_write(api: Api, path: samples.Path, value: str, answer: str) -> None:
    admitting = SMALL | {"admission": [{"namespaces": ["a"], "accounts": ["b"], "qos": ["c"]}]}

    told = api.refuses("create", manifest("bad", samples.put(admitting, path, value)))

    assert samples.complaints(told) == [f"spec.{samples.name_of(path)}: Invalid value: {json.dumps(value)}: {answer}"]


@pytest.mark.parametrize("name", ["dotted.name", "n" * 64])
def test_a_name_that_no_trainingjob_can_hold_is_refused(api: Api, name: str) -> None:
    assert "write a metadata.name of at most 63 characters without dots" in api.refuses("create", manifest(name, SMALL))


@pytest.mark.parametrize(
    "spec,answer",
    [
        pytest.param({**SMALL, "user": "x"}, 'unknown field "spec.user"', id="unknown field"),
        pytest.param({**SMALL, "pollingPeriod": "0s"}, "spec.pollingPeriod", id="no pause between looks"),
        pytest.param({**SMALL, "callsPerHour": 59}, "spec.callsPerHour", id="hardly a call"),
        pytest.param({**SMALL, "callsPerHour": 1_000_001}, "spec.callsPerHour", id="calls without end"),
        pytest.param(samples.put(SMALL, ("gateway", "driver"), "rsh"), 'supported values: "slurmrestd"', id="driver"),
        pytest.param(samples.put(SMALL, ("gateway", "driver"), "firecrest"), SYSTEM_MISSING, id="no system"),
        pytest.param({**SMALL, "admission": [{"selector": {"k" * 318: "v"}}]}, "a label's key", id="a key too long"),
    ],
)
def test_a_bad_spec_is_refused(api: Api, spec: dict[str, Any], answer: str) -> None:
    assert answer in api.refuses("create", manifest("bad", spec))


def test_kubectl_get_prints_the_columns(api: Api) -> None:
    condition = samples.sample(samples.at(schema(SiteStatus), ("conditions", 0)))
    status = {
        "jobs": 7,
        "credentialExpiry": "2126-01-02T03:04:05Z",
        "conditions": [
            condition | {"type": "Ready", "status": "True", "reason": "Answering"},
            condition | {"type": "Reachable", "status": "False"},
        ],
    }
    api.accepts("apply", manifest("printed", SMALL))
    patch = json.dumps({"status": status})
    api.kubectl("patch", "hpcsite", "printed", "--subresource=status", "--type=merge", "-p", patch)

    header, row = api.kubectl("get", "hpcsites", "printed").splitlines()

    assert header.split("  ") != header.split()  # CREDENTIAL EXPIRY is one column
    assert [word.strip() for word in header.split("  ") if word] == [
        "NAME", "DRIVER", "READY", "REASON", "JOBS", "CREDENTIAL EXPIRY", "AGE",
    ]  # fmt: skip
    assert row.split()[:6] == ["printed", "slurmrestd", "True", "Answering", "7", "2126-01-02T03:04:05Z"]


def test_kubectl_explain_shows_every_field(api: Api) -> None:
    told = api.kubectl("explain", "hpcsite.spec", "--recursive")

    for path in samples.places(schema(SiteSpec)):
        if isinstance(path[-1], str):
            assert f"{path[-1]}\t<" in told


def test_the_quickstart_is_taken_in_the_order_that_the_readme_gives(api: Api) -> None:
    api.run("create", "namespace", deploy.OPERATOR_NAMESPACE)  # helm makes it; it may be there already
    for name in ("namespace", "credentials", "site", "trainingjob"):
        api.kubectl("apply", "--server-side", "-f", str(QUICKSTART / f"{name}.yaml"))
