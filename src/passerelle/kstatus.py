"""Ready, Reconciling and Stalled, as kstatus, Flux and Argo CD read them. Pure.

`Reconciling` until the site has accepted, `Ready=True` from then on, `Stalled=True` when a person must act or the run
finally failed. Conditions of abnormal polarity stand only while they are True.
"""

from __future__ import annotations

from collections.abc import Mapping

from passerelle import staged
from passerelle.current import OUTCOME_LOST
from passerelle.errors import Invalid, Rejected, Unauthorized
from passerelle.facts import IDENTITY_CHANGED, Facts, Word
from passerelle.slurm import RemoteJob, Stage
from passerelle.v1alpha1.trainingjob_status import Attempt
from passerelle.waiting import Wait, wait

DELETING = "Deleting"


def deletion(facts: Facts, current: Attempt | None) -> dict[str, Word]:
    """What a deletion waits for, and how to end the wait."""
    known = current is not None and current.job_id is not None
    job = f"Slurm job {current.job_id}" if known and current is not None else "a job that may have been submitted"
    text, why = f"Waits until {job} has ended.", facts.trouble or (facts.unseen.why if facts.unseen else None)
    if why is not None:
        text = (
            f"Waits until {job} can be cancelled: {why.message} To let go without that, and perhaps leave the job "
            f"running: kubectl annotate -n {facts.namespace} trainingjob {facts.name} "
            'passerelle.dev/abandon="true".'
        )
    kind = "Stalled" if facts.unseen is not None else "Reconciling"
    return {"Ready": Word("False", DELETING, text), kind: Word("True", DELETING, text)}


def of(facts: Facts, words: Mapping[str, Word]) -> dict[str, Word]:
    accepted, submitted, succeeded = words["Accepted"], words["Submitted"], words["Succeeded"]
    if accepted.status == "False":
        return {"Ready": accepted, "Stalled": Word("True", accepted.reason, accepted.message)}
    if succeeded.status == "False" or (succeeded.reason == OUTCOME_LOST and submitted.reason != IDENTITY_CHANGED):
        failed = Word("False", succeeded.reason, succeeded.message)
        return {"Ready": failed, "Stalled": Word("True", succeeded.reason, succeeded.message)}
    if (mend := staged.stuck(facts, words)) is not None:
        return {"Ready": Word("False", mend.reason, mend.message), "Stalled": mend}
    if submitted.status == "True":
        waits = None if facts.suspend else waited_for(facts.job)
        if waits is not None and waits.in_vain:
            vain = Word("False", waits.reason, waits.message)
            return {"Ready": vain, "Stalled": Word("True", waits.reason, waits.message)}
        why = facts.unseen.why if facts.unseen is not None and words["Finished"].status == "False" else None
        if isinstance(why, Invalid | Unauthorized):
            return {
                "Ready": Word("False", why.reason, why.message),
                "Stalled": Word("True", why.reason, why.message),
            }
        return {"Ready": Word("True", submitted.reason, "The site has accepted the job.")}
    waiting = Word("False", submitted.reason, submitted.message)
    unseen = facts.unseen.why if facts.unseen is not None else None
    whys = (each for each in (facts.trouble, unseen) if isinstance(each, Invalid | Rejected | Unauthorized))
    if any(each.reason == submitted.reason for each in whys):
        return {"Ready": waiting, "Stalled": Word("True", submitted.reason, submitted.message)}
    if facts.suspend:
        return {"Ready": waiting}
    return {"Ready": waiting, "Reconciling": Word("True", submitted.reason, submitted.message)}


def waited_for(job: RemoteJob | None) -> Wait | None:
    """What a queued job waits for."""
    return wait(job.state_reason, job.scontrol_word) if job is not None and job.stage is Stage.QUEUED else None
