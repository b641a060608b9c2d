"""The programs of the control plane, of exactly the versions that the go.mod files beside this one pin.

Each is looked for first where `KUBEBUILDER_ASSETS` points, else built once from Go modules into the cache, stamped with
its version as a release is: kube-apiserver derives from it what it serves, kubectl and Helm what they warn about.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache, say
from passerelle_sandbox.control_plane import toolchain
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passerelle_sandbox.control_plane.toolchain import Go

ASSETS = "KUBEBUILDER_ASSETS"
_HERE = Path(__file__).parent
_TIMEOUT = 60
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?\S*")


@dataclass(frozen=True)
class Program:
    """One program: where its go.mod lies, which package it is, and which module's version is its own."""

    name: str
    folder: str
    package: str
    module: str
    stamps: Mapping[str, str] = field(default_factory=dict)
    """Go variable -> value, in which {version}, {minor}, {date} and {client_minor} stand for what go.mod says."""

    @property
    def source(self) -> Path:
        return (_HERE / self.folder).resolve()

    @property
    def version(self) -> str:
        return pinned(self.source / "go.mod", self.module)


def _kubernetes(name: str) -> Program:
    facts = {
        "gitVersion": "{version}",
        "gitMajor": "1",
        "gitMinor": "{minor}",
        "gitCommit": "",
        "gitTreeState": "archive",
        "buildDate": "{date}",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = {f"{package}.{key}": value for package in packages for key, value in facts.items()}
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes", stamps)


ETCD = Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3")
APISERVER = _kubernetes("kube-apiserver")
CONTROLLER_MANAGER = _kubernetes("kube-controller-manager")
KUBECTL = _kubernetes("kubectl")
HELM = Program(
    "helm",
    "helm",
    "helm.sh/helm/v3/cmd/helm",
    "helm.sh/helm/v3",
    {
        "helm.sh/helm/v3/internal/version.version": "{version}",
        "helm.sh/helm/v3/internal/version.metadata": "",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": "1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": "{client_minor}",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor": "1",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": "{client_minor}",
    },
)


@dataclass(frozen=True)
class Programs:
    """The paths of all that a control plane needs, and of the client that goes with it."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


def programs() -> Programs:
    """Find or build everything; the first time this takes minutes."""
    return Programs(
        etcd=_asset(ETCD) or build(ETCD),
        apiserver=_asset(APISERVER) or build(APISERVER),
        controller_manager=_asset(CONTROLLER_MANAGER) or build(CONTROLLER_MANAGER),
        kubectl=kubectl(),
    )


def kubectl() -> Path:
    """A kubectl that the API server's version allows (within one minor version), else one that is built."""
    on_path = shutil.which("kubectl")
    candidates = [path for path in (_asset(KUBECTL), Path(on_path) if on_path else None) if path]
    server = parse_version(APISERVER.version)
    for candidate in candidates:
        mine = kubectl_version(candidate)
        if mine and mine[0] == server[0] and abs(mine[1] - server[1]) <= 1:
            return candidate
    return build(KUBECTL)


def helm() -> Path:
    """Helm 3, found on PATH or built; nothing but the chart's tests needs it."""
    found = shutil.which("helm")
    if found and _says(Path(found), "version", "--short").startswith("v3."):
        return Path(found)
    return build(HELM)


def build(program: Program) -> Path:
    """The program as built from its pinned modules, once."""
    name = f"go/{program.name}-{program.version}"

    def compile_into(place: Path) -> None:
        go = toolchain.find(program.source)
        log = cache.logs() / f"build-{program.name}.log"
        arguments = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
        arguments += ["-ldflags", _linker_flags(program, go), "-o", str(place / program.name), program.package]
        env = {**go.environment, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
        say.run_step(
            f"building {program.name} {program.version} from Go modules",
            go.command(*arguments, paths=[program.source, place]),
            log=log,
            cwd=program.source,
            env=env,
        )

    return cache.build_once(name, compile_into) / program.name


def pinned(go_mod: Path, module: str) -> str:
    """The version of a module in a go.mod."""
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", go_mod.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SandboxError(f"{go_mod} doesn't require {module}.")
    return found[1]


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of a version like v1.36.3; (0, 0) where it is none."""
    found = _VERSION.fullmatch(text.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def kubectl_version(path: Path) -> tuple[int, int] | None:
    """What a kubectl says that it is, asked without a server."""
    try:
        said = json.loads(_says(path, "version", "--client", "-o", "json"))["clientVersion"]["gitVersion"]
    except (ValueError, KeyError, TypeError):
        return None
    return parse_version(str(said))


def _asset(program: Program) -> Path | None:
    """The program in KUBEBUILDER_ASSETS, if it is of the minor version that is pinned here."""
    folder = os.environ.get(ASSETS)
    if not folder or not (path := Path(folder).absolute() / program.name).is_file():
        return None
    if program is KUBECTL:
        return path
    found = re.search(r"\bv?(\d+\.\d+\.\d+)", _says(path, "--version"))
    if found and parse_version(found[1]) == parse_version(program.version):
        return path
    say.line(f"{path} isn't {program.name} {program.version} or near it: not used.")
    return None


def _linker_flags(program: Program, go: Go) -> str:
    facts = {
        "version": program.version,
        "minor": str(parse_version(program.version)[1]),
        "client_minor": "",
        "date": "",
    }
    if program is HELM:
        facts["client_minor"] = str(parse_version(pinned(program.source / "go.mod", "k8s.io/client-go"))[1])
    else:
        date = '{{.Time.UTC.Format "2006-01-02T15:04:05Z"}}'
        facts["date"] = go.says("list", "-mod=readonly", "-m", "-f", date, program.module, cwd=program.source)
    stamps = [f"-X '{variable}={value.format(**facts)}'" for variable, value in program.stamps.items()]
    return " ".join(["-s", "-w", *stamps])


def _says(program: Path, *arguments: str) -> str:
    """What a short command prints; empty where it fails."""
    try:
        done = subprocess.run([str(program), *arguments], capture_output=True, check=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
