"""`sites doctor`: each fault of a Site, or its site, is told by its cause, with what to do, and nothing else is."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from listening import certificate_error, listening
from passerelle.doctor import Check
from passerelle.doctor.machine import partitions
from passerelle.errors import Rejected, Unavailable
from passerelle.examination import Subject, examine
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Credential, Gateway
from passerelle.gateways.caller import Caller
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.memory import Fate, Memory
from passerelle.gateways.memory_files import File
from passerelle.gateways.open import open_gateway
from passerelle.gateways.slurmrestd.credential import credential_from_secret
from passerelle.gateways.slurmrestd.driver import Slurmrestd
from passerelle.gateways.surveys import Association, SitePartition, Survey
from passerelle.gateways.trust import Trust
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from passerelle.v1alpha1.site import SiteSpec, SiteStatus
from passerelle_sandbox.control_plane.pki import Authority
from plans import profile
from plans import site as plain_site
from unit.gateways import unicore_server
from unit.gateways.scripted_server import BATCH, Server
from unit.gateways.test_arc_driver import Arex

NOW = 1_800_000_000.0
CONTACT = "ml-platform@example.eu"
ADMITTED = [{"namespaces": ["team-a"], "accounts": ["startup"], "qos": ["normal"]}]
GOOD = Survey(
    associations=(Association(account="startup", qos=("debug", "normal"), default_qos="normal", default=True),),
    partitions=(SitePartition(name="gpu", state="UP", nodes=64, max_time_minutes=60, gpus_per_node=4),),
    clock=NOW,
)


def site(**changes: object) -> SiteSpec:
    """One with a contact: without it the doctor warns."""
    return plain_site(**({"contact": CONTACT} | changes))


READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Answering",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def jwt(user: str = "startup", issued: float = NOW - 100, expires: float = NOW + 1e6) -> bytes:
    claims = base64.urlsafe_b64encode(json.dumps({"sun": user, "iat": issued, "exp": expires}).encode()).decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{claims.rstrip('=')}.hush".encode()


@dataclass
class Fault(Memory):
    """A site in memory that tells a survey, and takes files in its run root, or doesn't."""

    told: Survey = GOOD
    refusal: Exception | None = None
    garbled: bool = False

    async def survey(self) -> Survey:
        return self.told

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.files[path] = File(b"other" if self.garbled else content, mode)


@dataclass
class Case:
    """A Site that is well, and what a fault changes of it."""

    spec: SiteSpec = field(default_factory=lambda: site(admission=ADMITTED))
    secrets: dict[str, Mapping[str, bytes]] = field(default_factory=lambda: {"token": {"token": jwt()}})
    gateway: Gateway | None = None
    status: SiteStatus | None = None
    generation: int = 1

    async def checks(self) -> list[Check]:
        async def secret(name: str) -> Mapping[str, bytes] | None:
            return self.secrets.get(name)

        def opener(spec: SiteSpec, credentials: Callable[[], Credential], trust: Trust) -> Gateway:
            assert trust.caller == Caller("lumi", spec.contact or "")
            real = open_gateway(spec, credentials, trust)
            return real if self.gateway is None else self.gateway

        subject = Subject(
            name="lumi",
            spec=self.spec,
            secret=secret,
            home="passerelle-system/",
            status=self.status,
            generation=self.generation,
        )
        return [each async for each in examine(subject, opener=opener, now=lambda: NOW)]


def memory(**changes: Any) -> Fault:
    given: dict[str, Any] = {"clock": lambda: NOW, "user": "startup", "cluster": "lumi"} | changes
    return Fault(**given)


def well(**changes: Any) -> Case:
    return Case(**({"gateway": memory()} | changes))


def of_spec(**changes: object) -> Case:
    return well(spec=site(**({"admission": ADMITTED} | changes)))


def of_entry(**changes: object) -> Case:
    return of_spec(admission=[ADMITTED[0] | changes])


def of_secret(**keys: bytes) -> Case:
    return well(secrets={"token": keys})


def told(**changes: Any) -> Case:
    return well(gateway=memory(told=replace(GOOD, **changes)))


def of_association(**changes: Any) -> Case:
    assert GOOD.associations is not None
    return told(associations=(replace(GOOD.associations[0], **changes),))


