"""Starts the object store on loopback, over TLS with an authority of its own, and knows how it is asked.

Its objects are files below its folder, so that a test can put a gigabyte there, and read what came, without S3. Who
owns the folder ends the process, by its pid; one of a sandbox carries the sandbox's mark, and goes with it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passerelle_sandbox import loopback, ports, processes, say
from passerelle_sandbox.control_plane import build, pki
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSITYGW = build.Program(
    "versitygw", "../object_store", "github.com/versity/versitygw/cmd/versitygw", "github.com/versity/versitygw"
)
REGION = "eu-sandbox-1"
PATIENCE = 20.0
_HEALTH = "/sandbox-health"
_HERE = ("IP:127.0.0.1", "DNS:localhost")


@dataclass(frozen=True)
class ObjectStore:
    """A store that runs. `secret` is what a TrainingJob's Secret holds."""

    directory: Path
    port: int
    pid: int
    access_key_id: str
    secret_access_key: str

    @property
    def objects(self) -> Path:
        """A folder in here is a bucket, a file in that an object."""
        return self.directory / "objects"

    @property
    def authority(self) -> Path:
        return self.directory / "pki" / "ca.crt"

    @property
    def url(self) -> str:
        return f"https://{loopback.ADDRESS}:{self.port}"

    def secret(self, *, url: str = "") -> dict[str, str]:
        """Keys as the AWS SDKs name their variables; `url` leads to it in another way, as through a proxy."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": url or self.url,
            "ca.crt": self.authority.read_text(encoding="utf-8"),
        }

    def digest(self, bucket: str, key: str) -> str:
        """SHA-256 of an object, as it lies there."""
        with (self.objects / bucket / key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def end(self) -> None:
        """End it; its folder stays."""
        started = processes.start_time(self.pid)
        processes.end(lambda: [self.pid] if started and processes.start_time(self.pid) == started else [])


def program() -> Path:
    """The server, built from its pinned modules once."""
    return build.build(VERSITYGW)


def start(directory: Path, env: Mapping[str, str], *, buckets: tuple[str, ...] = ()) -> ObjectStore:
    """Start a store in a folder of its own; it gets `env`, and outlives this process."""
    binary = program()
    objects = directory / "objects"
    users = directory / "users"
    users.mkdir(parents=True, exist_ok=True)
    for bucket in buckets:
        (objects / bucket).mkdir(parents=True, exist_ok=True)
    authority = pki.Authority.create(directory / "pki", "ca")
    pair = authority.sign("s3", subject="/CN=s3", usages=["serverAuth"], hosts=_HERE)
    authority.close()
    port = ports.free(1)[0]
    key_id, key = f"SANDBOX{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30)
    log = directory / "s3.log"
    words = ["--port", f"{loopback.ADDRESS}:{port}", "--region", REGION, "--health", _HEALTH, "--keep-alive", "--quiet"]
    words += ["--cert", str(pair.certificate), "--key", str(pair.key), "--iam-dir", str(users), "posix", str(objects)]
    identity = {"ROOT_ACCESS_KEY_ID": key_id, "ROOT_SECRET_ACCESS_KEY": key}
    pid = processes.spawn([str(binary), *words], log=log, env={**env, **identity})
    store = ObjectStore(directory, port, pid, key_id, key)
    try:
        _wait(store, log)
    except BaseException:
        store.end()
        raise
    return store


def _wait(store: ObjectStore, log: Path) -> None:
    context = loopback.trusting(store.authority)
    deadline = time.monotonic() + PATIENCE
    while (verdict := loopback.verdict(store.port, _HEALTH, context)) != "ok":
        processes.reap([store.pid])
        if processes.start_time(store.pid) is None:
            raise SandboxError(f"The object store ended at once:\n{say.last_words(log, say.TAIL_LINES)}")
        if time.monotonic() > deadline:
            raise SandboxError(f"The object store, after {PATIENCE:.0f} s: {verdict}; its log is {log}.")
        time.sleep(0.05)
