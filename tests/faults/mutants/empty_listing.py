"""A defect on purpose: a job that one answer doesn't show is believed to be absent, at once."""

from dataclasses import replace

from passerelle import actions, current, decide

_decide = decide.decide


def _credulous(wanted: current.Wanted, seen: current.Seen) -> actions.Action:
    shown = {number for number, _ in seen.jobs}
    return _decide(wanted, replace(seen, absent=seen.absent | {each.number for each in wanted.recorded} - shown))


decide.decide = _credulous
