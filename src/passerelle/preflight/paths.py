"""Paths: do compute nodes see them, is there room, and do files outlast the run?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from passerelle.preflight.finding import Finding, graded, warning
from passerelle.preflight.refusals import without_variable
from passerelle.preflight.request import Request
from passerelle.profiles import Profile
from passerelle.profiles.machine import FileSystem

_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - names, nothing is written there
_EVERY_NODES_OWN = (_TMP, "/var/tmp", _SHM)  # noqa: S108 - likewise
_CACHES = frozenset(
    {
        "HF_DATASETS_CACHE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "PIP_CACHE_DIR",
        "TORCH_HOME",
        "TRITON_CACHE_DIR",
        "XDG_CACHE_HOME",
    }
)
"""Where libraries keep what can be had again. MIOPEN_* and TMPDIR are not among them: they belong on a node's own."""
RUN_ROOT = "site.spec.runRoot"
_MINUTES_PER_DAY = 24 * 60
IN_RUN = "Write a path in the run's directory, like results, and have the trainer write to $PASSERELLE_RUN_DIR/results."
"""Where outputs are found, wherever a job runs."""


def findings(request: Request) -> Iterator[Finding]:
    yield from _not_on_compute_nodes(request)
    yield from _in_home(request)
    yield from _in_memory(request)
    yield from _purged(request)


class Unseen(NamedTuple):
    """Why compute nodes don't find a path, as a clause; whether that is beyond doubt."""

    why: str
    certain: bool


def is_unseen(profile: Profile, path: str) -> Unseen | None:
    """Why compute nodes don't see a path; None where nothing is known of it."""
    found = file_system(profile, path)
    if found is None or found.on_compute is not False:
        return None
    return Unseen(f"they don't mount {found.prefix}", found.confidence == "high")


def own_to_a_node(profile: Profile, path: str) -> Unseen | None:
    """Why a path is another one on each node; None where it isn't."""
    found = file_system(profile, path)
    everywhere = next((each for each in _EVERY_NODES_OWN if is_below(path, each)), None)
    local = found.prefix if found is not None and found.role == "local" else None
    where = local or everywhere
    if where is None:
        return None
    certain = everywhere is not None or (found is not None and found.confidence == "high")
    return Unseen(f"each node has a {where} of its own, empty when the job starts", certain)


def _not_on_compute_nodes(request: Request) -> Iterator[Finding]:
    profile = request.profile
    for field, path in named(request):
        unseen, is_needed = is_unseen(profile, path), field == RUN_ROOT or field.startswith("spec.data")
        if unseen is None and (is_needed or is_output(field)):
            unseen = own_to_a_node(profile, path)
        if unseen is not None:
            who = "Nobody finds {} after the run" if is_output(field) else "Compute nodes don't find {}"
            fix = (
                IN_RUN if is_output(field) else "Write a path on the project's storage, and copy there what is needed."
            )
            text = f"{who.format(path)}, since {unseen.why}."
            yield graded(certain=is_needed and unseen.certain)("PathNotOnComputeNodes", field, text, fix)


def _in_home(request: Request) -> Iterator[Finding]:
    fields = [("spec.image", request.job.image)] if request.job.image.startswith("/") else []
    for field, path in [*fields, *named(request)]:
        found = file_system(request.profile, path)
        if found is None or not is_home(found):
            continue
        room = f", which holds {found.quota_gib} GB" if found.quota_gib is not None else ""
        text = f"{path} lies in a home directory{room}: it fills soon, and is slow for many processes."
        if _is_cache(request, field):
            fix = "Leave the variable out: caches are kept off the home directory without it."
            yield warning("PathInHome", field, text, fix, patch=without_variable(request, field))
        else:
            yield warning("PathInHome", field, text, "Write a path on the project's storage, or on scratch.")


def _in_memory(request: Request) -> Iterator[Finding]:
    memory = [each.prefix for each in request.profile.file_systems if each.memory_backed and each.confidence != "low"]
    if _TMP not in memory:
        return
    for place, variable in enumerate(request.job.env):
        below = next((each for each in (*memory, _SHM) if each and is_below(variable.value, each)), None)
        if below is not None and variable.name in _CACHES:
            field = f"spec.env[{place}]"
            text = f"{below} is memory here, and what {variable.name} collects there is taken from the job's."
            fix = "Leave the variable out: caches are kept on storage without it."
            yield warning("PathInMemory", field, text, fix, patch=without_variable(request, field))


def _purged(request: Request) -> Iterator[Finding]:
    job, found = request.job, file_system(request.profile, request.site.run_root)
    if job.checkpoint is None or found is None or found.purge_days is None:
        return
    days = request.asked_minutes * job.retry.max_attempts / _MINUTES_PER_DAY
    if days > found.purge_days:
        text = (
            f"The attempts together may take {days:.0f} days, and {found.prefix} deletes files untouched for "
            f"{found.purge_days}: checkpoints may go before the run ends."
        )
        fix = "The Site's administrator can write a runRoot on the project's storage; or write a smaller maxAttempts."
        yield warning("PathPurged", RUN_ROOT, text, fix)


def named(request: Request) -> Iterator[tuple[str, str]]:
    """Each absolute path that is written somewhere, with its field; the image's is image.py's matter."""
    yield RUN_ROOT, request.site.run_root
    for place, data in enumerate(request.job.data):
        yield f"spec.data[{place}].path", data.path
    for place, output in enumerate(request.job.outputs):
        if output.path.startswith("/"):
            yield f"spec.outputs[{place}].path", output.path
    if request.job.working_dir is not None:
        yield "spec.workingDir", request.job.working_dir
    for place, variable in enumerate(request.job.env):
        if variable.value.startswith("/"):
            yield f"spec.env[{place}]", variable.value
    for word in request.words:
        for value in word.values:
            if value.startswith("/"):
                yield word.field, value


def is_output(field: str) -> bool:
    """Whether a field names what a run brings forth."""
    return field.startswith("spec.outputs")


def _is_cache(request: Request, field: str) -> bool:
    return any(f"spec.env[{place}]" == field for place, each in enumerate(request.job.env) if each.name in _CACHES)


def file_system(profile: Profile, path: str) -> FileSystem | None:
    """The innermost of the profile's file systems that holds a path; what is of low confidence is passed over."""
    holding = [each for each in profile.file_systems if each.prefix and is_below(path, each.prefix)]
    found = max(holding, key=lambda each: len(each.prefix or ""), default=None)
    return None if found is None or found.confidence == "low" else found


def is_home(found: FileSystem) -> bool:
    """Whether it holds home directories."""
    return found.role == "home"


def is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
