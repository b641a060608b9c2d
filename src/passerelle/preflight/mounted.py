"""Paths of the site that the container doesn't show: it has the run's directory, the profile's binds, data and files.

What else a site shows by its own configuration, nobody here knows: so it is a warning. Where the way into an image
leads through a module, as at LUMI, or an environment file of the user's, that says what is shown, and nothing is told.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile

from passerelle.container import Container
from passerelle.mounts import SAFE_PATH
from passerelle.preflight.finding import Finding, warning
from passerelle.preflight.paths import file_system, is_below, is_unseen, named
from passerelle.preflight.request import Request
from passerelle.profiles import Profile

_FILE = re.compile(r".+\.[A-Za-z]\w*")
_BIND = frozenset({"--bind", "-B"})


def findings(request: Request) -> Iterator[Finding]:
    shown, told = _shown(request), list[str]()
    if not shown:
        return
    passed = {field for field, path in named(request) if _is_told_by_others(request.profile, path)}
    for field, text in named(request):
        for path in text.split(":"):  # as in PYTHONPATH
            directory = None if field in passed else _unshown(request.profile, (*shown, *told), path)
            if directory is not None:
                told.append(directory)
                passed.add(field)
                yield _finding(field, directory)


def _finding(field: str, directory: str) -> Finding:
    text = (
        f"The container doesn't show {directory}, unless the site's configuration does: of the site's storage it has "
        "the run's directory and what data names."
    )
    return warning("PathNotInContainer", field, text, f"Add {{name: {_name(directory)}, path: {directory}}} to data.")


def _name(directory: str) -> str:
    """What a directory may be called among data."""
    return re.sub(r"[^a-z0-9]+", "-", posixpath.basename(directory).lower()).strip("-")[:32].rstrip("-") or "data"


def _is_told_by_others(profile: Profile, path: str) -> bool:
    """Whether another place must be found for it first."""
    found = file_system(profile, path)
    return is_unseen(profile, path) is not None or (found is not None and found.role == "home")


def _shown(request: Request) -> tuple[str, ...]:
    """What the container has of the site; empty where there is none, or nobody knows."""
    job, found = request.job, request.container
    if request.is_script or not isinstance(found, Container) or found.modules or found.image.endswith(".toml"):
        return ()  # a script runs outside of the image
    if any(each.kind == found.kind and each.confidence == "low" for each in request.profile.runtimes):
        return ()
    binds = (_destination(each) for each in (*found.binds, *_bound(found.options)))
    own = (*(each.path for each in job.data), *(each.path for each in job.files))
    return tuple(each.rstrip("/") for each in (request.site.run_root, *binds, *own))


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


def _unshown(profile: Profile, shown: Iterable[str], text: str) -> str | None:
    """The directory of the site that a path names, where the container doesn't show it.

    Of a path with a pattern or a variable in it, what stands before that counts. A whole file system is nobody's data.
    """
    if not text.startswith("/"):
        return None
    parts = posixpath.normpath(text).strip("/").split("/")
    plain = list(takewhile(lambda part: SAFE_PATH.fullmatch(f"/{part}"), parts))
    path, is_cut = "/" + "/".join(plain), len(plain) < len(parts)
    found = file_system(profile, path)
    if found is None or found.role == "local" or path == found.prefix:
        return None
    if any(is_below(path, each) or (is_cut and is_below(each, path)) for each in shown):
        return None
    parent = posixpath.dirname(path)
    is_file = not is_cut and _FILE.fullmatch(plain[-1]) is not None
    return parent if is_file and parent != found.prefix else path  # a program finds its other files there, too