def of_partition(**changes: Any) -> Case:
    assert GOOD.partitions is not None
    return told(partitions=(replace(GOOD.partitions[0], **changes),))


def failing(**faults: Any) -> Case:
    gateway = memory()
    for name, value in faults.items():
        setattr(gateway.faults, name, value)
    return well(gateway=gateway)


def watched(**changes: Any) -> Case:
    status = SiteStatus.model_validate({"observedGeneration": 1, "conditions": [READY], **changes})
    return well(status=status)


def answering(answer: httpx.Response | Exception) -> Case:
    """A gateway that says the same to everybody."""

    def reply(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Case(gateway=slurmrestd(httpx.MockTransport(reply)))


def slurmrestd(transport: httpx.AsyncBaseTransport) -> Slurmrestd:
    held = credential_from_secret("ns/token", {"token": jwt(expires=4e9)})
    return Slurmrestd("https://gateway.example", lambda: held, transport=transport)


def unconnected(cause: BaseException) -> Exception:
    error = httpx.ConnectError("noise")
    error.__cause__ = cause
    return error


def with_job(minutes: int, expires: float) -> Case:
    gateway = memory(fates=lambda _: Fate(running=1e9))
    batch = replace(BATCH, options=replace(BATCH.options, time_limit_minutes=minutes))
    gateway._accept(batch)
    return well(gateway=gateway, secrets={"token": {"token": jwt(expires=NOW + expires)}})


def firecrest(mode: str, asked: str = "alps") -> Firecrest:
    """A FirecREST whose one system is asked in this mode."""
    system = {"name": "alps", "scheduler": {"type": "slurm", "connectionMode": mode}, "servicesHealth": []}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"systems": [system]}))
    held = FirecrestCredential(user="ada", token="hush")
    return Firecrest("https://gateway.example", asked, lambda: held, transport=transport)


def arc(environment: str | None) -> Arc:
    """An A-REX that lists one runtime environment, PASSERELLE."""
    held = ArcCredential(user="ada", token="hush")
    transport = httpx.MockTransport(Arex())
    return Arc("https://gateway.example/arex", lambda: held, environment=environment, transport=transport)


def unicore() -> Unicore:
    """A UNICORE to whom our token is nobody's."""
    told = {"client": {"role": {"selected": "anonymous"}}, "server": {"siteName": "X", "version": "11.0.0"}}
    held = UnicoreCredential(user="ada", token="hush")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=told))
    return Unicore("https://gateway.example/rest/core", lambda: held, transport=transport)


SCHEDULER_ERROR = {"errors": [{"error_number": 1800, "error": "Unable to contact slurm controller"}]}
REFUSED = {"errors": [{"error_number": 1007, "error": "Protocol authentication error"}]}

