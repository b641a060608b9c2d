"""The image: does it run on these processors and GPUs, do nodes find it, and is it the same one tomorrow?

Whether the site's runtimes can enter it at all is planning's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.preflight.finding import Finding, error, graded, warning
from passerelle.preflight.paths import is_unseen, own_to_a_node
from passerelle.preflight.request import Request

_FIELD = "spec.image"
_ARCHITECTURES = {"x86_64": ("amd64", "x86_64", "x86-64"), "aarch64": ("arm64", "aarch64")}
_VENDORS = {
    "amd": re.compile(r"(?:^|[^a-z])(cuda|cudnn|nvidia|nvcr|cu1[0-9]{2})"),
    "nvidia": re.compile(r"(?:^|[^a-z])(rocm|rccl|mi250x?|gfx90a|lumi-multitorch)"),
}
"""What the name of an image for the other vendor's GPUs holds."""
_PUBLISHED = {
    "amd": re.compile(r"nvcr\.io/nvidia/|(docker\.io/)?(nvidia/cuda[:@]|pytorch/pytorch:[^@]*-cuda)"),
    "nvidia": re.compile(r"(docker\.io/)?rocm/"),
}
"""Images whose publisher says so; any other name is a person's, and may mean something else."""
_TAKE = {"amd": "ROCm", "nvidia": "CUDA"}
_RECIPE = re.compile(r"(?:.*/)?(?:[^/]*\.(?:tar|tar\.gz|tgz|def)|Dockerfile)")


def findings(request: Request) -> Iterator[Finding]:
    if request.container is None:  # nothing enters it
        return
    yield from _architecture(request)
    yield from _vendor(request)
    if _RECIPE.fullmatch(request.job.image):
        text = "The image is an archive or a recipe, which no container runtime can enter."
        yield error("ImageFormat", _FIELD, text, "Build an image from it, and write that one's absolute path.")
    elif request.job.image.startswith("/"):
        yield from _place(request)
    elif request.image is None:
        yield from _registry(request)


def _architecture(request: Request) -> Iterator[Finding]:
    image, here = _name(request.job.image), request.profile.node.architecture
    named = {
        architecture: word
        for architecture, words in _ARCHITECTURES.items()
        for word in words
        if re.search(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])", image)
    }
    if named and here not in named:
        told = next(iter(named.values()))
        yield warning(
            "ImageArchitecture",
            _FIELD,
            f"The image's name says {told}, and the compute nodes are {here}: if so, its programs do not start.",
            f"Write an image that is built for {here}.",
        )


def _name(image: str) -> str:
    """What of an image's name speaks of its content: folders are people's and projects' names."""
    return (image.rpartition("/")[2] if image.startswith("/") else image).lower()


def _vendor(request: Request) -> Iterator[Finding]:
    gpu = request.profile.gpu
    name = _name(request.job.image)
    told = _VENDORS[gpu.vendor].search(name)
    if told is not None and not all(each.search(name) for each in _VENDORS.values()):
        certain = _PUBLISHED[gpu.vendor].match(request.job.image) is not None
        yield graded(certain=certain)(
            "ImageVendor",
            _FIELD,
            f"The image's name says {told[1]}, and the GPUs are {gpu.model}: its libraries would find no device.",
            f"Write an image that is built for {_TAKE[gpu.vendor]}.",
        )


def _place(request: Request) -> Iterator[Finding]:
    image = request.job.image
    unseen = is_unseen(request.profile, image) or own_to_a_node(request.profile, image)
    if unseen is not None:
        yield graded(certain=unseen.certain)(
            "ImageNotOnComputeNodes",
            _FIELD,
            f"Compute nodes don't find the image, since {unseen.why}.",
            "Copy it to the project's storage, and write that path.",
        )


def _registry(request: Request) -> Iterator[Finding]:
    image, egress = request.job.image, request.profile.egress
    if "@sha256:" not in image:
        yield warning(
            "ImageNotPinned",
            _FIELD,
            "A tag can be pushed again, so that the next attempt may run another image.",
            "Write the image with its digest, like name@sha256:….",
        )
    if egress.compute is not True:
        text = "The image would be pulled within the job, and it is not certain that compute nodes reach a registry."
        fix = "Build a file from it elsewhere, copy it to the site, and write its absolute path."
        yield warning("RegistryUnreachable", _FIELD, text, fix)
    elif egress.rate_limited and _is_docker_hub(image):
        yield warning(
            "RegistryLimited",
            _FIELD,
            "The site's nodes share few addresses, and Docker Hub limits how often one pulls without logging in.",
            "Write the path of an image that was copied to the site, or one of another registry.",
        )


def _is_docker_hub(image: str) -> bool:
    host, slash, _ = image.partition("/")
    return host == "docker.io" or not slash or not ("." in host or ":" in host or host == "localhost")
