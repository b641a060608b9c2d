"""What a Site's status says of the courtesy that it is shown: nothing is held back, slowed or raised in silence. Pure
in what it reads. Sentences stay as they are while what they tell does: a figure that counts would be written each
minute.
"""

from __future__ import annotations

from collections.abc import Sequence

from passerelle.attempts import epoch, rfc3339
from passerelle.gateways.courtesy import CALLS_SPENT, WAITED_IN_PLACE, Courtesy, words
from passerelle.gateways.http import BUSY
from passerelle.gateways.purpose import Purpose
from passerelle.periods import BELOW_FLOOR, periods
from passerelle.profiles import Profile
from passerelle.v1alpha1.site import Calls, SiteSpec, SiteStatus

Told = tuple[str, str, str, str]
"""Type, status, reason and message of a condition."""

_SLOWED = {
    Purpose.PROGRESS: "running jobs are asked for their progress in turns",
    Purpose.FILES: "files are moved more slowly",
    Purpose.LOOK: "looks at the jobs come later",
    Purpose.SUBMIT: "nothing is submitted for a while",
    Purpose.END: "cancels go beyond it, since nothing holds them up but the pace of acts",
}


CALLS_STEP, CALLS_SECONDS = 0.01, 600.0
"""What of the budget a count must differ by to be written anew, and how old it may be otherwise."""


def calls(old: Calls | None, courtesy: Courtesy, now: float) -> Calls | None:
    """The hour's count, for an operator that starts anew; the `old` one where that tells it well enough."""
    spent, ago = courtesy.budget.hour()
    since = now - ago
    if old is not None:
        moved = abs(spent - old.last_hour) >= CALLS_STEP * courtesy.budget.limit
        if not moved and since - (epoch(old.since) or 0) < CALLS_SECONDS:
            return old
    return Calls(last_hour=spent, since=rfc3339(since)) if spent else None


def calls_before(status: SiteStatus, now: float) -> tuple[int, float]:
    """The calls that a status tells of, and the seconds in which they were made."""
    if status.calls is None:
        return 0, 0.0
    return status.calls.last_hour, max(now - (epoch(status.calls.since) or now), 0.0)


def courtesy_words(spec: SiteSpec, profile: Profile | None, courtesy: Courtesy) -> list[Told]:
    """Conditions that stand while something is not as it was written."""
    return [*_period(spec, profile), *_budget(spec, courtesy), *_calls(courtesy)]


def _period(spec: SiteSpec, profile: Profile | None) -> list[Told]:
    found = periods(spec, profile) if profile is not None else None
    if found is None or found.as_written:
        return []
    return [("PeriodAsWritten", "False", BELOW_FLOOR, f"{found.told(spec.profile)} {found.fix}")]


def _budget(spec: SiteSpec, courtesy: Courtesy) -> list[Told]:
    slowed = [_SLOWED[each] for each in courtesy.slowed() if each in _SLOWED]
    if not slowed:
        return []
    text = (
        f"The calls that callsPerHour ({spec.calls_per_hour}) allows run short: {_listed(slowed)}. Cancels always go "
        "out. Write longer periods, or a larger callsPerHour if the site agrees."
    )
    return [("WithinBudget", "False", CALLS_SPENT, text)]


def _calls(courtesy: Courtesy) -> list[Told]:
    if courtesy.patience_left > WAITED_IN_PLACE:
        text = (
            f"The gateway asked for {courtesy.asked_seconds:.0f} s of patience: nothing is sent there for so long, but "
            "for 15 minutes at most."
        )
        return [("CallsAllowed", "False", BUSY, text)]
    found = sorted(courtesy.open().items())
    if not found:
        return []
    text = " ".join(words(kind, why) for kind, why in found)
    return [("CallsAllowed", "False", found[0][1].reason, text)]


def _listed(those: Sequence[str]) -> str:
    return those[0] if len(those) == 1 else f"{', '.join(those[:-1])} and {those[-1]}"