FAULTS: dict[str, tuple[Callable[[], Case], str, str]] = {
    "a profile that is none": (lambda: of_spec(profile="lumi-x"), "ProfileNotFound", "write one of"),
    "a partition that the profile lacks": (lambda: of_spec(partition="boost"), "PartitionNotFound", "Write one of gpu"),
    "nobody is admitted": (lambda: of_spec(admission=[]), "NobodyAdmitted", "Name the namespaces"),
    "two namespaces share a user": (
        lambda: of_spec(admission=[{"namespaces": ["team-a"]}, {"namespaces": ["team-b"]}]),
        "NamespacesShareUser",
        "give each a Site with a credential of its own",
    ),
    "nobody to write to": (lambda: of_spec(contact=None), "NoContact", "Write an e-mail address or a URL"),
    "suspended": (lambda: of_spec(suspend=True), "Suspended", "Set it to false"),
    "no Secret": (lambda: well(secrets={}), "SecretMissing", "create it with the keys username and token"),
    "a Secret without a token": (lambda: of_secret(username=b"ada"), "TokenMissing", "no key token"),
    "an opaque token without a name": (lambda: of_secret(token=b"opaque"), "UsernameMissing", "no key username"),
    "a token of another user": (
        lambda: of_secret(username=b"ada", token=jwt("eve")),
        "UserMismatch",
        "its token is of eve; write eve under username",
    ),
    "no Secret with the authority": (
        lambda: of_spec(gateway=gateway_of(tls={"caSecret": {"name": "ca"}})),
        "SecretMissing",
        "passerelle-system/ca with ca.crt does not exist",
    ),
    "an authority under another key": (
        lambda: well(spec=with_authority(), secrets={"token": {"token": jwt()}, "ca": {"tls.crt": b"x"}}),
        "SecretMissing",
        "has no key ca.crt",
    ),
    "an authority that is no certificate": (
        lambda: well(spec=with_authority(), secrets={"token": {"token": jwt()}, "ca": {"ca.crt": b"x"}}),
        "InvalidCertificate",
        "No PEM certificate was found in ca.crt of the Secret passerelle-system/ca; write the authority's there",
    ),
    "a host that no name server knows": (
        lambda: answering(unconnected(socket.gaierror(socket.EAI_NONAME, "noise"))),
        "Unreachable",
        "name can't be resolved; check it in gateway.url",
    ),
    "a firewall": (
        lambda: answering(httpx.ConnectTimeout("")),
        "Unreachable",
        "took no connection in time at gateway.example:443. Check host and port in gateway.url, and firewalls",
    ),
    "a server that speaks no HTTP": (
        lambda: answering(httpx.RemoteProtocolError("noise")),
        "Unreachable",
        "broke HTTP's rules. Check host and port",
    ),
    "an expired certificate": (
        lambda: answering(unconnected(certificate_error(10))),
        "Unreachable",
        "its certificate has expired; tell the site",
    ),
    "another web server": (
        lambda: answering(httpx.Response(200, text="<html>")),
        "UnexpectedAnswer",
        "Check gateway.url, and proxies on the way",
    ),
    "a redirect to a login page": (
        lambda: answering(httpx.Response(302, headers={"location": "https://login"})),
        "UnexpectedAnswer",
        "HTTP 302",
    ),
    "a release that nobody speaks": (lambda: Case(gateway=served(36)), "NoKnownVersion", "serves no Slurm API"),
    "a gateway that is overrun": (
        lambda: answering(httpx.Response(503, headers={"retry-after": "60"})),
        "Busy",
        "asks for patience",
    ),
    "a token that is over": (
        lambda: of_secret(token=jwt(expires=NOW - 7300)),
        "TokenExpired",
        "expired 2 h ago. Write a new one into the Secret passerelle-system/token.",
    ),
    "a token of another site": (
        lambda: Case(gateway=served(42, licenses=httpx.Response(511, json=REFUSED))),
        "TokenRefused",
        "Protocol authentication error; make a new one at the site",
    ),
    "a token that ends before the jobs": (
        lambda: with_job(minutes=1440, expires=3000),
        "CredentialEndsFirst",
        "ends in 50 min, before jobs that may run for 24 h",
    ),
    "a token that ends soon": (
        lambda: of_secret(token=jwt(issued=NOW - 90_000, expires=NOW + 10_000)),
        "CredentialEndsSoon",
        "ends in 2 h, of 27 h that it had",
    ),
    "a FirecREST in rest mode": (
        lambda: Case(gateway=firecrest("rest")),
        "RestModeRefused",
        "drops a job's nodes, GPUs and time limit",
    ),
    "a system that FirecREST does not have": (
        lambda: Case(gateway=firecrest("ssh", "daint")),
        "SystemNotFound",
        "write one of alps into gateway.system",
    ),
    "a token that UNICORE does not know": (
        lambda: Case(gateway=unicore()),
        "Anonymous",
        "does not know the holder of the credential",
    ),
    "a scheduler that is down": (
        lambda: Case(gateway=served(42, licenses=httpx.Response(502, json=SCHEDULER_ERROR))),
        "SchedulerUnavailable",
        "the scheduler behind it doesn't",
    ),
    "accounting that is down": (
        lambda: failing(accounting_down=True),
        "AccountingUnavailable",
        "nothing new is submitted meanwhile",
    ),
    "another cluster than before": (
        lambda: watched(cluster="leonardo", user="startup"),
        "IdentityChanged",
        "leads to cluster lumi as startup, and led to leonardo",
    ),
    "an account of others": (
        lambda: of_entry(accounts=["startup", "theirs"]),
        "AccountUnknown",
        "may not charge account theirs. Write one of startup in spec.admission[0].accounts",
    ),
    "an account without hours": (lambda: of_association(closed=True), "AccountClosed", "is 0. Its hours may be over"),
    "an account of another partition": (
        lambda: of_association(partition="debug"),
        "AccountElsewhere",
        "in other partitions only",
    ),
    "no account at all": (lambda: told(associations=()), "AssociationMissing", "may charge no account at all"),
    "no default account": (
        lambda: well(
            spec=site(admission=[ADMITTED[0] | {"accounts": []}]),
            gateway=memory(told=replace(GOOD, associations=(Association(account="a", qos=("normal",)),))),
        ),
        "DefaultAccountMissing",
        "is empty, and startup has no default account",
    ),
    "a QoS of others": (
        lambda: of_entry(qos=["normal", "large"]),
        "QosNotAllowed",
        "QoS large may not be used with startup. Write one of debug, normal",
    ),
    "a QoS of one account alone": (
        lambda: well(
            spec=site(admission=[ADMITTED[0] | {"accounts": ["startup", "second"]}]),
            gateway=memory(
                told=replace(GOOD, associations=(*(GOOD.associations or ()), Association(account="second", qos=("x",))))
            ),
        ),
        "QosPartlyAllowed",
        "and not with second",
    ),
    "a partition that is not there": (
        lambda: of_partition(name="gpu2"),
        "PartitionMissing",
        "shows no partition gpu to your user. It shows gpu2",
    ),
    "a partition that is down": (lambda: of_partition(state="DOWN"), "PartitionDown", "set spec.suspend meanwhile"),
    "a partition of other accounts": (
        lambda: of_partition(allowed_accounts=frozenset({"vip"})),
        "PartitionNotAllowed",
        "takes no jobs of account startup",
    ),
    "a partition that denies a QoS": (
        lambda: of_partition(denied_qos=frozenset({"normal"})),
        "PartitionNotAllowed",
        "takes no jobs of QoS normal",
    ),
    "a time limit that was lowered": (
        lambda: of_partition(max_time_minutes=30),
        "TimeLimitDrift",
        "at most 30m, and profile sandbox lets 1h through",
    ),
    "a smaller job than before": (lambda: of_partition(max_nodes=2), "NodesDrift", "at most 2 nodes"),
    "other nodes than before": (lambda: of_partition(gpus_per_node=8), "GpusDrift", "have 8 GPUs, and 4 in profile"),
    "a clock that is ahead": (lambda: told(clock=NOW + 400), "ClockSkew", "is 6 min ahead of this machine's"),
    "a clock that is behind": (lambda: told(clock=NOW - 61), "ClockSkew", "is 61 s behind this machine's"),
    "a run root that is not there": (
        lambda: well(gateway=memory(refusal=Rejected("The site has no directory /scratch/startup/passerelle."))),
        "RunRootRefused",
        "mkdir -p /scratch/startup/passerelle",
    ),
    "a run root that forgets": (lambda: well(gateway=memory(garbled=True)), "RunRootOdd", "reads otherwise"),
    "a run root that can't be asked": (
        lambda: well(gateway=memory(refusal=Unavailable("The gateway is busy.", reason="Busy"))),
        "Busy",
        "asks for patience",
    ),
    "a door that failed": (
        lambda: well(gateway=memory(refusal=Rejected("A small job failed: no such QoS.", reason="DoorFailed"))),
        "DoorFailed",
        "no such QoS",
    ),
    "no operator": (lambda: well(status=SiteStatus()), "OperatorSilent", "No operator has looked"),
    "an operator that lags": (
        lambda: replace(watched(), generation=2),
        "OperatorBehind",
        "not seen the Site's latest change",
    ),
    "an operator behind a firewall": (
        lambda: watched(conditions=[READY | {"status": "False", "reason": "Unreachable", "message": "No way."}]),
        "Unreachable",
        "can't use the Site: No way. Where all else is ok, look at the way from the cluster",
    ),
    "an operator that is refused": (
        lambda: watched(conditions=[READY | {"status": "False", "reason": "TokenRefused", "message": "No."}]),
        "TokenRefused",
        "can't use the Site: No.",
    ),
    "an ARC without a runtime environment": (
        lambda: Case(gateway=arc(None)),
        "NotReady",
        "have the site enable one, and write its name into gateway.runtimeEnvironment",
    ),
    "a runtime environment that ARC does not have": (
        lambda: Case(gateway=arc("NOSUCH")),
        "NotReady",
        "has no runtime environment NOSUCH, by which options reach sbatch (it has: PASSERELLE)",
    ),
}


