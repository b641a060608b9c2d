"""How often a Site is asked: what its administrator wrote, and never more often than the machine's floor. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.profiles import Profile
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import SiteSpec


@dataclass(frozen=True, slots=True)
class Periods:
    """In seconds: between two looks at the jobs, and between two reports of a running one. `raised` are the fields of
    spec that say less than the floor; a default is no word of anybody's.
    """

    look: int
    progress: int
    floor: int
    raised: tuple[str, ...] = ()


def periods(spec: SiteSpec, profile: Profile) -> Periods:
    """What counts for this Site on this machine."""
    floor = profile.least_period_seconds
    look, progress = seconds(spec.polling_period), seconds(spec.progress_period)
    written = {"pollingPeriod": ("polling_period", look), "progressPeriod": ("progress_period", progress)}
    raised = tuple(name for name, (field, value) in written.items() if value < floor and field in spec.model_fields_set)
    return Periods(max(look, floor), max(progress, floor), floor, raised)
