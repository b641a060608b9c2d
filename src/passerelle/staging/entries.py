"""A TrainingJob's entries of data and outputs: the steps that they are, and why they are not taken. Pure.

The operator asks when it has planned, and `passerelle check` before: both ask here.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Sequence

from passerelle.errors import Invalid
from passerelle.staging.place import Place, place
from passerelle.staging.steps import Step
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

MOVERS = frozenset({"arc", "firecrest", "ssh", "unicore"})
"""The drivers whose gateways move large files; a test holds it against them."""


def refused(spec: TrainingJobSpec, *, site: str, driver: str, moves: bool) -> Invalid | None:
    """Why what the job wants copied can't be. `moves`: the Site's gateway moves large files."""
    into, out = steps_in(spec), steps_out(spec, ".")
    if not moves and (into or out):
        *others, last = sorted(MOVERS)
        text = (
            f"Site {site} has the gateway {driver}, which copies no data; leave source and outputs out and copy them "
            f"by hand, or write a Site whose gateway moves large files: driver {', '.join(others)} or {last}."
        )
        return Invalid(text, reason="NeedsFiles", field="spec.data" if into else "spec.outputs")
    return overlap((*into, *out))


def steps_in(spec: TrainingJobSpec, account: str = "") -> tuple[Step, ...]:
    """What is copied to the site."""
    return tuple(
        Step(
            name=each.name,
            direction="In",
            path=each.path,
            place=place(each.source.s3.url),
            secret=each.source.s3.secret_ref.name,
            account=account,
        )
        for each in spec.data
        if each.source is not None
    )


def steps_out(spec: TrainingJobSpec, run_directory: str, account: str = "") -> tuple[Step, ...]:
    """What is copied from the site, a relative path from the run's directory."""
    return tuple(
        Step(
            name=each.name,
            direction="Out",
            path=each.path if each.path.startswith("/") else f"{run_directory}/{each.path}",
            place=place(each.destination.s3.url),
            secret=each.destination.s3.secret_ref.name,
            account=account,
        )
        for each in spec.outputs
    )


def overlap(steps: Sequence[Step]) -> Invalid | None:
    """Why these are not copied together: two would write to one place, and which of them is seen there is chance."""
    for one, other in itertools.combinations(steps, 2):
        if one.direction != other.direction:
            continue
        if one.direction == "In":
            if _nested(posixpath.normpath(one.path) + "/", posixpath.normpath(other.path) + "/"):
                text = (
                    f"data: {one.name} and {other.name} are both copied to {min(one.path, other.path, key=len)}; write "
                    "paths that don't lie within one another."
                )
                return Invalid(text, reason="CopiesOverlap")
        elif (one.secret, one.place.bucket) == (other.secret, other.place.bucket) and _nested_places(one, other):
            above = Place(one.place.bucket, one.place.key[: one.place.key.rfind("/") + 1])
            text = (
                f"outputs: {one.name} and {other.name} both go to {min(one.place, other.place, key=_length)}; write a "
                f"destination of its own for each, such as {above}{one.name}/ and {above}{other.name}/."
            )
            return Invalid(text, reason="CopiesOverlap", field="spec.outputs")
    return None


def _nested_places(one: Step, other: Step) -> bool:
    """Whether two may name the same object: a key that doesn't end with a slash is itself alone."""
    if one.place.is_prefix or other.place.is_prefix:
        prefixes = [each.place.key for each in (one, other) if each.place.is_prefix]
        return all(each.place.key.startswith(min(prefixes, key=len)) for each in (one, other))
    return one.place.key == other.place.key


def _nested(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _length(place: Place) -> int:
    return len(place.key)
