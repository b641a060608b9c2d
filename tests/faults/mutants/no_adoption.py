"""A defect on purpose, loaded ahead of the operator: of an intent whose answer was lost, the job is not believed."""

from dataclasses import replace

from passerelle import actions, current, decide

_decide = decide.decide


def _without_adoption(wanted: current.Wanted, seen: current.Seen) -> actions.Action:
    known = {record.job_id for record in wanted.recorded}
    jobs = tuple((number, job) for number, job in seen.jobs if job.job_id in known)
    denied = {number for number, _ in seen.jobs} - {number for number, _ in jobs}
    return _decide(wanted, replace(seen, jobs=jobs, absent=seen.absent | denied))


decide.decide = _without_adoption