def gateway_of(**changes: object) -> dict[str, object]:
    return {"driver": "slurmrestd", "url": "https://site.example.eu", "credentials": {"name": "token"}, **changes}


def with_authority() -> SiteSpec:
    return site(admission=ADMITTED, gateway=gateway_of(tls={"caSecret": {"name": "ca"}}))


def served(version: int, **replies: httpx.Response) -> Slurmrestd:
    server = Server(version)
    server.replies |= {f"GET {path}": reply for path, reply in replies.items()}
    return slurmrestd(httpx.MockTransport(server))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_by_its_cause_and_with_what_to_do(fault: str) -> None:
    make, cause, words = FAULTS[fault]

    checks = await make().checks()

    alarms = [each for each in checks if each.verdict in ("wrong", "warning")]
    assert [each.id for each in alarms] == [cause]
    assert words in str(alarms[0])
    assert "hush" not in "".join(map(str, checks))


async def test_a_site_that_is_well_has_nothing_to_put_right() -> None:
    checks = await watched(cluster="lumi", user="startup").checks()

    assert {each.verdict for each in checks} == {"ok"}
    assert [each.subject for each in checks] == [
        *(
            "site",
            "secret",
            "address",
            "slurm",
            "identity",
            "gateway",
            "accounting",
            "token",
            "accounts",
            "qos",
            "partition",
        ),
        *("clock", "run root", "operator"),
    ]


