"""How often a Site is asked: what its administrator wrote, and never more often than the machine's floor. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.profiles import Profile
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import SiteSpec

BELOW_FLOOR = "BelowFloor"
"""The reason of a condition, and the doctor's."""


@dataclass(frozen=True, slots=True)
class Periods:
    """In seconds: between two looks at the jobs, and between two reports of a running one. `raised` are the fields of
    spec that say less than the floor; a default is no word of anybody's.
    """

    look: int
    progress: int
    floor: int
    raised: tuple[str, ...] = ()

    @property
    def _them(self) -> tuple[str, str, str]:
        return ("are", "each counts", "them") if len(self.raised) > 1 else ("is", "it counts", "it")

    def told(self, profile: str) -> str:
        """What was raised, in a sentence; "" where nothing was."""
        are, counts, _ = self._them
        if not self.raised:
            return ""
        least = f"the least at a machine of profile {profile}"
        return f"{' and '.join(self.raised)} {are} shorter than {self.floor}s, {least}: {counts} as {self.floor}s."

    @property
    def fix(self) -> str:
        """What to write."""
        return f"Write {self.floor}s or more, or leave {self._them[2]} out."


def periods(spec: SiteSpec, profile: Profile) -> Periods:
    """What counts for this Site on this machine."""
    floor = profile.least_period_seconds
    look, progress = seconds(spec.polling_period), seconds(spec.progress_period)
    written = {"pollingPeriod": ("polling_period", look), "progressPeriod": ("progress_period", progress)}
    raised = tuple(name for name, (field, value) in written.items() if value < floor and field in spec.model_fields_set)
    return Periods(max(look, floor), max(progress, floor), floor, raised)
