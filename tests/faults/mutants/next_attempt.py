"""A defect on purpose: an attempt whose absence is believed is followed by the next one, not sent again."""

from passerelle import actions, current, decide

_decide = decide.decide


def _goes_on(wanted: current.Wanted, seen: current.Seen) -> actions.Action:
    action = _decide(wanted, seen)
    if isinstance(action, actions.Submit) and action.attempt in seen.absent:
        return actions.Intend("Wanted", action.attempt + 1)
    return action


decide.decide = _goes_on
