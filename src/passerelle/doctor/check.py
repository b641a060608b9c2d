"""Check: one thing that was looked at, how it stands, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from passerelle.errors import PasserelleError

Verdict = Literal["ok", "warning", "wrong", "open"]
"""wrong: no job would run, or not as its Site says. warning: it runs, and somebody will regret it. open: not looked at.
"""

Subject = Literal[
    "site",
    "secret",
    "address",
    "token",
    "identity",
    "slurm",
    "gateway",
    "accounting",
    "accounts",
    "qos",
    "partition",
    "clock",
    "run root",
    "operator",
    "canary",
]

_PASSES = "it passes by itself, or at the site: ask again, then its support."
UNREACHABLE = "Unreachable"
NEXT = {
    UNREACHABLE: "Check host and port in gateway.url, and firewalls and proxies on the way.",
    "UnexpectedAnswer": "Check gateway.url, and proxies on the way; of a login node, what the user's .bashrc does.",
    "AnswerTooLarge": "Check gateway.url: what answers there may be something else.",
    "Busy": "The gateway asks for patience; " + _PASSES,
    "SchedulerUnavailable": "The gateway answers and the scheduler behind it doesn't; " + _PASSES,
    "AccountingUnavailable": "Running jobs go on, and nothing new is submitted meanwhile; " + _PASSES,
    "ClusterUnknown": "Accounting tells it: ask again where that is silent, else ask for the right to read it.",
}
"""What to do, by the reason of an error whose message doesn't say it."""

_ADVICE = re.compile(r"[:;] (?:check|put|tell) ")
"""Of some broken connections the message knows the cause, and then says what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """`id` names the cause of what is not ok, as a condition's reason would. `fix` is a sentence; "" where nothing is
    to be done. `others` are subjects that were left open with its own.
    """

    subject: Subject
    verdict: Verdict
    text: str
    fix: str = ""
    id: str = ""
    others: tuple[Subject, ...] = ()

    def __str__(self) -> str:
        return f"{self.text} {self.fix}".rstrip()


def ok(subject: Subject, text: str) -> Check:
    return Check(subject, "ok", text)


def refused(subject: Subject, error: PasserelleError) -> Check:
    """What an error says, with what to do."""
    told = error.reason == UNREACHABLE and _ADVICE.search(error.message)
    return Check(subject, "wrong", error.message, "" if told else NEXT.get(error.reason, ""), error.reason)


def unasked(subjects: Iterable[Subject], why: str) -> Check:
    """What could not be looked at, as one line."""
    first, *more = subjects
    named = "This was" if not more else f"{', '.join([first, *more[:-1]])} and {more[-1]} were"
    return Check(first, "open", f"{named} not checked: {why}.", others=tuple(more))
