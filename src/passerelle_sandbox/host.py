"""What the host lacks is named in one line, and then installed by apt-get; nothing that is there is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS = {
    "debootstrap": "debootstrap",  # makes the root file systems
    "openssl": "openssl",  # makes the keys and certificates
    "shellcheck": "shellcheck",  # reads the golden scripts
    "unshare": "util-linux",  # enters the site
    "mount": "mount",
}
"""Command -> the package of Debian and Ubuntu that brings it."""
FILES = {
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",  # Ubuntu has it as a package only
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120"]


def ensure_host_tools(more: Mapping[str, str] | None = None) -> None:
    """Install what is missing, or say in one sentence why that can't be done; `more` commands are some tests' own."""
    packages = missing_packages(more)
    if os.geteuid() != 0:
        raise SandboxError("The sandbox mounts file systems and makes namespaces: run it as root.")
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise SandboxError(
            f"This host lacks {', '.join(packages)}, and has no apt-get: the sandbox knows Debian and Ubuntu."
        )
    say.line(f"This host lacks {', '.join(packages)}: installing with apt-get.")
    log = cache.logs() / "host-tools.log"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    say.run_step("apt-get update", [*_APT, "update"], log=log, env=quiet)
    install = [*_APT, "install", "--no-install-recommends", *packages]
    say.run_step(f"apt-get install {' '.join(packages)}", install, log=log, env=quiet)
    if still := missing_packages(more):
        raise SandboxError(f"apt-get installed {', '.join(still)}, yet what they bring isn't found on PATH.")


def missing_packages(more: Mapping[str, str] | None = None) -> list[str]:
    """The packages without which the sandbox can't work on this host, in a stable order."""
    path = os.pathsep.join([os.environ.get("PATH", ""), _PATH])
    wanted = COMMANDS | dict(more or {})
    lacking = {package for command, package in wanted.items() if shutil.which(command, path=path) is None}
    lacking |= {package for file, package in FILES.items() if not Path(file).exists()}
    return sorted(lacking)
