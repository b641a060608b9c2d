"""What sandboxes are made of, built ahead: afterwards `up` takes seconds.

Compiling takes every core there is, making a root file system waits for the network and for dpkg: so the two go on
side by side, in lanes. Within a lane comes first what a demo needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passerelle_sandbox import host, operator_image, say, side_by_side, state
from passerelle_sandbox.control_plane import build
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.object_store import serve as object_store
from passerelle_sandbox.site import arc_server, rootfs, ssh_server
from passerelle_sandbox.site.image import frameworks_image, trainer_image
from passerelle_sandbox.unicore.jars import TOOLS as UNICORE_TOOLS
from passerelle_sandbox.unicore.jars import jars

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

CONTROL_PLANE, HELM, TRAINER_IMAGE, IMAGE_BASE = "control-plane", "helm", "trainer-image", "image-base"
FRAMEWORKS_IMAGE, UNICORE, ARC, S3 = "frameworks-image", "unicore", "arc", "s3"
SITES = tuple(reversed(state.RELEASES))
"""The default's release first."""
EVERY = (CONTROL_PLANE, HELM, SITES[0], TRAINER_IMAGE, ARC, *SITES[1:], IMAGE_BASE, FRAMEWORKS_IMAGE, UNICORE, S3)


def prepare(wanted: Collection[str] = EVERY) -> None:
    """Build, or find built, so many supplies."""
    for name in wanted:
        if name not in EVERY:
            raise SandboxError(f"{name!r} is no supply of a sandbox: it is one of {', '.join(EVERY)}.")
    tools = {IMAGE_BASE: operator_image.TOOLS, UNICORE: UNICORE_TOOLS}
    host.ensure_host_tools({each: tool for name in wanted for each, tool in tools.get(name, {}).items()})
    chosen = [[supply for name, supply in lane if name in wanted] for lane in _lanes()]
    side_by_side.run([_one_by_one(lane) for lane in chosen if lane])


def _lanes() -> tuple[list[tuple[str, Callable[[], object]]], ...]:
    return (
        [(CONTROL_PLANE, build.programs), (HELM, build.helm), (S3, object_store.program)],
        [
            (SITES[0], _site(SITES[0])),
            (TRAINER_IMAGE, _image(trainer_image)),
            (ARC, lambda: arc_server.layer(SITES[0])),
            (FRAMEWORKS_IMAGE, _image(frameworks_image)),
        ],
        [*((release, _site(release)) for release in SITES[1:]), (IMAGE_BASE, operator_image.base), (UNICORE, jars)],
    )


def _site(release: str) -> Callable[[], object]:
    return lambda: ssh_server.layer(release)


def _image(build: Callable[[], object]) -> Callable[[], None]:
    def supply() -> None:
        if rootfs.has_apptainer(rootfs.rootfs(SITES[0])):
            build()
        else:
            say.line(f"No image for trainers: the site of {SITES[0]} has no Apptainer.")

    return supply


def _one_by_one(lane: Collection[Callable[[], object]]) -> Callable[[], object]:
    return lambda: [supply() for supply in lane]
