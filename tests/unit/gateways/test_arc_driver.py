"""The driver, against an A-REX that answers from a script."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.arc import calls
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import Accounting, Files, Gateway, Opens, Transfer, Upload
from passerelle.gateways.http import Answer, Carrier
from passerelle.marker import parse
from passerelle.slurm import JobState, RemoteJob, Stage
from unit.gateways.scripted_server import BATCH, OPTIONS

ID, OTHER = "5d5dcdb11efb", "5d5d9884e146"
NAME = OPTIONS.name
INFO = {
    "Domains": {
        "AdminDomain": {
            "Services": {
                "ComputingService": {
                    "ID": "urn:ogf:ComputingService:arc.example.eu:arex",
                    "ComputingManager": {
                        "ProductName": "slurm",
                        "ProductVersion": "24.11.5",
                        "ApplicationEnvironments": {"ApplicationEnvironment": {"AppName": "PASSERELLE"}},
                    },
                }
            }
        }
    }
}
NOT_MAPPED = (500, "User can't be assigned configuration")
RECORD = "1795579231\n/run/psr-3429035.out\nJobId=3429035 Account=startup QOS=normal NumNodes=1 NodeList=n1\n"


def local(name: str = NAME, number: str = "3429035") -> str:
    return f"jobname={name}\nstarttime=20261125040029Z\nqueue=gpu\nsessiondir=/arc/session/{ID}\n" + (
        f"localid={number}\n" if number else ""
    )


class Arex:
    """Jobs by id, each with its state and the files that it shows; `replies` replace an answer by method and path."""

    def __init__(self) -> None:
        self.versions: Any = ["1.0", "1.1"]
        self.states: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.replies: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []

    def job(self, job_id: str = ID, state: str = "QUEUING", **files: str) -> None:
        self.states[job_id] = state
        self.files |= {f"{job_id}/{name.replace('_', '/', 1)}": text for name, text in files.items()}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] in ("application/json", "*/*"), "HTML is A-REX's default"
        path = request.url.path.removeprefix("/arex/rest").strip("/")
        action = request.url.params.get("action", "")
        key = f"{request.method} {path}" + (f" {action}" if action else "")
        self.asked.append(key)
        self.bodies.append(request.content)
        if key in self.replies:
            return self.replies[key](request)
        match path.split("/"):
            case [""]:
                return httpx.Response(200, json={"version": self.versions})
            case [_, "info"]:
                return httpx.Response(200, json=INFO)
            case [_, "delegations"]:
                return httpx.Response(200, json={"delegation": []})
            case [_, "jobs"] if request.method == "GET":
                return httpx.Response(200, json={"job": [{"id": job_id} for job_id in self.states]})
            case [_, "jobs"] if action == "new":
                return httpx.Response(201, json={"job": [{"status-code": "201", "reason": "Created", "id": ID}]})
            case [_, "jobs"]:
                ids = [each["id"] for each in json.loads(request.content)["job"]]
                return httpx.Response(201, json={"job": [self._entry(job_id, action) for job_id in ids]})
            case [_, "jobs", job_id, *rest]:
                text = self.files.get("/".join([job_id, *rest]))
                return httpx.Response(404) if text is None else httpx.Response(200, text=text)
        raise AssertionError(key)

    def _entry(self, job_id: str, action: str) -> dict[str, Any]:
        if job_id not in self.states:
            return {"status-code": "404", "reason": "Job not found", "id": job_id, "state": "None"}
        told: dict[str, Any] = {"id": job_id, "status-code": "200", "reason": "OK"}
        if action == "kill":
            return told | {"status-code": "202", "reason": "Queued for killing"}
        if action == "status":
            return told | {"state": self.states[job_id]}
        times = {"StartTime": "2026-11-25T04:00:30Z", "EndTime": "2026-11-25T04:09:30Z"}
        return told | {"info_document": {"ComputingActivity": {"State": f"arcrest:{self.states[job_id]}", **times}}}


def phrase(status: int, reason: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, extensions={"reason_phrase": reason.encode()})


def entry(**fields: str) -> Callable[[httpx.Request], httpx.Response]:
    told = {name.replace("_", "-"): value for name, value in fields.items()}
    return lambda _: httpx.Response(201, json={"job": [told]})


def bearer(user: str = "ada") -> ArcCredential:
    return ArcCredential(user=user, token=f"token-of-{user}")


def door(arex: Arex, credentials: Callable[[], ArcCredential] = bearer, **more: Any) -> Arc:
    return Arc("http://127.0.0.1:1/arex", credentials, transport=httpx.MockTransport(arex), **more)


async def one(arc: Arc, job_id: str = ID) -> RemoteJob:
    (job,) = await arc.get([job_id])
    return job


async def test_probe_names_who_answers() -> None:
    arc = door(Arex())
    probe = await arc.probe()
    assert (probe.identity.cluster, probe.identity.user) == ("arc.example.eu", "ada")
    assert (probe.version, probe.api_version) == ("24.11.5", "1.1")
    assert isinstance(arc, Gateway)
    assert isinstance(arc, Files)
    assert isinstance(arc, Upload)
    assert isinstance(arc, Transfer)
    assert isinstance(arc, Opens)
    assert not isinstance(arc, Accounting), "what A-REX has wiped is gone"


async def test_while_arexs_daemon_is_down_the_site_is_who_it_was() -> None:
    arex = Arex()
    arc = door(arex)
    before = await arc.probe()
    arex.replies["GET 1.1/info"] = lambda _: httpx.Response(200, text="", headers={"content-type": "application/json"})
    assert await arc.probe() == before
    with pytest.raises(Unavailable) as caught:
        await door(arex).probe()
    assert caught.value.reason == "ClusterUnknown"


async def test_version_1_0_is_spoken_where_there_is_no_other() -> None:
    arex = Arex()
    arex.versions = "1.0"
    assert (await door(arex).probe()).api_version == "1.0"
    assert "GET 1.0/delegations" in arex.asked


@pytest.mark.parametrize("status, reason", [NOT_MAPPED, (403, "Operation is not allowed"), (401, "")])
async def test_a_credential_that_is_not_mapped_is_no_failure_of_the_site(status: int, reason: str) -> None:
    arex = Arex()
    arex.job(session_record=RECORD, diagnose_local=local())
    for key in (
        "GET 1.1/delegations",
        "GET 1.1/jobs",
        "POST 1.1/jobs new",
        "POST 1.1/jobs status",
        "POST 1.1/jobs kill",
    ):
        arex.replies[key] = phrase(status, reason)
    arc = door(arex)
    for call in (arc.probe(), arc.find(), arc.states([ID]), arc.get([ID]), arc.submit(BATCH), arc.cancel(ID)):
        with pytest.raises(Unauthorized) as caught:
            await call
        assert caught.value.reason == "TokenRefused"


async def test_an_expired_credential_is_not_shown() -> None:
    arex = Arex()
    with pytest.raises(Unauthorized, match="expired"):
        await door(arex, lambda: ArcCredential(user="ada", token="t", expires=1.0)).submit(BATCH)
    assert arex.asked == []


async def test_a_submit_is_one_request_that_holds_everything() -> None:
    arex = Arex()
    assert await door(arex).submit(BATCH) == ID
    assert [key for key in arex.asked if not key.startswith("GET")] == ["POST 1.1/jobs new"]
    assert NAME.encode() in arex.bodies[-1]


async def test_an_environment_is_looked_for_before_a_job_needs_it() -> None:
    arex = Arex()
    asked = dataclasses.replace(BATCH, options=dataclasses.replace(OPTIONS, account="startup"))
    assert await door(arex, environment="PASSERELLE").submit(asked) == ID
    with pytest.raises(Rejected, match="it has: PASSERELLE") as caught:
        await door(arex, environment="ENV/NOWHERE").submit(asked)
    assert (caught.value.reason, caught.value.transient) == ("RuntimeEnvironmentMissing", True)
    assert await door(arex, environment="ENV/NOWHERE").submit(BATCH) == ID, "this one needs none"


@pytest.mark.parametrize(
    "reply, kind, reason, transient",
    [
        (entry(status_code="500", reason="Requested queue x is not allowed"), Rejected, "InvalidPartition", False),
        (entry(status_code="500", reason="Job description is too big"), Rejected, "TooLong", False),
        (entry(status_code="500", reason="Something new"), Rejected, "RefusedBySite", False),
        (phrase(500, "No more jobs allowed"), Rejected, "TooManyJobs", True),
        (phrase(500, "Internal Server Error"), Unavailable, "UnexpectedAnswer", None),
        (phrase(503, "Service Unavailable"), Unavailable, "Busy", None),
        (phrase(302, "Found"), Unavailable, "UnexpectedAnswer", None),
        (entry(status_code="201", id=""), Unavailable, "UnexpectedAnswer", None),
        (entry(status_code="201", id="../../x", reason="Created"), Unavailable, "UnexpectedAnswer", None),
        (entry(id=ID), Unavailable, "UnexpectedAnswer", None),
        (lambda _: httpx.Response(201, text="<html>"), Unavailable, "UnexpectedAnswer", None),
        (lambda _: httpx.Response(201, json={"job": []}), Unavailable, "UnexpectedAnswer", None),
        (lambda _: httpx.Response(200, json={"job": []}), Unavailable, "UnexpectedAnswer", None),
    ],
)  # fmt: skip
async def test_only_a_refusal_of_arexs_is_one(
    reply: Callable[[httpx.Request], httpx.Response],
    kind: type[PasserelleError],
    reason: str,
    transient: bool | None,
) -> None:
    arex = Arex()
    arex.replies["POST 1.1/jobs new"] = reply
    with pytest.raises(kind) as caught:
        await door(arex).submit(BATCH)
    assert caught.value.reason == reason
    assert getattr(caught.value, "transient", None) is transient
    if isinstance(caught.value, Unavailable):
        assert caught.value.sent, "the job may run"
    assert arex.asked.count("POST 1.1/jobs new") == 1, "never tried again in place"


async def test_a_lost_answer_may_have_been_a_job_and_a_lost_question_was_none() -> None:
    def lost(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("")

    arex = Arex()
    arex.replies["POST 1.1/jobs new"] = lost
    with pytest.raises(Unavailable) as caught:
        await door(arex).submit(BATCH)
    assert caught.value.sent
    arex.replies["GET "] = lost
    with pytest.raises(Unavailable) as caught:
        await door(arex).submit(BATCH)
    assert not caught.value.sent, "only the version was asked for"


async def test_a_lost_job_is_found_by_its_name_at_once() -> None:
    """The state comes minutes later, and with it what action=info knows."""
    arex = Arex()
    arex.job(state="ACCEPTING", diagnose_local=local(number=""))
    arex.job(OTHER, state="QUEUING", diagnose_local=local(name="somebody's"))
    (found,) = await door(arex).find()
    assert (found.job_id, found.name, found.slurm_id) == (ID, NAME, "")
    assert (found.stage, found.submit_time) == (Stage.QUEUED, 1795579229)
    assert (found.user, found.cluster) == ("ada", "arc.example.eu")


async def test_names_are_read_once_a_job() -> None:
    arex = Arex()
    arex.job(diagnose_local=local())
    arex.job(OTHER, diagnose_local=local(name="somebody's"))
    arc = door(arex)
    for _ in range(3):
        await arc.find()
    assert arex.asked.count(f"GET 1.1/jobs/{OTHER}/diagnose/local") == 1
    del arex.states[OTHER]
    await arc.find()
    assert OTHER not in arc._known.locals, "no more is kept than A-REX lists"


async def test_of_ended_jobs_only_names_are_read_for_who_asks_for_other_runs() -> None:
    arex = Arex()
    arex.job("5d5dcdb1aaaa", state="RUNNING", diagnose_local=local(), session_record=RECORD)
    arex.job(state="FINISHED", diagnose_local=local(), session_record=RECORD, session_exit="0 1795579300\n")
    mine = parse(NAME)
    assert mine is not None
    assert [job.job_id for job in await door(arex).find(())] == ["5d5dcdb1aaaa"], "what lives is told to everybody"
    assert [each for each in arex.asked if f"/{ID}/" in each] == [f"GET 1.1/jobs/{ID}/diagnose/local"]
    assert {job.job_id for job in await door(arex).find({mine[0]})} == {"5d5dcdb1aaaa", ID}


async def test_a_running_job_tells_what_slurm_gave_it() -> None:
    arex = Arex()
    arex.job(state="RUNNING", diagnose_local=local(), session_record=RECORD)
    arc = door(arex)
    job = await one(arc)
    assert (job.stage, job.slurm_id, job.account, job.qos) == (Stage.RUNNING, "3429035", "startup", "normal")
    assert (job.nodes, job.node_count, job.start_time) == ("n1", 1, 1795579231)
    assert job.standard_output == "/run/psr-3429035.out"
    assert (job.end_time, job.exit_code) == (None, None)
    assert (await arc.states([ID])) == {ID: job.state}


async def test_an_end_is_read_once_and_states_agree_with_it() -> None:
    arex = Arex()
    stepd = "*** JOB 3429035 ON n1 CANCELLED AT 2026-11-25T04:01:50 DUE TO TIME LIMIT ***"
    arex.job(state="FINISHED", diagnose_local=local(), session_record=RECORD, diagnose_errors=stepd)
    arc = door(arex)
    job = await one(arc)
    assert (job.state, job.exit_code) == (JobState("TIMEOUT"), None)
    assert job.end_time == 1795579770
    assert await arc.states([ID]) == {ID: job.state}
    assert arex.asked.count(f"GET 1.1/jobs/{ID}/diagnose/errors") == 1


async def test_a_job_that_was_wiped_is_gone_although_its_end_was_known() -> None:
    arex = Arex()
    arex.job(state="FINISHED", diagnose_local=local(), session_record=RECORD, session_exit="0 1795579240")
    arc = door(arex)
    assert (await one(arc)).state == JobState("COMPLETED")
    arex.states[ID] = "WIPED"
    assert await arc.find() == []
    assert await arc.get([ID]) == []
    assert await arc.states([ID]) == {}


async def test_an_end_that_nobody_tells_is_left_out() -> None:
    arex = Arex()
    arex.job(state="FAILED", diagnose_local=local(), diagnose_failed="LRMS error: (-1) Job missing from SLURM\n")
    arc = door(arex)
    assert await arc.get([ID]) == []
    assert await arc.states([ID]) == {}
    assert await arc.find() == []


async def test_an_unknown_id_is_absent_and_one_that_is_none_is_never_sent() -> None:
    arex = Arex()
    arex.job(diagnose_local=local())
    arc = door(arex)
    assert set(await arc.states([ID, OTHER, "../../x", "é", ""])) == {ID}
    await arc.cancel(OTHER)
    await arc.cancel("../../x")
    assert not [key for key in arex.asked if ".." in key]


async def test_a_state_that_nobody_knows_is_a_sign_of_life() -> None:
    arex = Arex()
    arex.job(state="HIBERNATING", diagnose_local=local())
    assert (await one(door(arex))).stage is Stage.RUNNING


async def test_a_cancel_that_is_not_taken_is_told() -> None:
    arex = Arex()
    arex.replies["POST 1.1/jobs kill"] = entry(status_code="505", reason="Job could not be canceled", id=ID)
    with pytest.raises(Unavailable, match="could not be canceled") as caught:
        await door(arex).cancel(ID)
    assert caught.value.reason == "CancelFailed"


async def test_many_ids_are_asked_for_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "IDS_PER_CALL", 3)
    arex = Arex()
    ids = [f"{number:012x}" for number in range(7)]
    for job_id in ids:
        arex.job(job_id, diagnose_local=local())
    assert set(await door(arex).states(ids)) == set(ids)
    assert arex.asked.count("POST 1.1/jobs status") == 3


async def test_an_answer_of_fewer_jobs_is_no_answer() -> None:
    arex = Arex()
    arex.replies["POST 1.1/jobs status"] = lambda _: httpx.Response(201, json={"job": []})
    with pytest.raises(Unavailable):
        await door(arex).states([ID])


async def test_what_one_user_saw_is_not_anothers() -> None:
    """A-REX remembers who asked first on a connection: each credential has connections of its own."""
    arex = Arex()
    arex.job(state="RUNNING", diagnose_local=local(), session_record=RECORD)
    who = [bearer("ada")]
    arc = door(arex, lambda: who[0])
    assert (await one(arc)).user == "ada"
    first = arc._calls._carrier
    who[0] = bearer("bob")
    assert (await one(arc)).user == "bob"
    assert arc._calls._carrier is not first
    assert arc._calls._busy == {}
    assert arex.asked.count(f"GET 1.1/jobs/{ID}/diagnose/local") == 2


async def test_a_request_keeps_its_connections_while_others_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[Carrier, set[str]] = {}

    async def send(self: Carrier, *_: object, headers: dict[str, str], **__: object) -> Answer:
        sent.setdefault(self, set()).add(headers["authorization"])
        return Answer(200, "", b"", {}, "OK")

    async def close(_: Carrier) -> None:
        for _turn in range(5):
            await asyncio.sleep(0)

    monkeypatch.setattr(Carrier, "send", send)
    monkeypatch.setattr(Carrier, "close", close)
    who = [bearer("ada")]
    asks = calls.Calls("https://arc.example", lambda: who[0], transport=httpx.MockTransport(Arex()))
    await asks.once("GET", "a")
    who[0] = bearer("bob")
    second = asyncio.create_task(asks.once("GET", "b"))
    await asyncio.sleep(0)
    who[0] = bearer("eve")
    await asyncio.gather(second, asks.once("GET", "c"))
    assert sorted(map(sorted, sent.values())) == [
        [f"Bearer {bearer(name).token}"] for name in sorted(("ada", "bob", "eve"), key=lambda name: bearer(name).token)
    ]


async def test_a_log_is_found_without_having_been_seen_before() -> None:
    arex = Arex()
    arex.job(state="RUNNING", diagnose_local=local(), session_record=RECORD, session_log="0123456789")
    log = "/run/psr-3429035.out"
    arex.replies[f"HEAD 1.1/jobs/{ID}/session/log"] = lambda _: httpx.Response(200, headers={"content-length": "10"})
    arc = door(arex)
    assert await arc.size(log) == 10
    assert await arc.read(log, 2, 3) == b"234", "a server without ranges sends all"
    assert await arc.size("/run/other.out") is None
    with pytest.raises(Missing):
        await arc.read("/run/other.out", 0, 1)


async def test_a_report_is_read_from_the_newest_job_that_leads_to_it() -> None:
    arex = Arex()
    report = "/run/psr-a/report-1.json"
    old, new = (f"{began}\n/run/{began}.out\n{report}\nJobId=1\n" for began in (1795579231, 1795579999))
    arex.job(state="RUNNING", diagnose_local=local(), session_record=old, session_report="old")
    arex.job(OTHER, state="RUNNING", diagnose_local=local(), session_record=new, session_report="new")
    arc = door(arex)
    arex.asked.clear()
    with pytest.raises(Missing):
        await arc.read(report, 0, 99)
    assert not any(key.endswith("/jobs") for key in arex.asked), "a job that was not read is not looked for"

    await arc.get([ID, OTHER])
    arex.asked.clear()
    assert await arc.read(report, 0, 99) == b"new"
    assert arex.asked == [f"GET 1.1/jobs/{OTHER}/session/report"]


@pytest.mark.parametrize("state,put", [("RUNNING", True), ("QUEUING", False), ("FINISHED", False), (None, False)])
async def test_a_running_job_is_signalled_by_a_file_in_its_session_directory(state: str | None, put: bool) -> None:
    arex = Arex()
    if state is not None:
        arex.job(state=state, diagnose_local=local(), session_record=RECORD)
    there = f"PUT 1.1/jobs/{ID}/session/signal"
    arex.replies[there] = lambda _: httpx.Response(200)
    assert await door(arex).warn(ID, "USR1")
    assert [body for key, body in zip(arex.asked, arex.bodies, strict=True) if key == there] == [b"USR1\n"] * put


async def test_a_signal_that_was_not_put_there_is_told() -> None:
    arex = Arex()
    arex.job(state="RUNNING", diagnose_local=local(), session_record=RECORD)
    arex.replies[f"PUT 1.1/jobs/{ID}/session/signal"] = lambda _: httpx.Response(500)
    with pytest.raises(PasserelleError):
        await door(arex).warn(ID, "USR1")