async def test_what_a_gateway_can_not_tell_is_no_alarm() -> None:
    checks = await told(associations=None, partitions=None, clock=None).checks()

    assert {each.subject for each in checks if each.verdict == "open"} == {"accounts", "partition", "clock"}
    assert not [each for each in checks if each.verdict in ("wrong", "warning")]


async def test_a_gateway_that_knows_accounts_and_not_their_qos_raises_no_alarm() -> None:
    known = Association(account="startup", qos=None, default=True)
    checks = await told(associations=(known,), partitions=(SitePartition(name="gpu"),)).checks()

    assert [each.text for each in checks if each.verdict == "open"] == [
        "QoS were not checked: the site does not tell them."
    ]
    assert not [each for each in checks if each.verdict in ("wrong", "warning")]
    assert "gpu is there." in [each.text for each in checks]


async def test_a_run_root_whose_door_opens_is_asked_again_and_is_no_alarm() -> None:
    waits = Unavailable("A small job waits in its queue.", reason="DoorOpening")
    checks = await well(gateway=memory(refusal=waits)).checks()

    (found,) = [each for each in checks if each.subject == "run root"]
    assert (found.verdict, found.id) == ("open", "DoorOpening")
    assert str(found) == (
        "The run root was not checked yet. A small job waits in its queue. Ask again in some minutes."
    )
    assert not [each for each in checks if each.verdict in ("wrong", "warning")]


async def test_the_run_root_keeps_one_file_whoever_looks_how_often() -> None:
    gateway = memory()
    for _ in range(3):
        await well(gateway=gateway).checks()

    assert list(gateway.files) == ["/scratch/startup/passerelle/.passerelle-doctor"]


async def test_jobs_are_listed_only_where_one_could_outlast_the_credential() -> None:
    gateway = memory()
    await well(gateway=gateway).checks()
    assert "find" not in gateway.calls

    await well(gateway=gateway, secrets={"token": {"token": jwt(issued=NOW, expires=NOW + 3000)}}).checks()
    assert "find" in gateway.calls


@pytest.mark.parametrize("case", ["Startup", "STARTUP"])
async def test_slurm_takes_names_in_any_letters(case: str) -> None:
    """A real site keeps `aifac_p01` of what everybody writes as AIFAC_P01."""
    checks = await of_entry(accounts=[case], qos=["Normal"]).checks()

    assert {each.verdict for each in checks} == {"ok"}
    listed = frozenset({"startup"})
    assert GOOD.partitions is not None
    (found,) = partitions(
        site(admission=[ADMITTED[0] | {"accounts": [case]}]),
        profile(),
        replace(GOOD, partitions=(replace(GOOD.partitions[0], allowed_accounts=listed),)),
    )
    assert found.verdict == "ok"


