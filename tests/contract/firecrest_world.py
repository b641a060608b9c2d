"""A real Slurm of the sandbox behind FirecREST: the fake one of tests/firecrest, or, where the environment names one, a
real one that reaches a site of the sandbox by SSH. tests/README.md names the variables.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlsplit

from contract.slurm_world import MIN_JOB_AGE, SiteWorld
from firecrest.fake import Fake
from firecrest.issuer import CLIENT, SECRET
from firecrest.login_node import Done, TimeIsUp
from passerelle.errors import Unavailable
from passerelle.gateways.base import Accounting, Credential, Files, Handover, Info, Upload
from passerelle.gateways.firecrest.credential import FirecrestCredential, credential_from_secret
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import serve
from passerelle_sandbox.site.serve import Site

SYSTEM = "sandbox"
COMMAND_SECONDS = 5.0
"""FirecREST's default."""

LOGIN = "export LEAKED='of the login shell' SBATCH_COMMENT=leaked"
"""What a login shell has, and no job may get."""

SETTING = "PASSERELLE_FIRECREST_"


class FirecrestWorld(SiteWorld):
    """`fake` is None where a real server is asked."""

    capabilities = frozenset({Accounting, Files, Handover, Info, Upload})
    silent = Firecrest.traits.silent | {"state_reason"}
    forgets = False
    refusals = MappingProxyType({"garbage": "TokenRefused", "wrong user": "UserMismatch"})
    accounting_apart = False
    cut_codes = True
    strange = frozenset({"LEAKED", "SBATCH_COMMENT", "F7T_version"})
    driver = "firecrest"
    api_version = "v2"
    awkward = " so $(x) %41?#&;é日"
    credential: FirecrestCredential

    def __init__(self, name: str, release: str, site: Site, live: Mapping[str, str] = MappingProxyType({})) -> None:
        self.fake = None if live else Fake(SYSTEM, SiteShell(site), site.user)
        self.live = live
        super().__init__(name, release, site)
        self.cluster = live.get("SYSTEM", SYSTEM).lower()

    @classmethod
    def start(cls, name: str, release: str, directory: Path, env: dict[str, str]) -> Self:
        """A site of its own: other doors' rows leave jobs there whose names FirecREST's lists do not survive."""
        live = {key.removeprefix(SETTING): value for key, value in env.items() if key.startswith(SETTING)}
        if live:
            return cls(name, release, serve.load(Path(live["SITE"])), live)
        site = serve.start(
            directory, env, release=release, nodes=cls.nodes, gpus=cls.gpus_per_node, min_job_age=MIN_JOB_AGE
        )
        return cls(name, release, site)

    def open(self) -> Firecrest:
        url = self.fake.url if self.fake else self.live["URL"]
        return Firecrest(url, self.cluster, lambda: self.credential, settle_seconds=5.0)

    def port(self) -> int | None:
        """Of the fake, which gives the tokens, too."""
        return urlsplit(self.fake.url).port if self.fake else None

    def open_at(self, port: int) -> Firecrest:
        assert self.fake is not None

        def there(url: str) -> str:
            return url.replace(f":{self.port()}/", f":{port}/")

        secret = self._secret()
        client = credential_from_secret(
            "ns/contract", secret | {"token-url": there(secret["token-url"].decode()).encode()}
        )
        return Firecrest(there(self.fake.url), self.cluster, lambda: client)

    def good(self) -> FirecrestCredential:
        return credential_from_secret("ns/contract", self._secret())

    def expired(self) -> FirecrestCredential:
        """One whose end our own code doesn't know of, so that FirecREST must find it out."""
        return FirecrestCredential(user=self.user, token=self.fake.issuer.token(1) if self.fake else _ended())

    def garbage(self) -> FirecrestCredential:
        return FirecrestCredential(user=self.user, token="garbage")

    def of_another(self) -> FirecrestCredential:
        return credential_from_secret("ns/contract", self._secret() | {"username": b"root"})

    def also_good(self) -> list[Credential]:
        """The client in its other way; and a token as it is."""
        basic = credential_from_secret("ns/contract", self._secret() | {"client-auth": b"basic"})
        return [basic, FirecrestCredential(user=self.user, token=self.fake.issuer.token(60))] if self.fake else [basic]

    async def clear(self) -> None:
        """Names that break lists go first, and accounting must have heard of it."""
        listed = await self._run("squeue", "--noheader", "--format=%i", f"--user={self.user}")
        for job_id in listed.split():
            words = ["scontrol", "update", f"JobId={job_id}", "JobName=cleared"]
            done = await asyncio.to_thread(self.site.run, words, None)
            assert done.returncode == 0 or "already finished" in done.stderr, f"{words}: {done.stderr}"
        await super().clear()
        door = self.door()

        async def healed() -> bool:
            try:
                await door.find()
            except Unavailable:
                return False
            return True

        await self.until(healed, "a list, once the names are gone")

    def end(self) -> None:
        if self.fake is None:
            return
        self.fake.end()
        self.site.end()
        assert self.fake.violations == [], "a request is not in FirecREST's interface"

    def _secret(self) -> dict[str, bytes]:
        if self.fake:
            told = {"client-id": CLIENT, "client-secret": SECRET, "token-url": self.fake.token_url}
        else:
            keys = {"client-id": "CLIENT_ID", "client-secret": "CLIENT_SECRET", "token-url": "TOKEN_URL"}
            told = {key: self.live[name] for key, name in keys.items()}
        return {key: value.encode() for key, value in told.items()}


class SiteShell:
    """The site's login node: a command line of a user, in a login shell, for so many seconds."""

    def __init__(self, site: Site, seconds: float = COMMAND_SECONDS) -> None:
        self._site = site
        self._seconds = seconds

    def __call__(self, command: str, user: str, stdin: bytes | None = None) -> Done:
        given = f"/tmp/.stdin-{secrets.token_hex(8)}"  # noqa: S108 -- the site's
        there = self._site.namespace.path(given)
        there.write_bytes(stdin or b"")
        there.chmod(0o644)
        line = f"{LOGIN}; cd ~ 2> /dev/null; {{ {command}; }} < {shlex.quote(given)}"
        try:
            done = self._site.run(["bash", "-c", line], user, self._seconds)
        except SandboxError:
            raise TimeIsUp from None
        finally:
            there.unlink(missing_ok=True)
        return Done(done.returncode, done.stdout, done.stderr)


def _ended() -> str:
    """A token of nobody's, that has ended: a real server says so, or that it does not know the key."""
    claims: dict[str, Any] = {"preferred_username": "startup", "exp": int(time.time()) - 60}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, claims)
    ]
    return ".".join([*parts, "c2ln"])
