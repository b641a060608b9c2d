"""The trainers' image: CPU PyTorch from Debian trixie as one SIF, built once.

Debian's package, because it comes from the same mirror as everything else. It speaks gloo and has no libuv. The trainer
itself is not in it: it travels with the job.
"""

from __future__ import annotations

from pathlib import Path

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.rootfs import debian, has_apptainer, package_versions, rootfs

SUITE = "trixie"
_PACKAGES = ("python3-torch", "python-is-python3")


def trainer_image() -> Path:
    """The SIF, named after the version of PyTorch in it."""
    kept = cache.build_once("trainer-image", _build)
    (found,) = kept.glob("*.sif")
    return found


def _build(place: Path) -> None:
    tools = rootfs("sid")
    if not has_apptainer(tools):
        raise SandboxError(f"The trainers' image is made by Apptainer, and {tools} has none: remove it to try again.")
    tree = place / "tree"
    tree.mkdir()
    debian("Debian trixie with PyTorch", tree, SUITE, _PACKAGES, "")
    version = package_versions(tree, _PACKAGES)["python3-torch"]
    script = str(Path(__file__).with_name("image.sh"))
    say.run_step(
        "The trainers' image",
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", script, str(tools), str(place)],
        log=cache.logs() / "trainer-image.log",
    )
    cache.remove(tree)
    (place / "torch.sif").rename(place / f"torch-{version}.sif")
