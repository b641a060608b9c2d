"""Site: one supercomputer, the door to it, and who may use it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from passerelle.v1alpha1.meta import (
    ABSOLUTE_PATH,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    SLURM_WORD,
    Condition,
    Duration,
    Model,
    Time,
    map_list,
    matching,
    rule,
    rules,
)

PLURAL = "sites"

_SAFE_URL = r"^(https://[^\s?#@]+|http://(127(\.[0-9]{1,3}){3}|localhost|\[::1\])(:[0-9]{1,5})?(/[^\s?#@]*)?)$"
_SAFE_URL_HELP = (
    "write an https address: over plain http a token would be read on the way (loopback addresses excepted)"
)


def _check_url(text: str) -> str:
    if not re.fullmatch(_SAFE_URL, text):
        raise ValueError(_SAFE_URL_HELP)
    return text


_Word = Annotated[str, Field(max_length=64, pattern=SLURM_WORD)]
_LabelKey = Annotated[str, Field(max_length=317)]
"""A prefix of 253 characters, a slash, a name of 63."""
_LabelValue = Annotated[str, Field(max_length=63)]


class SecretName(Model):
    """A Secret in the operator's namespace."""

    name: str = Field(max_length=253, pattern=DNS_SUBDOMAIN, description="name is the Secret's name.")


class Tls(Model):
    """How the gateway's certificate is checked."""

    ca_secret: SecretName | None = Field(
        default=None,
        description="caSecret names a Secret in the operator's namespace that holds the certificate authority under "
        "the key ca.crt. Where unset, the system's authorities count.",
    )


class GatewaySpec(Model):
    """The door to the site."""

    driver: Literal["slurmrestd"] = Field(
        description="driver is the kind of gateway. slurmrestd is Slurm's own REST service, from release 22.05 on."
    )
    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=512,
            pattern=r"^https?://[^\s?#@]+$",
            json_schema_extra=rules(matching(_SAFE_URL, _SAFE_URL_HELP)),
        ),
        AfterValidator(_check_url),
    ] = Field(
        description="url is the gateway's base address, like https://slurm-api.example.eu. Plain http is taken for "
        "loopback addresses only, since the token travels with each request."
    )
    tls: Tls = Field(default_factory=Tls, description="tls tells how the gateway's certificate is checked.")
    credentials: SecretName = Field(
        description="credentials names a Secret in the operator's namespace with the keys username and token. It is "
        "read again whenever it changes: replace the token before it expires, and nothing needs a restart."
    )


class Admission(Model):
    """Namespaces, and what they may charge."""

    namespaces: list[Annotated[str, Field(max_length=63, pattern=DNS_LABEL)]] = Field(
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
    accounts: list[_Word] = Field(
        default_factory=list,
        max_length=64,
        description="accounts are the Slurm accounts that these namespaces may charge; the first is the default. "
        "Where empty, the user's default account at the site is charged, and a TrainingJob may name none.",
    )
    qos: list[_Word] = Field(
        default_factory=list,
        max_length=64,
        description="qos are the qualities of service that these namespaces may use; the first is the default. "
        "Where empty, the site's default is used, and a TrainingJob may name none.",
    )


class SiteSpec(Model):
    """Which supercomputer this is, how it is reached, and who may use it."""

    profile: str = Field(
        min_length=1,
        max_length=63,
        pattern=DNS_LABEL,
        description="profile names the built-in facts about this supercomputer: its nodes, partitions and network.",
    )
    gateway: GatewaySpec = Field(description="gateway is the door to the site: its kind, address and credentials.")
    partition: str | None = Field(
        default=None,
        max_length=64,
        pattern=SLURM_WORD,
        description="partition is the Slurm partition to use; the profile's default where unset.",
    )
    run_root: str = Field(
        max_length=512,
        pattern=ABSOLUTE_PATH,
        description="runRoot is an existing directory at the site, shared by its nodes and writable for the site's "
        "user, in which each run has its directory and its logs. Choose storage that is not purged before the "
        "longest run ends.",
    )
    polling_period: Duration = Field(
        default="30s",
        description="pollingPeriod is the shortest time between two listings of the site's jobs; 30s where unset. "
        "One look serves all jobs of the Site.",
    )
    progress_period: Duration = Field(
        default="60s",
        description="progressPeriod is how often a running job reports its progress; 60s where unset. "
        "Each report is a request to the scheduler: write at least 30s at a real site.",
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


class SiteStatus(Model):
    """The live truth about the site."""

    observed_generation: int = Field(
        default=0, ge=0, description="observedGeneration is the metadata.generation that this status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="conditions are Ready (the site answers and accepts the credential); Stalled while an "
        "administrator must act; and IdentityKept=False while the Site leads away from attempts that have not ended.",
        json_schema_extra=map_list("type"),
    )
    cluster: str = Field(
        default="", max_length=64, description="cluster is the name of the Slurm cluster that answers."
    )
    user: str = Field(default="", max_length=64, description="user is the site's user that submits.")
    version: str = Field(default="", max_length=64, description="version is the site's Slurm release.")
    api_version: str = Field(
        default="", max_length=64, description="apiVersion is the version of the gateway's interface that is spoken."
    )
    credential_expiry: Time | None = Field(
        default=None, description="credentialExpiry is when the credential ends; unset where it doesn't tell."
    )
    jobs: int = Field(default=0, ge=0, description="jobs is the number of TrainingJobs with a live job at the site.")
