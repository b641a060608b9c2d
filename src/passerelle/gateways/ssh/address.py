"""Where a login node listens: `ssh://HOST[:PORT]`, and nothing else that an address may have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.errors import Invalid

DEFAULT_PORT = 22
_LAST_PORT = 65535
_ADDRESS = re.compile(
    r"ssh://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*))(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host by name or number, and a port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(url: str) -> Address:
    """The address in a URL, or Invalid with what to write instead."""
    found = _ADDRESS.fullmatch(url)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 1 <= port <= _LAST_PORT:
        text = "The login node's address must be ssh://HOST[:PORT]; the user's name belongs into the Secret."
        raise Invalid(text, reason="InvalidUrl")
    return Address(found["v6"] or found["host"], port)
