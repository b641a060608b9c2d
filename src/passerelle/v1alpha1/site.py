"""Site: one supercomputer, the door to it, and who may use it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from passerelle.v1alpha1.meta import (
    AbsolutePath,
    Condition,
    DnsLabel,
    DnsSubdomain,
    Duration,
    Matching,
    Model,
    OptionalText,
    SlurmWord,
    Time,
    Without,
    map_list,
    rule,
    rules,
)

PLURAL = "sites"
CA_KEY = "ca.crt"
"""The key under which caSecret's Secret has the authority."""
CERTIFICATE_KEY, PRIVATE_KEY_KEY = "tls.crt", "tls.key"
"""The keys of clientSecret's Secret, as in one of type kubernetes.io/tls."""

URL_INSECURE = (
    "write an https address, like https://slurm-api.example.eu, or for the driver ssh an ssh address, like "
    "ssh://login.example.eu: over plain http a token would be read on the way (loopback addresses excepted)"
)
URL_WITH_USER = "leave user and password out of the address: they belong into the Secret that gateway.credentials names"
URL_WITH_QUERY = "leave spaces, the query and the fragment out of the address"
URL_WITH_VERSION = "write the address without /slurm/v0.0.…: the version is found by asking the gateway"
URL_OF_SSH = "write a login node's address as ssh://HOST[:PORT], like ssh://login.example.eu:8822"
URL_OF_ANOTHER = "write driver: ssh for an ssh address, and an https address for any other driver"
JUMP_OF_ANOTHER = "leave jump out: only the driver ssh goes through another host"
SYSTEM_MISSING = "write system, the name of the system as FirecREST's status/systems lists it"
CERTIFICATE_OF_ARC = "leave clientSecret out: the driver arc shows the certificate that its credentials hold"
TLS_OF_SSH = "leave tls out: the Secret's known_hosts tells which host is trusted"

CALLS_PER_HOUR = 7200
"""Two a second: enough for 50 running jobs that report, through a gateway where each costs a request."""

_SSH = r"^ssh://([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$"

_Url = Annotated[
    str,
    Field(max_length=512),
    Matching(
        r"^((https|ssh)://[^/].*|http://(127(\.[0-9]{1,3}){3}|localhost|\[::1\])(:[0-9]{1,5})?([/?#].*)?)$",
        URL_INSECURE,
    ),
    Without("@", URL_WITH_USER),
    Without(r"[\s?#]", URL_WITH_QUERY),
    Without(r"/slurm(db)?/v[0-9]", URL_WITH_VERSION),
]
ENVIRONMENT_OF_ANOTHER = "leave runtimeEnvironment out: only the driver arc has one"
DOOR_OF_ANOTHER = "leave doorPartition out: only the driver arc opens the site's files by a job"
_RuntimeEnvironment = Annotated[
    str,
    Field(max_length=128),
    Matching(
        r"^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*$",
        "write a runtime environment's name as the site has it, like PASSERELLE or ENV/PASSERELLE",
    ),
]
CONTACT_HELP = (
    "write an e-mail address or a URL, like ml-platform@example.eu or https://example.eu/support, without spaces, "
    "quotes, parentheses and semicolons"
)
_CONTACT_CHARACTER = "[A-Za-z0-9._~:/?#@&*+,=%-]"
_Contact = Annotated[
    str,
    Field(max_length=200),
    Matching(f"^(https?://[A-Za-z0-9]{_CONTACT_CHARACTER}*|[A-Za-z0-9._%+-]+@{_CONTACT_CHARACTER}+)$", CONTACT_HELP),
]
"""It stands in headers and in a script's comment: nothing in it ends either."""
_SshUrl = Annotated[str, Field(max_length=512), Matching(_SSH, URL_OF_SSH)]
_LabelKey = Annotated[str, Field(max_length=317)]
"""A prefix of 253 characters, a slash, a name of 63."""
_LabelValue = Annotated[str, Field(max_length=63)]


