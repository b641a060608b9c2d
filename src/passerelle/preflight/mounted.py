"""Paths of the site that the container doesn't show: it has the run's directory, the profile's binds, data and files.

What else a site shows by its own configuration, nobody here knows: so it is a warning. Where the way into an image
leads through a module, as at LUMI, or an environment file of the user's, that says what is shown, and nothing is told.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, count, takewhile

from passerelle.container import Container
from passerelle.mounts import SAFE_PATH
from passerelle.preflight.finding import Finding, warning
from passerelle.preflight.paths import IN_RUN, RUN_ROOT, file_system, is_below, is_home, is_output, is_unseen, named
from passerelle.preflight.request import Request
from passerelle.profiles import Profile

_FILE = re.compile(r".+\.[A-Za-z]\w*")
_BIND = frozenset({"--bind", "-B"})


def findings(request: Request) -> Iterator[Finding]:
    shown = _shown(request)
    if shown is None:
        return
    told, names, paths = list[str](), {each.name for each in request.job.data}, list(named(request))
    passed = {RUN_ROOT, *(field for field, path in paths if _needs_another_place(request.profile, path))}
    for field, text in paths:
        for path in text.split(":"):  # as in PYTHONPATH
            directory = None if field in passed else _unshown(request, (*shown, *told), path)
            if directory is not None:
                told.append(directory)
                passed.add(field)
                yield _finding(field, directory, names)


def _finding(field: str, directory: str, names: set[str]) -> Finding:
    text = (
        f"The container doesn't show {directory}, unless the site's configuration does: of the site's storage it has "
        "the run's directory and what data names."
    )
    if is_output(field):
        return warning("PathNotInContainer", field, text, IN_RUN)
    name = _name(directory, names)
    names.add(name)
    return warning("PathNotInContainer", field, text, f"Add {{name: {name}, path: {directory}}} to data.")


def _name(directory: str, names: Collection[str]) -> str:
    """What a directory may be called among data of these names."""
    name = re.sub(r"[^a-z0-9]+", "-", posixpath.basename(directory).lower()).strip("-")[:32].rstrip("-") or "data"
    numbered = (f"{name}-{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in names)


def _needs_another_place(profile: Profile, path: str) -> bool:
    """Whether it can't stay where it is, as paths.py says of it."""
    found = file_system(profile, path)
    return is_unseen(profile, path) is not None or (found is not None and is_home(found))


def _shown(request: Request) -> tuple[str, ...] | None:
    """What the container has of the site beside the run's directory, whose name nobody knows yet; None where there is
    none, or nobody knows.
    """
    job, found = request.job, request.container
    if request.is_script or not isinstance(found, Container) or found.modules or found.image.endswith(".toml"):
        return None  # a script runs outside of the image
    if any(each.kind == found.kind and each.confidence == "low" for each in request.profile.runtimes):
        return None
    binds = (_destination(each) for each in (*found.binds, *_bound(found.options)))
    own = (*(each.path for each in job.data), *(each.path for each in job.files))
    return tuple(each.rstrip("/") for each in (*binds, *own))


def _bound(options: tuple[str, ...]) -> Iterator[str]:
    """What the runtime's options bind."""
    for option, following in zip(options, (*options, "")[1:], strict=True):
        name, equals, value = option.partition("=")
        if name in _BIND:
            yield from (value if equals else following).split(",")


def _destination(bind: str) -> str:
    """Where the container has what is bound as SOURCE[:DESTINATION[:OPTIONS]]."""
    source, _, rest = bind.partition(":")
    return rest.partition(":")[0] or source


def _unshown(request: Request, shown: Iterable[str], text: str) -> str | None:
    """The directory of the site that a path names, where the container doesn't show it.

    Of a path with a pattern or a variable in it, what stands before that counts; in the run root that may be the run's
    directory. A whole file system is nobody's data.
    """
    if not text.startswith("/"):
        return None
    parts = posixpath.normpath(text).strip("/").split("/")
    plain = list(takewhile(lambda part: SAFE_PATH.fullmatch(f"/{part}"), parts))
    path, is_cut = "/" + "/".join(plain), len(plain) < len(parts)
    found = file_system(request.profile, path)
    if found is None or found.role == "local" or path == found.prefix:
        return None
    if any(is_below(path, each) for each in shown):
        return None
    if is_cut and any(is_below(each, path) for each in (*shown, request.site.run_root.rstrip("/"))):
        return None
    parent = posixpath.dirname(path)
    is_file = not is_cut and _FILE.fullmatch(plain[-1]) is not None
    return parent if is_file and parent != found.prefix else path  # a program finds its other files there, too
