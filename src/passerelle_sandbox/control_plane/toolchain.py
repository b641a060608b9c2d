"""Go, wherever it comes from: this host's where it is new enough, else Debian sid's in a root file system of its own.

Any Go from 1.21 on becomes the version that a go.mod wants. Where modules come from is Go's own configuration, its
variables and its file, in both cases; a Go in a root file system is lent what these name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.rootfs import debian

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OLDEST_GO = (1, 21)
"""The first Go that fetches the toolchain which a go.mod asks for."""
SUITE = "sid"
_PACKAGES = ("golang-go", "ca-certificates")
_TIMEOUT = 60
_RESOLVING = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Go:
    """A Go: the words that come before its arguments, and what it needs in its environment.

    One in a root file system sees, of this host, the paths in `lent` and those that a command names.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    lent: tuple[str, ...] = ()

    def command(self, *arguments: str, paths: Iterable[Path] = ()) -> list[str]:
        """The argument vector of `go ...`; `paths` are what it reads and writes."""
        if not self.lent:
            return [*self.words, *arguments]
        return [*self.words, *self.lent, *map(str, paths), "--", "go", *arguments]

    def says(self, *arguments: str, cwd: Path) -> str:
        """What a short `go ...` prints in a folder; empty where it fails."""
        try:
            done = subprocess.run(
                self.command(*arguments, paths=[cwd]),
                capture_output=True,
                check=True,
                cwd=cwd,
                env={**os.environ, **self.environment},
                text=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()


def find(source: Path) -> Go:
    """A Go that can build the module in a folder."""
    wanted = go_directive(source / "go.mod")
    found = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"]))
    if found is not None:
        go = Go((found,))
        if (version := parse(go.says("version", cwd=Path("/")))) >= OLDEST_GO:
            return _becoming(wanted, go, version, source)
    go = _of_debian()
    version = parse(go.says("version", cwd=source))
    if version < OLDEST_GO:
        raise SandboxError(f"The Go of Debian {SUITE} doesn't run: {_way_round()}")
    return _becoming(wanted, go, version, source)


def go_directive(go_mod: Path) -> tuple[int, int]:
    """The version in the line `go 1.26.0`."""
    found = re.search(r"^go (\d+)\.(\d+)", go_mod.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SandboxError(f"{go_mod} has no go line.")
    return int(found[1]), int(found[2])


def parse(said: str) -> tuple[int, int]:
    """Major and minor of what `go version` prints; (0, 0) where it says nothing of the kind."""
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def lent_paths(environment: Mapping[str, str]) -> list[str]:
    """The files and folders of this host that Go's variables, and those of its HTTP client, name.

    A folder comes before what may lie in it.
    """
    home = environment.get("HOME") or "/"
    settings = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    named = [
        tempfile.gettempdir(),
        *_RESOLVING,
        *environment.get("SSL_CERT_DIR", "").split(":"),
        environment.get("SSL_CERT_FILE") or _AUTHORITIES,
        environment.get("GOENV") or f"{settings}/go/env",
        environment.get("NETRC") or f"{home}/.netrc",
    ]
    return [path for path in dict.fromkeys(named) if path.startswith("/") and Path(path).exists()]


def _becoming(wanted: tuple[int, int], go: Go, version: tuple[int, int], source: Path) -> Go:
    """The same Go, told to fetch the toolchain that is wanted where it is older."""
    if version >= wanted:
        return go
    newer = Go(go.words, {**go.environment, "GOTOOLCHAIN": "auto"}, go.lent)
    say.run_step(
        "Go's toolchain, as go.mod wants it",
        newer.command("version", paths=[source]),
        log=cache.logs() / "go-toolchain.log",
        cwd=source,
        env=newer.environment,
    )
    return newer


def _of_debian() -> Go:
    kept = cache.build_once(f"go-toolchain/{SUITE}", _install)
    modules = _folder("GOMODCACHE", "go-modules")
    compiled = _folder("GOCACHE", "go-build")
    script = str(Path(__file__).with_name("go.sh"))
    return Go(
        words=("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", script, str(kept)),
        environment={"GOROOT": "", "GOMODCACHE": str(modules), "GOCACHE": str(compiled)},
        lent=(*lent_paths(os.environ), str(modules), str(compiled)),
    )


def _folder(variable: str, ours: str) -> Path:
    """Where Go keeps something, by its own variable, or else in the cache."""
    folder = Path(os.environ.get(variable) or cache.cache_root() / ours)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(place: Path) -> None:
    say.line(f"No Go >= {'.'.join(map(str, OLDEST_GO))} is on PATH: Debian {SUITE}'s builds the control plane.")
    for folder in ("root", "view"):
        (place / folder).mkdir(mode=0o755)
    try:
        debian(f"Debian {SUITE} with Go", place / "root", SUITE, _PACKAGES, "")
    except SandboxError as error:
        raise SandboxError(f"{error} The way round: {_way_round()}") from error


def _way_round() -> str:
    return (
        f"install Go >= {'.'.join(map(str, OLDEST_GO))}, or point KUBEBUILDER_ASSETS at etcd, kube-apiserver and "
        f"kube-controller-manager."
    )
