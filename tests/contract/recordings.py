"""Answers of servers that were written down: for what no sandbox shows in time.

A recording is a door on fixed answers, the id of a job there, and what it is to be read as. The answers of UNICORE are
a live UNICORE/X 3.0.0's where it gave them; how Slurm ended the job stands in them as its TSI would have told it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from passerelle.gateways.base import Gateway
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore

JOB_ID = "B4jDR837ABd"


@dataclass(frozen=True)
class Recorded:
    """`reason` is the word of the job's end, `nodes` where it ran."""

    open: Callable[[], Gateway]
    reason: str
    nodes: str
    job_id: str = JOB_ID


_CLIENT = {"role": {"selected": "user"}, "xlogin": {"UID": "startup"}}
_SERVER = {"siteName": "SANDBOX", "version": "11.0.0", "externalConnections": {"TSI 1": "OK"}}
_LOST = "Job did not complete normally on BSS, please check standard error file and job log for more information."
_JOB: dict[str, Any] = {
    "status": "FAILED",
    "statusMessage": _LOST,
    "name": "psr-" + "a" * 26 + "-1",
    "tags": ["passerelle", "psr-" + "a" * 26 + "-1"],
    "submissionTime": "2026-11-25T03:35:21+0000",
    "terminationTime": "2026-12-25T03:35:21+0000",
    "batchSystemID": "3369538",
    "queue": "gpu",
    "consumedTime": {"queued": "3", "stage-in": "1", "main": "N/A"},
}
_DETAILS = {
    "JobId": "3369538",
    "Restarts": "0",
    "NodeList": "n[1-2]",
    "NumNodes": "2",
    "SubmitTime": "2026-11-25T04:35:23",
    "StartTime": "2026-11-25T04:35:25",
    "EndTime": "2026-11-25T04:36:25",
}


def _unicore(state: str, code: str, reason: str) -> Recorded:
    """Slurm's last word stands in the job's log: slurmctld has forgotten the job when we come to ask."""
    told = json.dumps(_DETAILS | {"JobState": state, "ExitCode": code})
    log = [
        "Wed Nov 25 04:35:21 CET 2026: Created with type 'JSON'",
        f"Wed Nov 25 04:38:25 CET 2026: Detailed job information from batch system: {told}",
        f"Wed Nov 25 04:38:25 CET 2026: {_LOST}",
    ]
    answers = {
        "": {"client": _CLIENT, "server": _SERVER},
        f"jobs/{JOB_ID}": _JOB | {"log": log},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/rest/core").strip("/")
        if path in answers:
            return httpx.Response(200, json=answers[path])
        return httpx.Response(500, json={"errorMessage": "Could not get job details: Invalid job id specified"})

    def door() -> Gateway:
        held = UnicoreCredential(user="startup", token="recorded")
        return Unicore("http://127.0.0.1:1/rest/core", lambda: held, transport=httpx.MockTransport(answer))

    return Recorded(door, reason, "n[1-2]")


RECORDINGS: Mapping[str, Mapping[str, Recorded]] = {
    "unicore": {
        "time-limit": _unicore("TIMEOUT", "0:0", "TimeLimit"),
        "out-of-memory": _unicore("OUT_OF_MEMORY", "0:125", "OutOfMemory"),
        "node-failure": _unicore("NODE_FAIL", "1:0", "NodeFailure"),
        "preemption": _unicore("PREEMPTED", "0:15", "Preempted"),
        "administrator": _unicore("CANCELLED", "0:15", "Cancelled"),
    },
}
"""By the word of --gateway, and by a name of their own."""
