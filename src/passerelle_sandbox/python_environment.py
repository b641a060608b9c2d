"""Makes the Python environment that everything else runs in. It runs before there is one: the standard library alone.

PYTHONPATH=src python3 -m passerelle_sandbox.python_environment .venv
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError

OLDEST_PYTHON = (3, 11)
REPOSITORY = Path(__file__).resolve().parents[2]
_APT = ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120")


def make(place: Path) -> None:
    """The environment, with this checkout and its tools in the pinned versions."""
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise SandboxError(f"python3 is {found}, and Python >= 3.11 is needed: `make PYTHON=python3.12` takes another.")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        _install_venv()
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    pinned = ["--constraint", str(REPOSITORY / "constraints.txt")]
    for title, argv in (
        (f"Python environment: {place}", [sys.executable, "-m", "venv", str(place)]),
        ("Python environment: pip", [*pip, *pinned, "--upgrade", "pip"]),
        ("Python environment: packages", [*pip, *pinned, "--editable", str(REPOSITORY), "--group", "dev"]),
    ):
        say.run_step(title, argv, log=cache.logs() / "python-environment.log", cwd=REPOSITORY)


def _install_venv() -> None:
    """Debian and Ubuntu ship Python without it."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SandboxError(f"This host lacks {package}: install it, or run make as root where there is apt-get.")
    say.line(f"This host lacks {package}: installing with apt-get.")
    log = cache.logs() / "host-tools.log"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    say.run_step("apt-get update", [*_APT, "update"], log=log, env=quiet)
    say.run_step(f"apt-get install {package}", [*_APT, "install", package], log=log, env=quiet)


def main(arguments: list[str]) -> int:
    """Make the environment of the one argument; the exit code."""
    try:
        make(Path(arguments[0]).absolute())
    except SandboxError as error:
        say.warn(f"passerelle-sandbox: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
