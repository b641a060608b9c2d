"""What a TrainingJob says of what is copied for it: two conditions, and a line for each entry. Pure.

`DataStaged`    its data lie at the site
`OutputsStaged` its outputs lie in the object store; False until the run has succeeded and they do

Neither stands where there is nothing to copy. What nobody asked about in a pass stays as it was said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from passerelle.ends import count
from passerelle.errors import Invalid, Unauthorized
from passerelle.facts import Facts, Staged, Word
from passerelle.staging.steps import Progress
from passerelle.v1alpha1.staging import Transfer
from passerelle.v1alpha1.trainingjob_status import TrainingJobStatus

DATA_STAGED, OUTPUTS_STAGED = "DataStaged", "OutputsStaged"
STAGING = "Staging"
_MESSAGE = 256
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def words(old: TrainingJobStatus, facts: Facts, *, succeeded: Word, finished: Word) -> dict[str, Word]:
    """The conditions of a pass."""
    staged = facts.staged or Staged()
    found: dict[str, Word] = {}
    if staged.sources:
        found[DATA_STAGED] = _data(old, facts, staged)
    if staged.outputs:
        found[OUTPUTS_STAGED] = _outputs(old, facts, staged, succeeded=succeeded, finished=finished)
    return found


def told(progress: Sequence[Progress], noun: str) -> Word:
    """How far one direction is, in one condition."""
    stuck = next((each for each in progress if each.stalled), None)
    if stuck is not None:
        return Word("False", stuck.reason, f"{stuck.name}: {stuck.message}")
    left = [each for each in progress if not each.done]
    if not left:
        total = sum(each.total or 0 for each in progress)
        return Word("True", "Staged", f"{noun}: {count(sum(each.files for each in progress), 'file')}, {size(total)}.")
    each = next((each for each in left if each.state == "Copying"), left[0])
    of = f" of {size(each.total)}" if each.total is not None else ""
    more = f" {len(progress) - len(left)} of {len(progress)} entries are done." if len(progress) > 1 else ""
    trouble = f" Goes on after: {each.message}" if each.message else ""
    return Word("False", STAGING, f"{each.name}: {size(each.moved)}{of} copied.{more}{trouble}")


def barred(facts: Facts) -> Word | None:
    """What an administrator must mend before the site is sent anything: nothing is copied meanwhile."""
    why = facts.trouble
    return Word("False", why.reason, why.message) if isinstance(why, Invalid | Unauthorized) else None


def stuck(facts: Facts, words: Mapping[str, Word]) -> Word | None:
    """What a person must mend before copying goes on."""
    left = OUTPUTS_STAGED in words and words[OUTPUTS_STAGED].status == "False" and words["Succeeded"].status == "True"
    if left and (site := barred(facts)) is not None:
        return Word("True", site.reason, site.message)
    staged = facts.staged or Staged()
    for progress in (*(staged.into or ()), *(staged.out or ())):
        if progress.stalled:
            return Word("True", progress.reason, f"{progress.name}: {progress.message}")
    return None


def transfers(old: TrainingJobStatus, facts: Facts) -> list[Transfer]:
    """A line for each entry, data first."""
    staged = facts.staged or Staged()
    kept = {direction: [each for each in old.transfers if each.direction == direction] for direction in ("In", "Out")}
    into = kept["In"] if staged.into is None else [_line(each) for each in staged.into]
    out = kept["Out"] if staged.out is None else [_line(each) for each in staged.out]
    return [*into, *out]


def all_out(status: TrainingJobStatus) -> bool:
    """Whether it is on record that the outputs are where they go."""
    return any(each.type == OUTPUTS_STAGED and each.status == "True" for each in status.conditions)


def size(amount: int) -> str:
    """Bytes for a person: 1.5 GB."""
    for unit, name in _UNITS:
        if amount >= unit:
            return f"{amount / unit:.1f} {name}"
    return count(amount, "byte")


def _data(old: TrainingJobStatus, facts: Facts, staged: Staged) -> Word:
    if staged.into is not None:
        return told(staged.into, "At the site")
    before = _before(old, DATA_STAGED)
    if before is not None and before.status == "True":
        return before
    if facts.suspend:
        return Word("False", "Suspended", "spec.suspend is true: nothing is copied.")
    if facts.attempts:
        return before or Word("True", "Staged", "A job of this run was submitted.")
    if (site := barred(facts)) is not None:
        return site
    if facts.hold is not None:
        return Word("False", facts.hold.reason, facts.hold.message)
    return before or Word("False", "Waiting", "Nothing is copied yet.")


def _outputs(old: TrainingJobStatus, facts: Facts, staged: Staged, *, succeeded: Word, finished: Word) -> Word:
    if staged.out is not None:
        return told(staged.out, "In the object store")
    before = _before(old, OUTPUTS_STAGED)
    if before is not None and before.status == "True":
        return before
    if finished.status == "True" and succeeded.status != "True":
        return Word("False", "RunFailed", "The run has not succeeded; what it left lies at the site.")
    if finished.status == "True":
        return barred(facts) or before or Word("False", "Waiting", "The outputs are copied soon.")
    return Word("False", "RunNotEnded", "The outputs are copied when the run has succeeded.")


def _before(old: TrainingJobStatus, kind: str) -> Word | None:
    found = next((each for each in old.conditions if each.type == kind), None)
    return None if found is None else Word(found.status, found.reason, found.message)


def _line(progress: Progress) -> Transfer:
    return Transfer(
        name=progress.name,
        direction=progress.direction,
        state=progress.state,
        files=progress.files,
        bytes=max(progress.moved, 0),
        total_bytes=progress.total,
        message=progress.message[:_MESSAGE],
        start_time=_time(progress.began),
        end_time=_time(progress.ended),
    )


def _time(epoch: float | None) -> str | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