class SecretName(Model):
    """A Secret in the operator's namespace."""

    name: DnsSubdomain = Field(description="name is the Secret's name.")


class Tls(Model):
    """How the gateway's certificate is checked."""

    ca_secret: SecretName | None = Field(
        default=None,
        description="caSecret names a Secret in the operator's namespace that holds the certificate authority under "
        "the key ca.crt. Where unset, the system's authorities count.",
    )
    client_secret: SecretName | None = Field(
        default=None,
        description="clientSecret names a Secret in the operator's namespace, of type kubernetes.io/tls, with the "
        "certificate that we show to a gateway, or a proxy before it, that asks for one. It is read again each minute.",
    )


class GatewaySpec(Model):
    """The door to the site."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"self.driver != 'ssh' || self.url.matches(r'{_SSH}')", URL_OF_SSH, fieldPath=".url"),
            rule("self.driver == 'ssh' || !self.url.startsWith('ssh:')", URL_OF_ANOTHER, fieldPath=".driver"),
            rule("self.driver == 'ssh' || !has(self.jump)", JUMP_OF_ANOTHER, fieldPath=".jump"),
            rule("self.driver != 'ssh' || !has(self.tls)", TLS_OF_SSH, fieldPath=".tls"),
            rule(
                "self.driver != 'arc' || !has(self.tls) || !has(self.tls.clientSecret)",
                CERTIFICATE_OF_ARC,
                fieldPath=".tls.clientSecret",
            ),
            rule("self.driver != 'firecrest' || has(self.system)", SYSTEM_MISSING, fieldPath=".system"),
            rule(
                "self.driver == 'arc' || !has(self.runtimeEnvironment)",
                ENVIRONMENT_OF_ANOTHER,
                fieldPath=".runtimeEnvironment",
            ),
            rule("self.driver == 'arc' || !has(self.doorPartition)", DOOR_OF_ANOTHER, fieldPath=".doorPartition"),
        )
    )

    driver: Literal["slurmrestd", "ssh", "unicore", "firecrest", "arc"] = Field(
        description="driver is the kind of gateway. slurmrestd is Slurm's own REST service, from release 22.05 on; "
        "ssh is a login node, on which Slurm's own commands are run; unicore is UNICORE/X, as at JSC; "
        "firecrest is FirecREST v2, as at CSCS; arc is ARC CE's REST interface in front of a Slurm, from release 6 on, "
        "as at Vega."
    )
    url: _Url = Field(
        description="url is the gateway's base address, like https://slurm-api.example.eu, without /slurm/v0.0.… "
        "Plain http is taken for loopback addresses only, since the token travels with each request. For the driver "
        "ssh it is a login node, like ssh://login.example.eu, with its port where that is not 22; for unicore the "
        "address that ends in /rest/core; for arc A-REX's, like https://arc.example.eu/arex."
    )
    jump: _SshUrl | None = Field(
        default=None,
        description="jump is a host through which the login node is reached, like ssh://jump.example.eu, for the "
        "driver ssh. User and key are the same there, and its host key stands in known_hosts, too.",
    )
    system: SlurmWord | None = Field(
        default=None,
        description="system is the name of the system behind FirecREST's address, as its status/systems lists it. The "
        "driver firecrest needs it, and no other reads it.",
    )
    allow_rest_mode: bool = Field(
        default=False,
        description="allowRestMode lets the driver firecrest submit to a system in rest mode, which drops a job's "
        "nodes, GPUs and time limit: its jobs run on the partition's defaults.",
    )
    tls: Tls = Field(default_factory=Tls, description="tls tells how the gateway's certificate is checked.")
    credentials: SecretName = Field(
        description="credentials names a Secret in the operator's namespace: for slurmrestd with the keys username and "
        "token; for ssh with username, ssh-privatekey, known_hosts, and where needed ssh-certificate and passphrase; "
        "for unicore with username and password, or token; for firecrest with token; for arc with token, or tls.crt "
        "and tls.key, or proxy.pem. In the place of a token of slurmrestd, unicore or firecrest an OIDC client may "
        "stand: client-id and token-url, with client-secret or refresh-token. "
        "It is read again before every look: replace in time what expires, and nothing needs a restart."
    )
    runtime_environment: _RuntimeEnvironment | None = Field(
        default=None,
        description="runtimeEnvironment is for the driver arc: the name of the site's runtime environment by which "
        "options reach sbatch, like PASSERELLE. Without it a job can have no account, QoS or GPUs, and is refused.",
    )
    door_partition: SlurmWord | None = Field(
        default=None,
        description="doorPartition is for the driver arc: the partition on which the small job runs that opens the "
        "site's files, where the Site's own takes none without GPUs. The Site's partition where unset.",
    )

    @model_validator(mode="after")
    def _of_one_driver(self) -> GatewaySpec:
        """As the API server's rules say it, and with the same words."""
        ssh = self.driver == "ssh"
        wrong = {
            URL_OF_SSH: ssh and not re.fullmatch(_SSH, self.url),
            URL_OF_ANOTHER: not ssh and self.url.startswith("ssh:"),
            JUMP_OF_ANOTHER: not ssh and self.jump is not None,
            TLS_OF_SSH: ssh and self.tls != Tls(),
            CERTIFICATE_OF_ARC: self.driver == "arc" and self.tls.client_secret is not None,
            SYSTEM_MISSING: self.driver == "firecrest" and self.system is None,
            ENVIRONMENT_OF_ANOTHER: self.driver != "arc" and self.runtime_environment is not None,
            DOOR_OF_ANOTHER: self.driver != "arc" and self.door_partition is not None,
        }
        for message in (message for message, is_wrong in wrong.items() if is_wrong):
            raise ValueError(message)
        return self


