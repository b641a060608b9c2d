"""A real kube-apiserver with the CRDs as they are checked in. No site, no operator: what is tested is the API."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from passerelle_sandbox import deploy, sandbox
from passerelle_sandbox.sandbox import Sandbox

DISCOVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Api:
    """kubectl against the API server."""

    sandbox: Sandbox

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.sandbox.kubectl_run(*words, stdin=stdin)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """What kubectl prints; it must succeed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def accepts(self, verb: str, manifest: dict[str, Any]) -> None:
        self.kubectl(verb, "-f", "-", stdin=json.dumps(manifest))

    def refuses(self, verb: str, manifest: dict[str, Any]) -> str:
        """The words of the refusal. Only tried: where it is taken after all, the next case still starts clean."""
        done = self.run(verb, "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
        assert done.returncode != 0, f"{verb} was taken: {manifest['spec']}"
        return done.stderr


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    made = sandbox.up(f"api-{secrets.token_hex(3)}", slurm=())
    try:
        deploy.install_crds(made)
        api = Api(made)
        deadline = time.monotonic() + DISCOVERY_SECONDS
        # Established comes before the discovery that has the short names, and before the schema that explain shows.
        while any(api.run(verb, name).returncode != 0 for verb in ("get", "explain") for name in ("tj", "hpcsites")):
            assert time.monotonic() < deadline, "the kinds never came to be known"
            time.sleep(0.2)
        yield api
    finally:
        made.down()
