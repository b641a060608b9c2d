"""The image and how it is entered at a site: runtime, file or registry, what is mounted. Pure.

The site's runtimes are asked in order, and the first that can enter the image is taken. A registry's image becomes a
SIF for Apptainer: once and for all where its digest is written, for one run where a login was needed, since it is not
everybody's, and for one attempt where a tag may move. The container engines that fetch images themselves are given its
name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from passerelle.confidential import hosts_only
from passerelle.errors import Invalid
from passerelle.profiles import Profile, Runtime

_SIF = ("apptainer", "singularity")
_ENGINES = ("pyxis", "edf")
_ENTERED_BY: dict[str, tuple[tuple[str, ...], ...]] = {
    "sif": ((*_SIF, "none"),),
    "sqsh": ((*_ENGINES, "none"), _SIF),
    "toml": (("edf", "none"),),
}
"""By the ending of a file, the better first: Apptainer enters a squashfs file, too. Any other path may be a directory
with an image in it, for whoever takes those.
"""
_ANY = ((*_SIF, *_ENGINES, "none"),)
_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_PUBLIC = frozenset(
    {
        "docker.io",
        "gcr.io",
        "ghcr.io",
        "mcr.microsoft.com",
        "nvcr.io",
        "public.ecr.aws",
        "quay.io",
        "registry.gitlab.com",
    }
)
"""Registries on the internet; any other may be the site's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How the image is entered: modules to load first, options in front of it, the site's paths that are seen in it.

    `image` is a path, or the name by which a container engine fetches it. `pull` is the registry's address from which
    `image` is made where it is missing; `disks` are the node's own, by variable and path, on which it may be unpacked.
    """

    kind: Literal["apptainer", "singularity", "pyxis", "edf"]
    binary: str
    module_paths: tuple[str, ...]
    modules: tuple[str, ...]
    options: tuple[str, ...]
    binds: tuple[str, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    image: str
    pull: str | None = None
    disks: tuple[tuple[str, str], ...] = ()


def container(image: str, profile: Profile, *, images: str, attempt_image: str) -> Container | None:
    """The site's first way into the image; None where trainers run on the nodes as they are.

    `images` is the directory for SIFs of images with a digest, `attempt_image` the SIF of one without. Raises Invalid.
    """
    kinds = [each.kind for each in profile.runtimes]
    if image.startswith("/"):
        able = _ENTERED_BY.get(image.rpartition(".")[2], _ANY)
        runtime = next((each for some in able for each in profile.runtimes if each.kind in some), None)
        if runtime is None:
            text = f"image: the site's container runtime ({', '.join(kinds)}) can't enter {image}; write the absolute"
            raise Invalid(f"{text} path of {_file_for(kinds)}.", reason="ImageFormat")
        return _of(runtime, image)
    return _fetched(image, profile, images, attempt_image)


def _fetched(image: str, profile: Profile, images: str, attempt_image: str) -> Container | None:
    found = _REFERENCE.fullmatch(image)
    if found is None or re.search(r"\.(sif|sqsh|img|toml|tar|def)$", image):
        text = f"image {hosts_only(image)!r} is neither a path at the site nor a registry's image; write the absolute"
        raise Invalid(
            f"{text} path of {_file_for([each.kind for each in profile.runtimes])}, or a name like "
            "nvcr.io/nvidia/pytorch@sha256:…",
            reason="ImageFormat",
        )
    runtime = profile.runtimes[0]
    if runtime.kind == "none":
        return None
    name, tag, digest = found["name"], found["tag"] or "", found["digest"]
    host, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    is_closed = profile.egress.compute is False and profile.egress.confidence == "high"
    if is_closed and (host in _PUBLIC or not is_host):  # what may be within reach, preflight warns of
        text = f"image {image!r} would be pulled within the job, and the site's compute nodes reach no registry; build "
        raise Invalid(
            f"{text}{_file_for([runtime.kind])} from it elsewhere, copy it to the site, and write its absolute path.",
            reason="RegistryUnreachable",
        )
    pinned = f"@sha256:{digest}" if digest else tag  # with both, the digest counts, and some tools refuse the two
    if runtime.kind in _ENGINES:
        return _of(runtime, (f"{host}#{rest}" if is_host else name) + pinned)
    place = f"{images}/sha256-{digest}.sif" if digest else attempt_image
    return _of(runtime, place, pull=f"docker://{name}{pinned}", disks=_disks(profile))


def _disks(profile: Profile) -> tuple[tuple[str, str], ...]:
    """The nodes' own, as far as the site tells how to get there, and they are no memory."""
    return tuple(
        (each.variable or "", each.path if each.path and "{" not in each.path else "")
        for each in profile.file_systems
        if each.role == "local"
        and (each.variable or each.path)
        and not each.memory_backed
        and each.on_compute is not False
        and each.confidence != "low"
    )


def _of(
    runtime: Runtime, image: str, pull: str | None = None, disks: tuple[tuple[str, str], ...] = ()
) -> Container | None:
    if runtime.kind == "none":
        return None
    return Container(
        kind=runtime.kind,
        binary=runtime.binary or runtime.kind,
        module_paths=tuple(runtime.module_paths),
        modules=tuple(runtime.modules),
        options=tuple(runtime.options),
        binds=tuple(runtime.binds),
        annotations=tuple(sorted(runtime.annotations.items())),
        image=image,
        pull=pull,
        disks=disks,
    )


def _file_for(kinds: Sequence[str]) -> str:
    if any(kind in _SIF for kind in kinds):
        return "a SIF file"
    return "a squashfs or an environment file" if "edf" in kinds else "a squashfs file"
