"""The attempt's last word: which rank failed first, written down beside the log and into the job's comment.

It may run in the short time that Slurm leaves between its first and its last signal: one scontrol, and no search.
Slurm takes no comment for a job that it has already cancelled or timed out; result.json has it then.
"""

import os
import sys
import time
from typing import Any, Dict, List, Optional

from passerelle.onsite.codes import public
from passerelle.onsite.files import read_json, write_json
from passerelle.onsite.relay import Tail, post
from passerelle.onsite.report import Progress
from passerelle.onsite.supervise import ended_by

_VICTIM = (9, 15)
"""Signals with which the others are ended when one has failed."""


def first_failure(folder: str) -> Optional[Dict[str, Any]]:
    """The earliest end that was nobody else's doing; a trainer's before its agent's; else the earliest of all."""
    found = [read_json(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".json")]
    ends = [each for each in found if each]
    if not ends:
        return None
    return min(ends, key=lambda end: (end["signal"] in _VICTIM, end["rank"] is None, end["time"]))


def conclude(folder: str, code: int) -> Dict[str, Any]:
    """How the attempt ended: the first failing rank's word, or srun's own where no rank left one."""
    first = first_failure(folder) if code else None
    return first or {"code": code, "signal": ended_by(code), "rank": None, "err": "", "time": time.time(), "ours": True}


def main(argv: List[str]) -> int:
    """`epilogue SPEC CODE`, where CODE is srun's. Returns the code with which the job shall end."""
    here, code = os.path.dirname(os.path.abspath(argv[0])), int(argv[1])
    end = conclude(os.path.join(here, "ends"), code)
    progress = Progress()
    for line in Tail(os.environ["PASSERELLE_PROGRESS_FILE"]).lines():
        progress.take(line)
    result = dict(end, srun=code, jobId=os.environ["SLURM_JOB_ID"], progress=progress.values, metrics=progress.metrics)
    write_json(os.path.join(here, "result.json"), result)
    why = post(os.environ["SLURM_JOB_ID"], progress.record(time.time(), end))
    if why is not None:
        print("passerelle: the end can't be reported: " + why, file=sys.stderr)
    return int(end["code"]) if end.get("ours") else public(int(end["code"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
