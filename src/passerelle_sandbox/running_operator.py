"""The operator of a sandbox as any process sees it: where it listens, what it writes, whether it is healthy.

A sandbox's directory remembers the operator that was started last, so that one which has ended is missed. Whether it
lives is what it says itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from passerelle_sandbox import loopback

LOG = "operator.log"
_FILE = "operator.json"


@dataclass(frozen=True)
class Operator:
    """An operator that was started."""

    port: int
    log: Path

    @property
    def metrics_url(self) -> str:
        return f"http://{loopback.ADDRESS}:{self.port}/metrics"

    def health(self) -> dict[str, str]:
        """Its one component: "ok" or what is wrong."""
        return {"passerelle": self.readiness()}

    def readiness(self) -> str:
        """In a few words: "ok", or what is wrong."""
        return loopback.verdict(self.port, "/readyz")

    def metrics(self) -> str:
        """What Prometheus would read."""
        return loopback.get(self.port, "/metrics")[1]

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def remember(self, directory: Path) -> None:
        """As the one that was started last for the sandbox of a directory."""
        draft = directory / f"{_FILE}.new"
        draft.write_text(json.dumps({"port": self.port, "log": str(self.log)}), encoding="utf-8")
        draft.replace(directory / _FILE)


def load(directory: Path) -> Operator | None:
    """The operator that was started last for the sandbox of a directory; None where none was."""
    try:
        kept = json.loads((directory / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Operator(kept["port"], Path(kept["log"]))