class Admission(Model):
    """Namespaces, and what they may charge."""

    namespaces: list[DnsLabel] = Field(
        default_factory=list, max_length=256, description="namespaces are admitted by name."
    )
    selector: dict[_LabelKey, _LabelValue] = Field(
        default_factory=dict,
        max_length=16,
        description="selector admits, beside those, the namespaces that carry all of these labels.",
        json_schema_extra=rules(
            rule("self.all(key, key.size() <= 317)", "write a label's key, which has at most 317 characters")
        ),
    )
    accounts: list[SlurmWord] = Field(
        default_factory=list,
        max_length=64,
        description="accounts are the Slurm accounts that these namespaces may charge; the first is the default. "
        "Where empty, the user's default account at the site is charged, and a TrainingJob may name none.",
    )
    qos: list[SlurmWord] = Field(
        default_factory=list,
        max_length=64,
        description="qos are the qualities of service that these namespaces may use; the first is the default. "
        "Where empty, the site's default is used, and a TrainingJob may name none.",
    )


class SiteSpec(Model):
    """Which supercomputer this is, how it is reached, and who may use it."""

    profile: DnsLabel = Field(
        description="profile names the built-in facts about this supercomputer: its nodes, partitions and network. "
        "`passerelle sites list` shows them, like lumi-g or leonardo-booster; a machine without one needs a profile of "
        "your own in the operator's image, as docs/site.md tells.",
    )
    gateway: GatewaySpec = Field(description="gateway is the door to the site: its kind, address and credentials.")
    contact: _Contact | None = Field(
        default=None,
        description="contact is an e-mail address or a URL by which the supercomputer's administrators reach whoever "
        "runs this operator. It stands, with the Site's name, in the User-Agent of each request and in SSH's greeting, "
        "and in the head of each job script.",
    )
    partition: SlurmWord | None = Field(
        default=None, description="partition is the Slurm partition to use; the profile's default where unset."
    )
    run_root: AbsolutePath = Field(
        max_length=512,
        description="runRoot is an existing directory at the site, shared by its nodes and writable for the site's "
        "user, in which each run has its directory and its logs. Choose storage that is not purged before the "
        "longest run ends.",
    )
    polling_period: Duration = Field(
        default="30s",
        description="pollingPeriod is the time between two listings of the site's jobs; 30s where unset. One look "
        "serves all jobs of the Site. It is never shorter than the machine's own least period, which its profile has.",
    )
    progress_period: Duration = Field(
        default="60s",
        description="progressPeriod is how often a running job reports its progress; 60s where unset. It is never "
        "shorter than the machine's least period either, nor, through a gateway that reads no files, than "
        "commentPeriod.",
    )
    comment_period: Duration | None = Field(
        default=None,
        description="commentPeriod is the shortest time between two comments that a running job writes into its own "
        "record: each is a request to the site's slurmctld, of every job that runs. Where unset it is what the "
        "machine's profile has, five minutes if that says nothing. Write a shorter one only if the site agrees. "
        "Through a gateway that tells no comment none is written.",
    )
    calls_per_hour: int = Field(
        default=CALLS_PER_HOUR,
        ge=60,
        le=1_000_000,
        description="callsPerHour is how many requests or commands the operator may send to the site's gateway in any "
        f"hour; {CALLS_PER_HOUR} where unset. As it runs short, progress is read more slowly, then files are moved "
        "more slowly, then looks come later, and at last nothing is submitted for a while. A cancel is never held "
        "back by it, so many cancels at its end go beyond it.",
    )
    max_jobs: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="maxJobs is the largest number of jobs that this Site has at one time, waiting ones included; "
        "no limit of ours where unset. Others stay Accepted until there is room.",
    )
    admission: list[Admission] = Field(
        default_factory=list,
        max_length=64,
        description="admission lists who may use this Site, and with which accounts. The first entry that admits a "
        "namespace counts. Where the list is empty, nobody may.",
    )
    suspend: bool = Field(
        default=False,
        description="suspend holds new submissions back, for a maintenance, say. Jobs at the site are watched as "
        "before.",
    )


