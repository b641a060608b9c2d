"""Keys and certificates: an authority for the cluster and another for etcd, made afresh for every sandbox.

openssl does it, with a configuration of its own: the host's adds extensions that nobody here asked for. An authority's
private key is not kept longer than it is needed to sign.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS = 30
"""A sandbox is for an afternoon; one that is left up for a month should say so."""
_TIMEOUT = 20
_CONFIGURATION = "[req]\ndistinguished_name = name\nstring_mask = utf8only\n[name]\n"


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates into one directory until it is closed."""

    directory: Path
    name: str
    pair: Pair

    @classmethod
    def create(cls, directory: Path, name: str) -> Authority:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / "openssl.cnf").write_text(_CONFIGURATION, encoding="utf-8")
        pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        _request(directory, pair, subject=f"/CN=passerelle-sandbox-{name}", extensions=extensions)
        return cls(directory, name, pair)

    def sign(self, name: str, *, subject: str, usages: Sequence[str], hosts: Sequence[str] = ()) -> Pair:
        """A new key and its certificate; hosts are as in a subjectAltName: `DNS:localhost`, `IP:127.0.0.1`."""
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            f"extendedKeyUsage={','.join(usages)}",
        ]
        if hosts:
            extensions.append(f"subjectAltName={','.join(hosts)}")
        issuer = ["-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key)]
        _request(self.directory, pair, subject=subject, extensions=extensions, issuer=issuer)
        return pair

    def close(self) -> None:
        """Forget the private key: nothing more is ever signed."""
        self.pair.key.unlink(missing_ok=True)


def signing_key(directory: Path, name: str) -> tuple[Path, Path]:
    """The private and the public half of a key that signs ServiceAccount tokens."""
    private, public = directory / f"{name}.key", directory / f"{name}.pub"
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(private))
    _openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    private.chmod(0o600)
    return private, public


def _request(
    directory: Path, pair: Pair, *, subject: str, extensions: Sequence[str], issuer: Sequence[str] = ()
) -> None:
    added = [word for extension in extensions for word in ("-addext", extension)]
    _openssl(
        *("req", "-x509", "-config", str(directory / "openssl.cnf"), "-batch", "-nodes", "-days", str(DAYS), "-sha256"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-subj", subject, *added, *issuer, "-keyout", str(pair.key), "-out", str(pair.certificate)),
    )
    pair.key.chmod(0o600)


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, text=True, timeout=_TIMEOUT, check=False, umask=0o077
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"openssl can't be run: {error}.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise SandboxError(f"openssl {arguments[0]} failed: {said[-1]}")
