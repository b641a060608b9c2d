"""How a site's administrator sees that it is us who call, of which Site, and whom to write to. Pure.

The words were checked where they entered. This is the last fence: one that could end a header, or a comment in it, is
left out.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

VERSION = importlib.metadata.version("passerelle")

_LONGEST_BANNER = 245
"""Characters of SSH's version line, without its beginning (RFC 4253, 4.2)."""
_PLAIN = re.compile(r"[!#-&*-:<-\[\]-~]{1,253}")
"""No space, quote, parenthesis, semicolon or backslash."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The Site in whose name a call is made, and whom its operator may be reached by; each "" where there is none."""

    site: str = ""
    contact: str = ""

    @property
    def agent(self) -> str:
        """User-Agent of an HTTP request (RFC 9110, 10.1.5)."""
        about = "; ".join(self._about())
        return f"passerelle/{VERSION}" + (f" ({about})" if about else "")

    @property
    def banner(self) -> str:
        """What follows `SSH-2.0-`: the software without a hyphen, then its comments; the last that has no room is left
        out.
        """
        line = f"passerelle_{VERSION.replace('-', '_')}"
        for word in self._about():
            line = f"{line} {word}" if len(line) + 1 + len(word) <= _LONGEST_BANNER else line
        return line

    def _about(self) -> list[str]:
        words = (("site", self.site), ("contact", self.contact))
        return [f"{name} {word}" for name, word in words if _PLAIN.fullmatch(word)]


NOBODY = Caller()
