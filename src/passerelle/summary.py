"""A status in one word, for the printer column, and why. Pure; derived from the conditions, never read by code."""

from __future__ import annotations

from passerelle.attempts import SUSPENDED
from passerelle.facts import Facts, Word

STOPPING = "Stopping"


def summary(facts: Facts, words: dict[str, Word]) -> tuple[str, str]:
    """One word for the printer column, and why. Derived, never read by code."""
    if facts.deleting:
        why = facts.trouble or (facts.unseen.why if facts.unseen is not None else None)
        return "Deleting", why.reason if why is not None else ""
    if words["Accepted"].status == "False":
        return "Refused", words["Accepted"].reason
    if words["Finished"].status == "True":
        lost = words["Succeeded"].status == "Unknown"
        return ("Succeeded" if words["Succeeded"].status == "True" else "Lost" if lost else "Failed"), words[
            "Succeeded"
        ].reason
    unseen = words["SiteReachable"].reason if "SiteReachable" in words else ""
    if facts.suspend:
        at_site = words["Submitted"].status == "True" and words["Running"].reason != "Ended"
        return SUSPENDED, (unseen or STOPPING) if at_site else ""
    return _under_way(words, unseen)


def _under_way(words: dict[str, Word], unseen: str) -> tuple[str, str]:
    """The same of a run that goes on. `unseen` is why nobody sees its job, which is what counts then."""
    running = words["Running"]
    if running.status == "True":
        return "Running", unseen
    if running.reason in ("Ending", "Ended"):  # another attempt is to come
        if words["Submitted"].status != "False":
            return running.reason, unseen
        return "Stalled" if "Stalled" in words else "Waiting", words["Submitted"].reason
    if words["Submitted"].status == "True":
        return ("Queued", unseen) if unseen else _queued(words, running.reason)
    if "Stalled" in words:
        return "Stalled", words["Stalled"].reason
    if words["Accepted"].status == "True":
        return "Accepted", words["Submitted"].reason
    return "Waiting", words["Submitted"].reason


def _queued(words: dict[str, Word], why: str) -> tuple[str, str]:
    if "Stalled" in words and words["Stalled"].reason == why:  # it waits in vain
        return "Stalled", why
    return "Queued", why if why != "Queued" else ""
