"""What Slurm's commands print -> RemoteJob and JobState. Pure.

A field ends with a mark that was drawn for this one question: so a bar, a line break or anything else that somebody
wrote into a name or a comment is a part of that field. Times are epoch seconds, since SLURM_TIME_FORMAT asks for them.

squeue prints one word for a state: COMPLETING hides how the job ended (and, after a requeue, that it waits again). Such
a job still holds its nodes, so it counts as running until the end stands. As in slurmrestd's answers, a job that never
got a node has no start and no exit, and a running job no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from passerelle.gateways import sacct
from passerelle.gateways.ssh.commands import ACCOUNTED, LIGHT, LIVE, NAMED
from passerelle.slurm import JobState, RemoteJob

Row = dict[str, str]

_NOTHING = frozenset({"", "N/A", "None", "NONE", "Unknown", "(null)", "None assigned", "n/a"})
_TRES_GPUS = re.compile(r"(?:^|,)gres/gpu(:[^=,]+)?=(\d+)")
_CANCELLED_BY = re.compile(r"CANCELLED by (\d+)")
_SIGNAL_BITS = 0x7F
_DAY, _HOUR = 24 * 60, 60


class NotUnderstood(ValueError):
    """The output is not what the command prints."""


@dataclass(frozen=True, slots=True)
class Site:
    """Who answered: taken from `who_answers`."""

    cluster: str
    release: str
    user: str
    uid: str


def site(text: str) -> Site:
    """`id -un`, `id -u`, and `scontrol show config`."""
    user, uid, config = [*text.split("\n", 2), "", ""][:3]
    found = dict(re.findall(r"^(ClusterName|SLURM_VERSION)\s*= (\S+)$", config, re.MULTILINE))
    if not user or not uid.isdigit() or len(found) != 2:  # noqa: PLR2004 -- both of the two
        raise NotUnderstood("scontrol names no cluster and no release")
    return Site(found["ClusterName"], found["SLURM_VERSION"], user, uid)


def submitted(text: str) -> str:
    """The job's id: sbatch --parsable prints `123`, or `123;cluster`; a site's own wrapper may print other lines."""
    ids = [found[1] for line in text.splitlines() if (found := re.fullmatch(r"([1-9]\d*)(;\S+)?", line))]
    if len(ids) != 1:
        raise NotUnderstood("sbatch printed no job id, or several")
    return ids[0]


def digest(text: str) -> str:
    """`sha256sum` of its standard input."""
    found = re.fullmatch(r"([0-9a-f]{64})  -\n", text)
    if found is None:
        raise NotUnderstood("sha256sum printed no digest")
    return found[1]


def states(text: str, mark: str) -> dict[str, JobState]:
    """The light listing. Components of arrays and of het jobs have ids of their own, and are none of ours."""
    return {row["JobID"]: _live_state(row["State"]) for row in rows(text, mark, list(LIGHT))}


def names(text: str, mark: str) -> list[tuple[str, str]]:
    """Each job's id and name."""
    return [(row["JobID"], row["Name"]) for row in rows(text, mark, list(NAMED))]


def live(text: str, mark: str, here: Site) -> list[RemoteJob]:
    return [_live_job(row, here) for row in rows(text, mark, list(LIVE))]


def accounted(text: str, mark: str, here: Site) -> list[RemoteJob]:
    """All rows: a requeued job has one for each of its lives."""
    return [_accounted_job(row, here) for row in rows(text, mark, ACCOUNTED) if row["JobIDRaw"].isdigit()]


def newest(jobs: Iterable[RemoteJob]) -> list[RemoteJob]:
    """One record a job: the life that was submitted last, and the later row of two."""
    found: dict[tuple[str, str], RemoteJob] = {}
    for job in jobs:
        kept = found.get(job.key)
        if kept is None or kept.submit_time <= job.submit_time:
            found[job.key] = job
    return list(found.values())


def rows(text: str, mark: str, fields: Sequence[str]) -> list[Row]:
    """The fields of each record; the mark ends every field, and a line break follows the last one of a record."""
    values = text.split(mark)
    records, rest = divmod(len(values), len(fields))
    if rest != 1 or values[-1].strip("\n"):
        raise NotUnderstood("a record is cut off, or has other fields than were asked for")
    found = []
    for number in range(records):
        record = values[number * len(fields) : (number + 1) * len(fields)]
        if number and not record[0].startswith("\n"):
            raise NotUnderstood("two records stand in one line")
        found.append({name: value.strip() for name, value in zip(fields, record, strict=True)})
    return found


