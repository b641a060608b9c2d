"""Answers of servers that were written down: for what no sandbox shows in time, or at all.

A recording is a door on fixed answers, the id of a job there, and what it is to be read as. UNICORE's are a live
UNICORE/X 3.0.0's where it gave them; how Slurm ended the job stands in them as its TSI would have told it. Those of an
end for want of memory are a live server's for a failed job, with the state and the code that Slurm's own source has for
it (SIG_OOM: `0:125`): without cgroups no Slurm ends a job so.
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from firecrest.canned import USER, Row
from firecrest.canned import LoginNode as CannedNode
from firecrest.fake import Fake
from passerelle.gateways.base import Gateway
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.gateways.unicore.credential import UnicoreCredential
from passerelle.gateways.unicore.driver import Unicore
from unit.gateways import login_node, test_arc_driver
from unit.gateways.scripted_server import META, Server, client

ANSWERS = Path(__file__).parents[1] / "unit" / "gateways" / "recordings"
UNICORE_ID = "B4jDR837ABd"
SIG_OOM = 125


@dataclass(frozen=True)
class Recorded:
    """`reason` is the word of the job's end, `nodes` where it ran, `waited` the seconds before its start, if told."""

    open: Callable[[], AbstractAsyncContextManager[Gateway]]
    job_id: str
    reason: str
    nodes: str
    waited: int | None = 0


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
        f"jobs/{UNICORE_ID}": _JOB | {"log": log},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/rest/core").strip("/")
        if path in answers:
            return httpx.Response(200, json=answers[path])
        return httpx.Response(500, json={"errorMessage": "Could not get job details: Invalid job id specified"})

    @asynccontextmanager
    async def door() -> AsyncIterator[Gateway]:
        held = UnicoreCredential(user="startup", token="recorded")
        made = Unicore("http://127.0.0.1:1/rest/core", lambda: held, transport=httpx.MockTransport(answer))
        yield made
        await made.close()

    return Recorded(door, UNICORE_ID, reason, "n[1-2]", waited=4)


def _slurmrestd(version: str) -> Recorded:
    job: dict[str, Any] = json.loads((ANSWERS / f"{version}.json").read_text(encoding="utf-8"))["live"]["failed"]
    job = copy.deepcopy(job)
    if isinstance(job["job_state"], str):
        job |= {"job_state": "OUT_OF_MEMORY", "exit_code": SIG_OOM}
    else:
        signal = {"id": {"set": True, "infinite": False, "number": SIG_OOM}, "name": ""}
        job |= {
            "job_state": ["OUT_OF_MEMORY"],
            "exit_code": job["exit_code"] | {"status": ["SIGNALED"], "signal": signal},
        }
    number = str(job["job_id"])

    @asynccontextmanager
    async def door() -> AsyncIterator[Gateway]:
        server = Server(int(version.rpartition(".")[2]))
        server.replies = {
            key: {"meta": META, "jobs": [job], "licenses": []}
            for key in (f"GET job/{number}", "GET jobs", "GET licenses")
        }
        made = client(server)
        yield made
        await made.close()

    return Recorded(door, number, "OutOfMemory", job["nodes"])


def _ssh(release: str, waited: int = 0) -> Recorded:
    told = json.loads((ANSWERS / "ssh" / f"{release}.json").read_text(encoding="utf-8"))
    number = told["ids"]["failed"]
    rows = [row for row in told["live"]["stdout"].splitlines(keepends=True) if row.startswith(number)]
    (row,) = rows
    row = re.sub("␣(\\d+)␣", lambda blanks: " " * int(blanks[1]), row)
    row = row.replace("FAILED       ", "OUT_OF_MEMORY").replace("3:0  ", f"0:{SIG_OOM}")

    async def squeue(call: login_node.Call) -> None:
        await call.answer(row.replace("m0123456789abcdef", call.mark))

    @asynccontextmanager
    async def door() -> AsyncIterator[Gateway]:
        async with login_node.running({"squeue": squeue}) as node:
            made = node.door()
            yield made
            await made.close()

    return Recorded(door, number, "OutOfMemory", "n1", waited)


@asynccontextmanager
async def _firecrest() -> AsyncIterator[Gateway]:
    row = Row("77", "psr-" + "a" * 26 + "-1", "OUT_OF_MEMORY", f"0:{SIG_OOM}", end="1010")
    with tempfile.TemporaryDirectory() as root:
        fake = Fake("alps", CannedNode(Path(root), rows=[row]), USER)
        held = FirecrestCredential(user=USER, token=fake.issuer.token(600))
        made = Firecrest(fake.url, "alps", lambda: held)
        yield made
        await made.close()
        fake.end()


@asynccontextmanager
async def _arc() -> AsyncIterator[Gateway]:
    """A-REX says that the job failed; that memory was the cause stands in what Slurm's tools wrote."""
    arex = test_arc_driver.Arex()
    said = "slurmstepd: error: Detected 1 oom_kill event in StepId=3429035.batch"
    arex.job(
        state="FAILED",
        diagnose_local=test_arc_driver.local(),
        diagnose_failed=f"LRMS error: ({SIG_OOM}) Job failed",
        diagnose_errors=f"Contents of output stream forwarded by the LRMS\n{said}",
    )
    made = test_arc_driver.door(arex)
    yield made
    await made.close()


OUT_OF_MEMORY = "out-of-memory"

RECORDINGS: Mapping[str, Mapping[str, Recorded]] = {
    "bookworm": {OUT_OF_MEMORY: _slurmrestd("v0.0.38")},
    "trixie": {OUT_OF_MEMORY: _slurmrestd("v0.0.42")},
    "sid": {OUT_OF_MEMORY: _slurmrestd("v0.0.45")},
    "ssh-bookworm": {OUT_OF_MEMORY: _ssh("22.05")},
    "ssh-trixie": {OUT_OF_MEMORY: _ssh("24.11", waited=3)},
    "ssh-sid": {OUT_OF_MEMORY: _ssh("26.05")},
    "unicore": {
        "time-limit": _unicore("TIMEOUT", "0:0", "TimeLimit"),
        OUT_OF_MEMORY: _unicore("OUT_OF_MEMORY", "0:125", "OutOfMemory"),
        "node-failure": _unicore("NODE_FAIL", "1:0", "NodeFailure"),
        "preemption": _unicore("PREEMPTED", "0:15", "Preempted"),
        "administrator": _unicore("CANCELLED", "0:15", "Cancelled"),
    },
    "firecrest": {OUT_OF_MEMORY: Recorded(_firecrest, "77", "OutOfMemory", "n1", waited=None)},
    "arc": {OUT_OF_MEMORY: Recorded(_arc, test_arc_driver.ID, "OutOfMemory", "", waited=None)},
}
"""By the word of --gateway, and by a name of their own."""
