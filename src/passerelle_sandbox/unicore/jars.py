"""The server's jars, fetched once by Maven; the pom beside this file pins the version."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from passerelle_sandbox import cache, host, say
from passerelle_sandbox.errors import SandboxError

TOOLS = {"java": "openjdk-17-jre-headless", "mvn": "maven"}
"""Command -> Debian's package."""
_POM = Path(__file__).with_name("pom.xml")
_COPY = "dependency:copy-dependencies"


def version() -> str:
    """UNICORE/X's."""
    found = re.search(r"<artifactId>uas-core</artifactId>\s*<version>([^<]+)<", _POM.read_text(encoding="utf-8"))
    if found is None:
        raise SandboxError(f"{_POM} names no version of uas-core.")
    return found[1]


def jars() -> Path:
    """The directory of all jars."""
    host.ensure_host_tools(TOOLS)
    return cache.build_once(f"unicore/unicorex-{version()}", _fetch)


def _fetch(place: Path) -> None:
    """Maven's own repository is a passing one: nothing is left outside the cache, and no jar is kept twice."""
    log = cache.logs() / "unicorex.log"
    with tempfile.TemporaryDirectory() as repository:
        argv = ["mvn", "--batch-mode", f"--file={_POM}", f"-Dmaven.repo.local={repository}"]
        argv += [_COPY, f"-DoutputDirectory={place}"]
        say.run_step(f"fetching UNICORE/X {version()} and what it needs with Maven", argv, log=log, cwd=place)
    if not any(place.glob("uas-core-*.jar")):
        raise SandboxError(f"Maven brought no uas-core: its words are in {log}.")