async def alarm(url: str, **secrets: Mapping[str, bytes]) -> Check:
    """The one alarm about a real address."""
    tls = {"tls": {"caSecret": {"name": "ca"}}} if secrets else {}
    spec = site(admission=ADMITTED, gateway=gateway_of(url=url, **tls))
    case = Case(spec=spec, secrets={"token": {"token": jwt(expires=4e9)}} | secrets)
    (found,) = [each for each in await case.checks() if each.verdict in ("wrong", "warning")]
    return found


async def test_a_port_on_which_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        found = await alarm(f"http://127.0.0.1:{port}")

    assert (found.subject, found.id) == ("address", "Unreachable")
    assert "the connection was refused; check the port in gateway.url" in found.text
    assert found.fix == "", "which the message has"


async def test_real_certificates_and_none(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "authority")
    sign = partial(authority.sign, subject="/CN=x", usages=["serverAuth"])
    ca = {"ca.crt": authority.pair.certificate.read_bytes()}
    async with listening(sign("good", hosts=["IP:127.0.0.1"])) as port:
        unknown = await alarm(f"https://127.0.0.1:{port}")
        known = await alarm(f"https://127.0.0.1:{port}", ca=ca)
    async with listening(sign("other", hosts=["DNS:other"])) as port:
        of_another = await alarm(f"https://127.0.0.1:{port}", ca=ca)
    stranger = Authority.create(tmp_path / "stranger", "stranger")
    async with listening(stranger.sign("good", subject="/CN=x", usages=["serverAuth"], hosts=["IP:127.0.0.1"])) as port:
        of_a_stranger = await alarm(f"https://127.0.0.1:{port}", ca=ca)
    async with listening() as port:
        plain = await alarm(f"https://127.0.0.1:{port}", ca=ca)

    assert "certificate is of an unknown authority; put the authority's certificate into a Secret" in unknown.text
    assert (known.id, "serves no Slurm API" in known.text) == ("NoKnownVersion", True)
    assert "certificate is not valid for '127.0.0.1'" in of_another.text
    assert "what listens there does not speak TLS; check the port" in plain.text
    where = "ca.crt of the Secret passerelle-system/ca"
    assert f"certificate is of another authority than {where}; put the right one there." in of_a_stranger.text


async def test_a_cause_that_was_found_here_is_not_explained_again_where_the_operator_has_it() -> None:
    refused = READY | {"status": "False", "reason": "TokenRefused", "message": "Slurm refused the token."}
    status = SiteStatus.model_validate({"observedGeneration": 1, "conditions": [refused]})
    gateway = served(42, licenses=httpx.Response(511, json=REFUSED))

    *_, last = await Case(gateway=gateway, status=status).checks()

    assert (last.subject, last.verdict) == ("operator", "wrong")
    assert str(last) == "The operator can't use the Site either, for the same cause."


async def test_the_way_is_suspected_only_where_the_operator_found_none() -> None:
    refused = READY | {"status": "False", "reason": "TokenRefused", "message": "No."}

    *_, last = await watched(conditions=[refused]).checks()

    assert str(last) == "The operator can't use the Site: No."


async def test_a_release_is_told_as_whose_it_is() -> None:
    of_unicore = await Case(gateway=unicore_server.client(unicore_server.Server())).checks()
    of_arc = await Case(gateway=arc("PASSERELLE")).checks()

    assert "UNICORE 11.0.0, interface rest/core." in [each.text for each in of_unicore if each.subject == "gateway"]
    assert not [each for each in of_unicore if each.subject == "slurm"]
    assert "Slurm 24.11.5, interface 1.1." in [each.text for each in of_arc if each.subject == "slurm"]


async def test_a_token_that_names_nobody_is_told_as_such() -> None:
    spec = site(admission=ADMITTED, gateway=gateway_of(driver="unicore", url="https://site.example.eu/rest/core"))
    checks = await well(spec=spec, secrets={"token": {"token": b"opaque"}}).checks()

    (found,) = [each.text for each in checks if each.subject == "secret"]
    assert found == "passerelle-system/token holds a token, which does not name its user."
