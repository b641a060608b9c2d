"""How often a Site is asked, and how often its jobs report: what its administrator wrote, and never more often than the
machine's floors. Pure.

A job tells its progress in its comment and in its report file. The file costs the site's scheduler nothing; a comment
is a request to slurmctld, from each job that runs. So a comment has a period of its own, and where nobody can read one
none is written. Where nobody can read a file, progress is as old as the comment, and is asked for no more often.
"""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.profiles import Profile
from passerelle.v1alpha1.meta import seconds
from passerelle.v1alpha1.site import SiteSpec

BELOW_FLOOR = "BelowFloor"
"""The reason of a condition, and the doctor's."""

MUTE = frozenset({"arc", "firecrest"})
"""Kinds of gateways that tell no job's comment."""
READERS = frozenset({"arc", "firecrest", "ssh", "unicore"})
"""Kinds of gateways that read files."""


@dataclass(frozen=True, slots=True)
class Periods:
    """In seconds. `look` is between two looks at the jobs, `progress` between two reports of a running one, `comment`
    between two of them that it writes into its comment, too (None: it writes none), and `read` between two times that
    the operator asks it. `raised` are the fields of spec that say less than the floor; a default is no word of
    anybody's. `unheard` is a progressPeriod that is shorter than a comment's, where nothing but comments is heard.
    """

    look: int
    progress: int
    comment: int | None
    read: int
    floor: int
    raised: tuple[str, ...] = ()
    unheard: str = ""

    @property
    def _them(self) -> tuple[str, str, str]:
        return ("are", "each counts", "them") if len(self.raised) > 1 else ("is", "it counts", "it")

    @property
    def as_written(self) -> bool:
        return not self.raised and not self.unheard

    def told(self, profile: str) -> str:
        """What was raised, in sentences; "" where nothing was."""
        are, counts, _ = self._them
        said = []
        if self.raised:
            least = f"the least at a machine of profile {profile}"
            fields = " and ".join(self.raised)
            said.append(f"{fields} {are} shorter than {self.floor}s, {least}: {counts} as {self.floor}s.")
        if self.unheard:
            said.append(
                f"progressPeriod is {self.unheard}, and this gateway shows a job's progress by its comment alone, "
                f"which the job writes every {self.comment}s: it counts as {self.read}s."
            )
        return " ".join(said)

    @property
    def fix(self) -> str:
        """What to write."""
        said = [f"Write {self.floor}s or more, or leave {self._them[2]} out."] if self.raised else []
        if self.unheard:
            said.append(
                f"Write a progressPeriod of {self.read}s or more, or leave it out; or a shorter commentPeriod, if the "
                "site agrees to so many requests to its slurmctld."
            )
        return " ".join(said)


def periods(spec: SiteSpec, profile: Profile) -> Periods:
    """What counts for this Site on this machine."""
    floor, driver = profile.least_period_seconds, spec.gateway.driver
    look, progress = seconds(spec.polling_period), max(seconds(spec.progress_period), floor)
    comments = seconds(spec.comment_period) if spec.comment_period else profile.least_comment_period_seconds
    comment = None if driver in MUTE else max(comments, progress)
    read = progress if driver in READERS or comment is None else comment
    written = {
        "pollingPeriod": ("polling_period", look),
        "progressPeriod": ("progress_period", seconds(spec.progress_period)),
        "commentPeriod": ("comment_period", comments),
    }
    raised = tuple(name for name, (field, value) in written.items() if value < floor and field in spec.model_fields_set)
    wanted = "progress_period" in spec.model_fields_set and spec.comment_period is None
    unheard = spec.progress_period if wanted and read > progress else ""
    return Periods(max(look, floor), progress, comment, read, floor, raised, unheard)