class Calls(Model):
    """What the operator has sent to the gateway, for the one that starts after it."""

    last_hour: int = Field(ge=0, description="lastHour is the number of requests or commands of the last hour.")
    since: Time = Field(description="since is when the first of them was sent.")


class SiteStatus(Model):
    """The live truth about the site."""

    observed_generation: int = Field(
        default=0, ge=0, description="observedGeneration is the metadata.generation that this status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="conditions are Ready (the site answers and accepts the credential); Stalled while an "
        "administrator must act; FullyCapable, False where the gateway can't do something, with what follows from it; "
        "AccountingAvailable=False while Slurm's accounting does not answer, ListingAvailable=False while a listing of "
        "all jobs fails; CredentialLasts=False while the "
        "credential ends before live jobs may, or soon; JobsKnown=False while jobs of ours belong to no TrainingJob "
        "here; IdentityKept=False while the Site leads away from "
        "attempts that have not ended; PeriodAsWritten=False where a period of the spec is shorter than the machine's "
        "least; WithinBudget=False while something waits since callsPerHour runs short; and CallsAllowed=False while "
        "the site is spared, since it asked for patience or gave no answer again and again.",
        json_schema_extra=map_list("type"),
    )
    cluster: OptionalText = Field(
        default="", max_length=64, description="cluster is the name of the Slurm cluster that answers."
    )
    user: OptionalText = Field(default="", max_length=64, description="user is the site's user that submits.")
    version: OptionalText = Field(
        default="",
        max_length=64,
        description="version is the site's Slurm release; through UNICORE, which does not tell it, UNICORE's own.",
    )
    api_version: OptionalText = Field(
        default="", max_length=64, description="apiVersion is the version of the gateway's interface that is spoken."
    )
    credential_expiry: Time | None = Field(
        default=None, description="credentialExpiry is when the credential ends; unset where it doesn't tell."
    )
    jobs: int = Field(default=0, ge=0, description="jobs is the number of TrainingJobs with a live job at the site.")
    calls: Calls | None = Field(
        default=None,
        description="calls is what callsPerHour was used for in the last hour: an operator that starts anew goes on "
        "with it. Small changes of it are not written.",
    )
