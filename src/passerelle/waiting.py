"""Why a job waits, and whether it waits in vain: what Slurm's reasons of a queued job mean to a person. Pure.

Most waits end by themselves: others finish, a limit of the moment passes, a node comes back. Some never do, and Slurm
keeps such a job in its queue for ever without a word: hours that are used up, a request beyond a limit, a hold. Those
are known here, with what to do. The reasons are those of squeue(1), as Slurm 22.05 to 26.05 print them; a reason that
is not known here is one that passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passerelle.slurm import NO_REASON

HOURS_USED_UP = re.compile(r"^(Assoc|QOS)Grp(\w*(?<!Run)Minutes(Limit)?|WallLimit)$")
"""Group limits on what was used so far. Those on what runs now (`…RunMinutes`) fall as jobs end."""

_BEYOND_A_LIMIT = re.compile(r"^(Assoc|QOS)(Max\w+Per(Job|Node)(Limit)?|Min\w+)$")
"""Limits on one job. Those on all jobs of a user or an account pass."""

_ASKED_FOR = {
    "AccountNotAllowed": "the partition does not take this account: write another account or partition",
    "BadConstraints": "no node has all that is asked for: ask for fewer GPUs, CPUs or less memory a node",
    "InvalidAccount": "the account has ended or is not yours any more: write one that may submit",
    "InvalidQOS": "the QoS has ended or is not open to the account: write one that is",
    "PartitionNodeLimit": "it asks for more or fewer nodes than the partition takes: change nodes or gpus",
    "PartitionTimeLimit": "it asks for more time than the partition gives: shorten timeLimit, and chain attempts",
    "QOSNotAllowed": "the partition does not take this QoS: write another qos",
    "QOSTimeLimit": "it asks for more time than the QoS gives: shorten timeLimit, and chain attempts",
    "RequiresReservation": "the partition is open to reservations only: write the reservation that you were given",
    "ReservationDeleted": "its reservation is gone: leave reservation out, or write one that exists",
}
"""Reason -> what to write, as the rest of a sentence."""

_HELD = {
    "DependencyNeverSatisfied": "it depends on a job that failed: delete this TrainingJob",
    "JobHeldAdmin": "an administrator of the site holds it: ask the site's support why",
    "JobHeldUser": "it was held by its own user: release it at the site with `scontrol release {job}`",
    "JobHoldMaxRequeue": "the site started it again too often and holds it: read its log, and ask the site's support",
    "launch failed requeued held": "Slurm failed to start it and holds it: release it at the site with `scontrol "
    "release {job}`",
}
"""Reason -> what to do at the site."""

_BEYOND = "it asks for more or less than the account or the QoS allows a job: change its size, or write another qos"
_USED_UP = (
    "the hours that were granted are used up. It starts by itself once more are granted; to charge another account, "
    "delete this TrainingJob and create it with that account"
)
_ANEW = ", in a TrainingJob that takes this one's place"
"""A spec stands as it was created."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a job waits. `reason` is a condition's word; `in_vain` is whether a person must act before it can start."""

    reason: str
    message: str
    in_vain: bool = False


def wait(state_reason: str, scontrol_word: str) -> Wait:
    """What Slurm's reason for a queued job means. `scontrol_word` is the job's, for commands that the message names."""
    if state_reason in NO_REASON:
        return Wait("Queued", "The job waits in Slurm's queue: it has named no reason yet.")
    todo = _todo(state_reason)
    if todo is None:
        return Wait(_camel(state_reason), f"The job waits in Slurm's queue: {state_reason}.")
    text = f"The job waits in vain, Slurm says {state_reason}: {todo.format(job=scontrol_word)}."
    return Wait(_camel(state_reason), text, in_vain=True)


def _todo(reason: str) -> str | None:
    if HOURS_USED_UP.match(reason):
        return _USED_UP
    asked_for = _BEYOND if _BEYOND_A_LIMIT.match(reason) else _ASKED_FOR.get(reason)
    if asked_for is not None:
        return asked_for + _ANEW
    return _HELD.get(reason) or _HELD.get(reason.replace("_", " "))


def _camel(reason: str) -> str:
    """Slurm's reason as a condition's word: `AssocGrpCPUMinutesLimit` stays, `launch failed` becomes LaunchFailed."""
    words = re.sub("[^A-Za-z0-9]", " ", reason).split()
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else "Queued"
