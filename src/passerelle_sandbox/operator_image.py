"""The operator's container image, built by podman on a base that debootstrap made: no registry is asked for anything.

The base is Debian with a Python that can make virtual environments, all that the Dockerfile asks of one. Images lie in
the sandbox's cache, apart from those of this host. Where packages come from is asked of pip itself, and lent to the
build.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

from passerelle_sandbox import cache, host, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import rootfs

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
TOOLS = {"podman": "podman", "runc": "runc"}
"""crun, which podman prefers, starts nothing where the host has both versions of cgroups."""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""podman would raise these, which root may not everywhere."""
PODMAN_SECONDS = 60.0
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_IMPORT = 'tree=$1 name=$2; shift 2; tar -C "$tree" -c . | "$@" import - "$name"'
_PIP_OPTION = re.compile(r"^(?:global|install|wheel|:env:)\.(?P<name>[\w-]+)=(?P<value>.+)$", re.MULTILINE)
_PIP_SOURCES = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout", "retries")


def podman(*words: str, timeout: float = PODMAN_SECONDS) -> subprocess.CompletedProcess[str]:
    """What podman says, of the images in the cache; the caller looks at the exit code."""
    return subprocess.run([*_podman(), *words], capture_output=True, text=True, check=False, timeout=timeout)


def build(tag: str) -> str:
    """Build the checkout's image, and return its id.

    Steps run in a chroot: a container each would need more of the host, and shows nothing more about the Dockerfile.
    """
    host.ensure_host_tools(TOOLS)
    cache.logs().mkdir(parents=True, exist_ok=True)
    settings = cache.cache_root() / "image-pip.conf"
    settings.touch(mode=0o600)  # an index may want a password
    settings.write_text(pip_settings(), encoding="utf-8")
    argv = [*_podman(), "build", "--isolation=chroot", "--network=host", "--format=docker", "--layers=false"]
    argv += ["--build-arg", f"BASE={base()}", "--secret", f"id=pip.conf,src={settings}", "--tag", tag, str(REPOSITORY)]
    try:
        say.run_step(f"podman build of {tag}", argv, log=cache.logs() / "podman-build.log")
    finally:
        settings.unlink()
    podman("image", "prune", "--force")  # what had the tag before
    found = podman("image", "inspect", "--format={{.Id}}", tag)
    if found.returncode != 0:
        raise SandboxError(f"podman built {tag} and doesn't find it: {found.stderr.strip()}")
    return found.stdout.strip()


def base() -> str:
    """The base image's name, made and imported where it is missing."""
    root = cache.build_once(f"image-base/{SUITE}", _debian) / "root"
    name = f"localhost/passerelle-base:{SUITE}"
    if podman("image", "exists", name).returncode != 0:
        say.run_step(
            f"podman import of {name}",
            ["bash", "-o", "pipefail", "-c", _IMPORT, "bash", str(root), name, *_podman()],
            log=cache.logs() / "podman-import.log",
        )
    return name


def pip_settings() -> str:
    """How pip on this host finds packages, as one pip.conf for the base, which has this host's authorities."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    found = {each["name"]: str(ast.literal_eval(each["value"])) for each in _PIP_OPTION.finditer(told)}
    lines = [f"{name} = {found[name].replace(chr(10), ' ')}" for name in _PIP_SOURCES if name in found]
    return "\n".join(["[global]", f"cert = {AUTHORITIES}", *lines, ""])


def _podman() -> list[str]:
    """The command, with a store of our own."""
    home = cache.cache_root() / "podman"
    return ["podman", "--runtime=runc", "--root", str(home / "images"), "--runroot", str(home / "run")]


def _debian(place: Path) -> None:
    root = place / "root"
    root.mkdir(mode=0o755)
    rootfs.debian(f"Debian {SUITE} with Python, the image's base", root, SUITE, PACKAGES, "")
    shutil.copyfile(AUTHORITIES, root / AUTHORITIES.lstrip("/"))  # a mirror's own authority is in no distribution
