"""Which object stores the operator talks to: a Secret or a gateway names one, and an administrator may say which it may
be.

The operator stands where a tenant does not, within the cluster's network and beside its own processes. So no Secret
alone sends it to its own host in the clear; and where hosts are told, it goes to no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from passerelle.errors import Invalid
from passerelle.staging.s3.address import address
from passerelle.staging.s3.client import S3
from passerelle.staging.s3.credential import ENDPOINT, Access
from passerelle.staging.s3.presigned import Presigned, origin


@dataclass(frozen=True, slots=True)
class Allowed:
    """`hosts` are names, `*.DOMAIN` for all below it; none means any host over https. `loopback`: plain http to the
    operator's own host, too, as a sandbox has it.
    """

    hosts: tuple[str, ...] = ()
    loopback: bool = False

    def store(self, bucket: str, access: Access) -> S3:
        """The bucket. Raises Invalid where its store is not allowed."""
        where = urlsplit(address(bucket, endpoint=access.endpoint, region=access.region).base)
        host = where.hostname or ""
        if where.scheme != "https" and not self.loopback:
            text = (
                f"The {ENDPOINT} in {access.place} is without TLS, which would show all to everyone on the way: write "
                "https."
            )
            raise Invalid(text, reason="InvalidEndpoint")
        at_aws = host.removeprefix(f"{bucket.lower()}.") if not access.endpoint else host
        if self.hosts and not any(_fits(at_aws, each) for each in self.hosts):
            text = (
                f"The object store of {access.place} is at {at_aws}, and the administrator of the operator allows "
                f"{', '.join(self.hosts)} alone; write such an {ENDPOINT} there, or have the host added to the chart's "
                "value objectStoreHosts."
            )
            raise Invalid(text, reason="EndpointNotAllowed")
        return S3(bucket, access)

    def presigned(self, url: str, authority: bytes | None) -> Presigned:
        """The object store that a gateway leads us to: no gateway alone sends us anywhere either. Raises Invalid where
        it is not allowed.
        """
        where = urlsplit(origin(url))
        host = where.hostname or ""
        if where.scheme != "https" and not self.loopback:
            text = (
                f"The gateway's object store {host} is without TLS, which would show all to everyone on the way; ask "
                "the site for one with TLS, or copy large files by hand."
            )
            raise Invalid(text, reason="InvalidEndpoint")
        if self.hosts and not any(_fits(host, each) for each in self.hosts):
            text = (
                f"The gateway carries large files by an object store at {host}, and the administrator of the operator "
                f"allows {', '.join(self.hosts)} alone; have the host added to the chart's value objectStoreHosts."
            )
            raise Invalid(text, reason="EndpointNotAllowed")
        return Presigned(url, authority)


ALLOWED = Allowed()
"""Where no administrator says otherwise."""


def _fits(host: str, allowed: str) -> bool:
    name = allowed.lower()
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