def minutes(text: str) -> int | None:
    """A time limit as squeue prints it: `33:00`, `1:00:00`, `2-00:00:00`; None where it is unlimited or unset."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, whole, _ = (int(each or 0) for each in found.groups())
    return days * _DAY + hours * _HOUR + whole


def _live_job(row: Row, here: Site) -> RemoteJob:
    state = _live_state(row["State"])
    nodes = _text(row["NodeList"])
    code, signal = _exit(row["exit_code"], state) if nodes else (None, None)
    return RemoteJob(
        job_id=row["JobID"],
        name=row["Name"],
        user=row["UserName"],
        cluster=here.cluster,
        state=state,
        state_reason=_text(row["Reason"]),
        submit_time=_number(row["SubmitTime"]) or 0,
        start_time=_start(row["StartTime"], state, nodes),
        end_time=_number(row["EndTime"]) if state.ending is not None else None,
        restart_count=_number(row["RestartCnt"]) or 0,
        partition=row["Partition"],
        account=_text(row["Account"]),
        qos=_text(row["QOS"]),
        nodes=nodes,
        node_count=_number(row["NumNodes"]) or 0,
        gpus=tres_gpus(row["tres-alloc"]),
        time_limit_minutes=minutes(row["TimeLimit"]),
        exit_code=code,
        exit_signal=signal,
        comment=_text(row["Comment"]),
        standard_output=_text(row["STDOUT"]).replace("%j", row["JobID"]),
    )


def _accounted_job(row: Row, here: Site) -> RemoteJob:
    by = _CANCELLED_BY.match(row["State"])
    state = JobState.parse(re.split(r"[ ,+]+", "CANCELLED" if by else row["State"]))
    nodes = _text(row["NodeList"])
    code, signal = _exit(row["ExitCode"], state) if nodes else (None, None)
    code = sacct.whole(code)
    return RemoteJob(
        job_id=row["JobIDRaw"],
        name=row["JobName"],
        user=row["User"],
        cluster=row["Cluster"],
        state=state,
        state_reason=_text(row["Reason"]),
        submit_time=_number(row["Submit"]) or 0,
        start_time=_start(row["Start"], state, nodes),
        end_time=_number(row["End"]) if state.ending is not None else None,
        partition=row["Partition"],
        account=_text(row["Account"]),
        qos=_text(row["QOS"]),
        nodes=nodes,
        node_count=_number(row["NNodes"]) or 0,
        gpus=tres_gpus(row["AllocTRES"]) or tres_gpus(row["ReqTRES"]),
        time_limit_minutes=_number(row["TimelimitRaw"]),
        exit_code=code,
        exit_signal=signal,
        comment=_text(row["Comment"]),
        cancelled_by=_who(by[1], here) if by else "",
        live=False,
    )


def _live_state(word: str) -> JobState:
    return JobState("RUNNING", frozenset({word})) if word == "COMPLETING" else JobState.parse([word])


def _exit(text: str, state: JobState) -> tuple[int | None, int | None]:
    """(exit code, signal), each None where it is unknown or the job still lives: `3:0`, or a raw status from 22.05's
    squeue.
    """
    if state.ending is None:
        return None, None
    first, colon, second = text.partition(":")
    code, signal = _number(first), _number(second)
    if not colon and code is not None:
        code, signal = code >> 8, code & _SIGNAL_BITS
    if signal:
        return None, signal
    return (code if code or state.ending.succeeded else None), None


def _start(text: str, state: JobState, nodes: str) -> int | None:
    """The start, a waiting job's forecast included."""
    return None if state.ending is not None and not nodes else _number(text)


def tres_gpus(tres: str) -> int:
    """The untyped count is the total; a site that counts only typed ones has `gres/gpu:a100=4`."""
    found = _TRES_GPUS.findall(tres)
    total = sum(int(count) for kind, count in found if not kind)
    return total or sum(int(count) for kind, count in found if kind)


def _who(uid: str, here: Site) -> str:
    return {here.uid: here.user, "0": "root"}.get(uid, f"user {uid}")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _text(text: str) -> str:
    return "" if text in _NOTHING else text
