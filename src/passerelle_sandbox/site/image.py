"""The trainers' images: CPU PyTorch from Debian trixie as a SIF, built once; and a second one with more frameworks.

Debian's PyTorch, because it comes from the same mirror as everything else. It speaks gloo and has no libuv. The trainer
itself is in neither: it travels with the job. The second image is for tests of the launchers alone: what is in no
Debian comes from PyPI, pinned, for Debian's Python. DeepSpeed compiles an operator when it starts: hence the compiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.rootfs import debian, has_apptainer, package_versions, rootfs

SUITE = "trixie"
_PYTHON = "3.13"
"""Debian trixie's; wheels are taken for it."""
_PACKAGES = ("python3-torch", "python-is-python3")
_FRAMEWORK_PACKAGES = (
    *("g++", "libtorch-dev", "ninja-build", "pybind11-dev", "python3-dev", "python3-setuptools"),
    *("libmpich12", "mpich"),
    *("python3-filelock", "python3-fsspec", "python3-numpy", "python3-packaging", "python3-psutil", "python3-pydantic"),
    *("python3-requests", "python3-scipy", "python3-tqdm", "python3-yaml"),
)
_WHEELS = (
    *("accelerate==1.15.0", "deepspeed==0.19.8", "jax==0.12.0.1", "jaxlib==0.12.0.1", "mpi4py==4.1.2"),
    *("einops==0.8.2", "hjson==3.1.0", "huggingface_hub==0.36.2", "ml_dtypes==0.6.0", "msgpack==1.2.4"),
    *("opt_einsum==3.4.0", "py-cpuinfo==9.0.0", "safetensors==0.8.0"),
)
"""With what they need beyond Debian's packages; pip is kept from looking for more, and so from PyPI's PyTorch."""
_SOURCES = ("deepspeed",)
"""On PyPI as source alone."""
_ACCELERATE = '#!/bin/sh\nexec python3 -m accelerate.commands.accelerate_cli "$@"\n'
"""The command: pip would write this machine's Python into it."""
_LIBRARY = f"usr/local/lib/python{_PYTHON}/dist-packages"


def trainer_image() -> Path:
    """The SIF, named after the version of PyTorch in it."""
    return _only_sif(cache.build_once("trainer-image", lambda place: _build("PyTorch", place, _PACKAGES)))


def frameworks_image() -> Path:
    """The SIF with Accelerate, DeepSpeed, JAX and mpi4py beside PyTorch."""
    packages = _PACKAGES + _FRAMEWORK_PACKAGES
    return _only_sif(
        cache.build_once("frameworks-image", lambda place: _build("frameworks", place, packages, _add_wheels))
    )


def _only_sif(kept: Path) -> Path:
    (found,) = kept.glob("*.sif")
    return found


def _build(
    what: str, place: Path, packages: tuple[str, ...], add: Callable[[Path, Path], None] = lambda *_: None
) -> None:
    tools = rootfs("sid")
    if not has_apptainer(tools):
        raise SandboxError(f"The image with {what} is made by Apptainer, and {tools} has none: remove it to try again.")
    tree = place / "tree"
    tree.mkdir()
    debian(f"Debian trixie with {what}", tree, SUITE, packages, "")
    add(place, tree)
    version = package_versions(tree, _PACKAGES)["python3-torch"]
    script = str(Path(__file__).with_name("image.sh"))
    say.run_step(
        f"The image with {what}",
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", script, str(tools), str(place)],
        log=cache.logs() / f"{what.lower()}-image.log",
    )
    cache.remove(tree)
    (place / "image.sif").rename(place / f"torch-{version}.sif")


def _add_wheels(place: Path, tree: Path) -> None:
    """This machine's pip puts them there: it knows where packages come from."""
    wheels, pip = place / "wheels", (sys.executable, "-m", "pip")
    built = [each for each in _WHEELS if each.partition("==")[0] in _SOURCES]
    log = cache.logs() / "frameworks-wheels.log"
    say.run_step(
        "Wheels of what PyPI has as source alone",
        [*pip, "wheel", "--no-deps", "--no-binary", ",".join(_SOURCES), "--wheel-dir", str(wheels), *built],
        log=log,
        env={"DS_BUILD_OPS": "0"},
    )
    say.run_step(
        "Accelerate, DeepSpeed, JAX, mpi4py",
        [
            *(*pip, "install", "--no-deps", "--no-compile", "--only-binary", ":all:", "--python-version", _PYTHON),
            *("--find-links", str(wheels), "--target", str(tree / _LIBRARY), *_WHEELS),
        ],
        log=log,
    )
    cache.remove(wheels)
    command = tree / "usr/local/bin/accelerate"
    command.write_text(_ACCELERATE, encoding="utf-8")
    command.chmod(0o755)
