"""slurmrestd's associations and partitions in every shape; the rows are real servers', cut to what is read."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from passerelle.errors import Unavailable
from passerelle.gateways.slurmrestd.survey import accounts_of, associations, clock, partition
from passerelle.gateways.surveys import Association, SitePartition
from unit.gateways.scripted_server import META, Server, client

NONE = {"set": False, "infinite": True, "number": 0}
ZERO = {"set": True, "infinite": False, "number": 0}


def limits(*, total: object = NONE, active: object = NONE, submitted: object = NONE, count: object = NONE) -> Any:
    return {"jobs": {"total": total, "active": active, "per": {"submitted": submitted, "count": count}}}


def row(account: str, user: str | None = "ada", **changes: object) -> dict[str, Any]:
    """As v0.0.42 has it."""
    base = {"account": account, "user": user or "", "cluster": "site", "partition": "", "is_default": False}
    return base | {"default": {"qos": ""}, "qos": ["normal"], "max": limits()} | changes


def row_38(account: str, user: str | None = "ada", **changes: object) -> dict[str, Any]:
    base = {"account": account, "user": user, "cluster": "site", "partition": None, "is_default": 0}
    none = {"total": None, "active": None, "submitted": None, "count": None}
    return base | {"default": {"qos": None}, "qos": ["normal"], "max": limits(**none)} | changes


@pytest.mark.parametrize("make", [row, row_38], ids=["v0.0.42", "v0.0.38"])
def test_an_association_is_our_user_s_at_this_cluster(make: Any) -> None:
    rows = [
        make("b", qos=["normal", "debug"], default={"qos": "debug"}, is_default=1),
        make("a", partition="gpu"),
        make("a", cluster="other"),
        make("c", user="eve"),
        make("a", user=None),
    ]

    assert accounts_of(rows, "ada", "site") == ["a", "b"]
    assert associations(rows, [], "ada", "site") == [
        Association(account="a", partition="gpu", qos=("normal",)),
        Association(account="b", qos=("debug", "normal"), default_qos="debug", default=True),
    ]


@pytest.mark.parametrize("limit", ["total", "active", "submitted", "count"])
@pytest.mark.parametrize("make,zero", [(row, ZERO), (row_38, 0)], ids=["v0.0.42", "v0.0.38"])
def test_a_limit_of_nothing_closes_an_account(limit: str, make: Any, zero: object) -> None:
    none: dict[str, Any] = dict.fromkeys(("total", "active", "submitted", "count"), NONE if make is row else None)
    shut = limits(**(none | {limit: zero}))

    (own,) = associations([make("a", max=shut)], [], "ada", "site")
    (account_s,) = associations([make("a")], [make("a", user=None, max=shut)], "ada", "site")
    (colleague_s,) = associations([make("a")], [make("a", user="eve", max=shut)], "ada", "site")

    assert (own.closed, account_s.closed, colleague_s.closed) == (True, True, False)


OLD = {
    "name": "gpu",
    "state": "UP",
    "nodes": "n[1-3]",
    "total_nodes": 3,
    "maximum_nodes_per_job": -1,
    "max_time_limit": 60,
    "tres": "cpu=24,mem=750G,node=3,billing=24,gres/gpu=12",
    "allowed_accounts": "",
    "denied_accounts": "",
    "allowed_qos": "",
    "denied_qos": "",
}
NEW = {
    "name": "gpu",
    "partition": {"state": ["UP"]},
    "nodes": {"configured": "n[1-3]", "total": 3},
    "maximums": {"nodes": NONE, "time": {"set": True, "infinite": False, "number": 60}},
    "tres": {"configured": "cpu=24,mem=750G,node=3,billing=24,gres/gpu=12"},
    "accounts": {"allowed": "", "deny": ""},
    "qos": {"allowed": "", "deny": "", "assigned": ""},
}


@pytest.mark.parametrize("found", [OLD, NEW], ids=["v0.0.38", "v0.0.42"])
def test_a_partition(found: dict[str, Any]) -> None:
    assert partition(found) == SitePartition(
        name="gpu", state="UP", nodes=3, max_nodes=None, max_time_minutes=60, gpus_per_node=4
    )


@pytest.mark.parametrize(
    "found",
    [
        OLD
        | {"state": "DOWN", "max_time_limit": None, "maximum_nodes_per_job": 2, "tres": "cpu=24,gres/gpu=10"}
        | {"allowed_accounts": "a,b", "denied_accounts": "c", "allowed_qos": "ALL", "denied_qos": "debug"},
        NEW
        | {"partition": {"state": ["DOWN"]}, "tres": {"configured": "cpu=24,gres/gpu=10"}}
        | {"maximums": {"nodes": {"set": True, "infinite": False, "number": 2}, "time": NONE}}
        | {"accounts": {"allowed": "a,b", "deny": "c"}, "qos": {"allowed": "ALL", "deny": "debug"}},
    ],
    ids=["v0.0.38", "v0.0.42"],
)
def test_a_partition_of_another_kind(found: dict[str, Any]) -> None:
    assert partition(found) == SitePartition(
        name="gpu",
        state="DOWN",
        nodes=3,
        max_nodes=2,
        max_time_minutes=None,
        gpus_per_node=None,  # ten GPUs on three nodes: not the same on all
        allowed_accounts=frozenset({"a", "b"}),
        denied_accounts=frozenset({"c"}),
        denied_qos=frozenset({"debug"}),
    )


def test_the_clock_is_slurmctld_s() -> None:
    assert clock({"statistics": {"req_time": 1795580341}}) == 1795580341.0
    assert clock({"statistics": {"req_time": {"set": True, "infinite": False, "number": 1795580341}}}) == 1795580341.0
    assert clock({"statistics": {}}) is None


def server(**replies: Any) -> Server:
    found = Server(42)
    found.replies |= {
        "GET partitions": {"partitions": [NEW]},
        "GET db/associations": [{"associations": [row("a"), row("b")]}, {"associations": [row("a", user=None)]}],
        "GET diag": {"statistics": {"req_time": 7}},
    } | {f"GET {key.replace('_', '/')}": reply for key, reply in replies.items()}
    found.replies["GET licenses"] = {"meta": {"slurm": META["slurm"] | {"cluster": "site"}}}
    return found


async def test_associations_are_asked_for_our_user_and_then_for_the_accounts() -> None:
    there = server()

    survey = await client(there).survey()

    assert [each.account for each in survey.associations or ()] == ["a", "b"]
    asked = [dict(url.params) for url in there.urls if "associations" in url.path]
    assert asked == [{"user": "ada"}, {"account": "a,b"}]
    assert survey.clock == 7.0


async def test_what_is_kept_from_us_is_unknown() -> None:
    refused = httpx.Response(500, json={"errors": [{"error_number": 2002, "error": "Access/permission denied"}]})
    silent = httpx.Response(502, json={"errors": [{"error_number": 7000, "error": "Unable to connect to database"}]})

    survey = await client(server(diag=refused, db_associations=silent)).survey()

    assert (survey.clock, survey.associations) == (None, None)
    assert [each.name for each in survey.partitions or ()] == ["gpu"]


async def test_partitions_count_though_slurmdbd_is_silent_beside_them() -> None:
    error = {"description": "Slurmdb query failed", "error_number": 111, "source": "slurmdb_tres_get"}
    rows = httpx.Response(500, json={"partitions": [NEW], "errors": [error]})

    survey = await client(server(partitions=rows)).survey()

    assert [each.name for each in survey.partitions or ()] == ["gpu"]


async def test_a_scheduler_that_is_silent_is_no_survey() -> None:
    empty = httpx.Response(502, json={"partitions": [], "errors": []})

    with pytest.raises(Unavailable):
        await client(server(partitions=empty)).survey()
