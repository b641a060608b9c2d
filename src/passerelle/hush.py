"""The last word on whether any job of a run lives, before its TrainingJob goes or a cancelled attempt has ended. Pure.

A full live listing says it, once it must show what was sent. So does accounting, for a fraction of that, where it is
asked by name twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from passerelle.last_word import LastWord
from passerelle.marker import Run, parse
from passerelle.names import LOOK_AHEAD, NAMES_OF_A_RUN
from passerelle.picture import Picture
from passerelle.slurm import RemoteJob, Stage
from passerelle.views import Asked, View


def by_listing(picture: Picture, runs: Collection[Run], asked: Asked, settle_seconds: float) -> set[Run]:
    """Take a full live listing for it; the runs that were asked about and are quiet now."""
    known = set()
    for run in runs:
        view = picture.views.get(run)
        if view is None or _lives(view):
            continue
        if asked.began - view.sent_at >= settle_seconds:
            known |= {run} if view.hushing else set()
            _quiet(view)
    return known


def by_name(
    picture: Picture, runs: Collection[Run], rows: Iterable[RemoteJob], asked: Asked, settle_seconds: float
) -> set[Run]:
    """Take accounting's rows of these runs for it; those that are quiet now.

    It hears of a submit seconds later, and of none while slurmdbd is away. So it must have the end of the newest
    attempt's job, and none that lives, in two answers that are as far apart as the settle time: by the second one it
    has whatever was sent beside that. Where it has not, a listing is waited for.
    """
    told: dict[Run, list[tuple[int, RemoteJob]]] = {}
    for row in rows:
        if (named := parse(row.name)) is not None and picture.ours(row):
            told.setdefault(named[0], []).append((named[1], row))
    known = set()
    for run in runs:
        view = picture.views.get(run)
        if view is None or not view.hushing or _lives(view):
            continue
        word, mine = view.word, told.get(run, [])
        ended = all(job.stage is Stage.ENDED for _, job in mine) and any(each == view.highest for each, _ in mine)
        word.since = asked.answered if word.since is None else word.since
        word.ended_at = (asked.answered if word.ended_at is None else word.ended_at) if ended else None
        if word.ended_at is None or view.highest > NAMES_OF_A_RUN - LOOK_AHEAD:
            word.to_listing = not mine or asked.began - word.since >= 2 * settle_seconds
        elif asked.began - max(word.ended_at, view.sent_at) >= settle_seconds:
            _quiet(view)
            known.add(run)
    return known


def _lives(view: View) -> bool:
    """Whether one is known to live: that is the answer."""
    if all(job.stage is Stage.ENDED for _, job in view.jobs.values()):
        return False
    view.hushing, view.word = False, LastWord()
    return True


def _quiet(view: View) -> None:
    view.quiet, view.hushing, view.word = True, False, LastWord()
