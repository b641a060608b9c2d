"""What apt means when it refuses: which packages a release doesn't have, or can't install today. Pure."""

from __future__ import annotations

import re

_REFUSALS = (
    re.compile(r"^E: Unable to locate package (?P<name>\S+)$", re.MULTILINE),
    re.compile(r"^E: Package '(?P<name>[^']+)' has no installation candidate$", re.MULTILINE),
    re.compile(r"^ (?P<name>[a-z0-9][a-z0-9.+-]+) : (?:Pre)?Depends: ", re.MULTILINE),
)


def refused_packages(output: str) -> list[str]:
    """The packages that apt-get named when it refused to install, in the order of the alphabet."""
    return sorted({found["name"] for refusal in _REFUSALS for found in refusal.finditer(output)})
