"""Who we are at an object store: what the Secret of a `secretRef` holds, under the names of the AWS SDKs' variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.errors import Invalid, Unauthorized
from passerelle.gateways.secret import the_secret

KEY_ID, SECRET_KEY, SESSION_TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
REGION, ENDPOINT, AUTHORITY = "AWS_REGION", "AWS_ENDPOINT_URL", "ca.crt"
DEFAULT_REGION = "us-east-1"
"""Where none is told: AWS's own default, and a word that other servers don't look at."""

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ENDPOINT = re.compile(
    rf"https://{_LABEL}(\.{_LABEL})*(:(?P<port>[0-9]{{1,5}}))?(/[A-Za-z0-9._~/-]*)?"
    r"|http://(127(\.[0-9]{1,3}){3}|localhost|\[::1\])(:(?P<local>[0-9]{1,5}))?/?"
)
_LAST_PORT = 65_535
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_VISIBLE = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An identity at a store, and where that is: `endpoint` "" means AWS. `authority` is PEM, beside the system's;
    `kept`, the Secret's namespace/name.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    region: str = DEFAULT_REGION
    endpoint: str = ""
    authority: bytes | None = field(default=None, repr=False)
    kept: str = field(default="", compare=False)

    @property
    def place(self) -> str:
        """Where it is written, in a sentence."""
        return the_secret(self.kept)


def access(name: str, data: Mapping[str, bytes]) -> Access:
    """What the Secret of this namespace/name says. Raises Unauthorized for what is missing, Invalid for an address."""
    words = {each: _text(name, data, each) for each in (KEY_ID, SECRET_KEY, SESSION_TOKEN, REGION, ENDPOINT)}
    missing = [each for each in (KEY_ID, SECRET_KEY) if not words[each]]
    if missing:
        text = f"The Secret {name} has no {' and no '.join(missing)}; write them as the AWS SDKs name them."
        raise Unauthorized(text, reason="SecretIncomplete")
    if words[ENDPOINT] and not _is_endpoint(words[ENDPOINT]):
        text = f"The Secret {name} has an {ENDPOINT} that can't be used; write https://HOST[:PORT], without a bucket."
        raise Invalid(text, reason="InvalidEndpoint")
    if words[REGION] and not _REGION.fullmatch(words[REGION]):
        raise Invalid(
            f"The Secret {name} has an {REGION} that is none; write one like eu-west-1.", reason="InvalidRegion"
        )
    return Access(
        access_key_id=words[KEY_ID],
        secret_access_key=words[SECRET_KEY],
        session_token=words[SESSION_TOKEN],
        region=words[REGION] or DEFAULT_REGION,
        endpoint=words[ENDPOINT],
        authority=data.get(AUTHORITY) or None,
        kept=name,
    )


def _is_endpoint(url: str) -> bool:
    found = _ENDPOINT.fullmatch(url)
    port = found and next(filter(None, found.group("port", "local")), "443")
    return bool(port) and 0 < int(str(port)) <= _LAST_PORT


def _text(name: str, data: Mapping[str, bytes], key: str) -> str:
    """A key's text, "" where it is missing. A newline at its end is kubectl's or an editor's."""
    try:
        text = data.get(key, b"").decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\n"
    if text and not _VISIBLE.fullmatch(text):
        raise Unauthorized(
            f"The Secret {name} has spaces or other unusual characters in {key}.", reason="SecretMalformed"
        )
    return text
