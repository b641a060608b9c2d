"""The attempt's last word: which rank failed first, posted where the operator reads it, and kept beside the rest.

It may run in the short time that Slurm leaves between its first and its last signal: one scontrol, and no search, but
where a node's ranks left no word and nobody had told them to stop: then the others may have failed through that node.
Slurm takes no comment for a job that it has already cancelled or timed out; the report file has it then. Each step is
done whatever became of the others, and none of them changes the exit code.
"""

import os
import re
import sys
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Set

from passerelle.onsite.codes import BAD_NODE, CONTINUE, IMAGE_NOT_FOUND, SITE_FAULT, public
from passerelle.onsite.files import read_json, tell, write_json
from passerelle.onsite.post import ways
from passerelle.onsite.relay import Tail
from passerelle.onsite.report import Progress
from passerelle.onsite.silence import MOST, node_count, silent_nodes
from passerelle.onsite.step import ENGINES
from passerelle.onsite.supervise import VICTIM, ended_by

_FAULTS = (SITE_FAULT, IMAGE_NOT_FOUND)
"""The codes of ours that a rank may leave."""

_NAME = re.compile(r"((rank|agent)-[0-9]+|node-[\w.-]+)\.json$")


def read_ends(folder: str) -> List[Dict[str, Any]]:
    """How each rank and agent ended that did not end with 0, as it wrote itself; of a node's victims, one of them."""
    found = [read_json(os.path.join(folder, name)) for name in os.listdir(folder) if _NAME.match(name)]
    return [each for each in found if each and _sound(each)]


def conclude(ends: List[Dict[str, Any]], code: int) -> Dict[str, Any]:
    """How the attempt ended: the earliest end that was nobody else's doing, a trainer's before its agent's; else the
    earliest of all; srun's own code where no rank left a word.
    """
    if ends and code:
        return min(ends, key=lambda end: (end["signal"] in VICTIM, end["rank"] is None, end["time"]))
    return {"code": code, "signal": ended_by(code), "rank": None, "err": "", "time": time.time(), "ours": True}


def explain(
    end: Dict[str, Any], heard: Set[str], *, stopping: bool, grace: int, body: bool = False, began: bool = True
) -> Dict[str, Any]:
    """The end with what lies behind it: a node, a step that never `began`, or a stop that the ranks did not obey in
    time. `heard` are the nodes whose ranks left a word; with `body` the word is a script's of the user's, whose own
    exit code counts.
    """
    if end["code"] == BAD_NODE:
        return dict(end, nodes=[end["node"]] if end.get("node") else [])
    if end["code"] in (0, CONTINUE, *_FAULTS):
        return end
    if stopping:
        ended = (end["rank"] is None and not body) or end["signal"] in VICTIM
        return dict(end, code=CONTINUE, signal=None, ours=True) if grace and ended else end
    spoken = heard | {os.environ.get("SLURMD_NODENAME", "")}
    nodes = [node for node in silent_nodes() if node not in spoken] if len(heard) < node_count() else []
    nodes = nodes[:MOST]
    if nodes:
        return dict(end, code=BAD_NODE, signal=None, ours=True, nodes=nodes)
    if began or body or end["signal"] is not None:
        return end
    text = "srun exited with code %d before any process began; the log has its words." % end["code"]
    return dict(end, code=SITE_FAULT, ours=True, err=text)


def _sound(end: Dict[str, Any]) -> bool:
    """Whether a record is as supervise writes it: the folder is open to trainers, too."""
    return (
        _whole(end.get("code"), 1, 255)
        and (end.get("signal") is None or _whole(end["signal"], 1, 64))
        and (end.get("rank") is None or _whole(end["rank"], 0, 2**31))
        and isinstance(end.get("err"), str)
        and isinstance(end.get("node", ""), str)
        and type(end.get("time")) in (int, float)
        and 0 <= end["time"] < 2**53
        and (not end.get("ours") or end["code"] in _FAULTS)
    )


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Tell what fails, and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- the epilogue may stumble over anything, the job over nothing
        tell("%s: %s: %s" % (what, type(error).__name__, error))


def main(argv: List[str]) -> int:
    """`epilogue SPEC CODE GRACE`, where CODE is srun's. Returns the code with which the job shall end, and prints it as
    its last word: the batch script believes no exit code without it. The comment comes first, for it is read from
    afar, and what failed may be the file system.
    """
    here, code, job_id = os.path.dirname(os.path.abspath(argv[0])), int(argv[1]), os.environ["SLURM_JOB_ID"]
    ends, began, progress = [], True, Progress()  # type: List[Dict[str, Any]], bool, Progress
    with _guarded("the ranks' ends can't be read"):
        ends = read_ends(os.path.join(here, "ends"))
        began = bool(os.listdir(os.path.join(here, "ends")))  # the first rank leaves a file as it begins
    end = conclude(ends, code)
    with _guarded("the end can't be explained"):
        heard = {each["node"] for each in ends if each.get("node")}
        stopping = os.path.exists(os.environ["PASSERELLE_STOP_FILE"])
        spec = read_json(argv[0]) or {}
        body = bool(spec.get("isBody"))
        began = began or (spec.get("container") or {}).get("kind") in ENGINES  # whose failure may be the image's
        end = explain(end, heard, stopping=stopping, grace=int(argv[2]), body=body, began=began)
    with _guarded("the progress can't be read"):
        for line in Tail(os.environ["PASSERELLE_PROGRESS_FILE"]).lines():
            progress.take(line)
    for way in ways():
        with _guarded("the end can't be reported"):
            why = way(progress.record(time.time(), end))
            if why is not None:
                tell("the end can't be reported: " + why)
    with _guarded("result.json can't be written"):
        result = dict(end, srun=code, jobId=job_id, progress=progress.values, metrics=progress.metrics)
        write_json(os.path.join(here, "result.json"), result)
    shall = int(end["code"]) if end.get("ours") else public(int(end["code"]))
    print(shall)
    return shall


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
