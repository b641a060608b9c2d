"""What each gateway tells of partitions, accounts and its clock: pairs, on answers that live servers gave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from passerelle.gateways.arc import service
from passerelle.gateways.firecrest import survey as firecrest
from passerelle.gateways.ssh import errors
from passerelle.gateways.ssh import survey as ssh
from passerelle.gateways.ssh.commands import accounts, charged, partitions
from passerelle.gateways.ssh.decode import NotUnderstood
from passerelle.gateways.surveys import Association, SitePartition
from passerelle.gateways.unicore import survey as unicore

RECORDINGS = Path(__file__).parent / "recordings"
RELEASES = pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
GPU = SitePartition(name="gpu", state="UP", nodes=3, max_time_minutes=60, gpus_per_node=4)


def recorded(release: str, what: str) -> str:
    answer = json.loads((RECORDINGS / "ssh" / f"{release}.json").read_text(encoding="utf-8"))[what]
    assert answer["status"] == 0
    return str(answer["stdout"])


@RELEASES
def test_ssh_partitions(release: str) -> None:
    odd = SitePartition(
        name="odd",
        state="DRAIN",
        nodes=3,
        max_nodes=2,
        max_time_minutes=24 * 60,
        gpus_per_node=4,
        allowed_accounts=frozenset({"startup", "shut"}),
        denied_qos=frozenset({"debug"}),
    )

    assert ssh.partitions(recorded(release, "partitions")) == (GPU, odd)


@RELEASES
def test_ssh_associations(release: str) -> None:
    """Of `shut` the account itself has the limit; in `gpu` the user has one of his own."""
    own, others = (ssh.rows(recorded(release, what)) for what in ("charged", "accounts"))
    open_one = Association(account="startup", qos=("debug", "normal"), default_qos="normal", default=True)

    assert ssh.accounts_of(own, "sandbox") == ["shut", "startup"]
    assert ssh.associations(own, others, "sandbox") == (
        Association(account="shut", qos=("normal",), closed=True),
        open_one,
        replace(open_one, partition="gpu", closed=True),
    )
    assert ssh.associations(own, others, "elsewhere") == ()


@RELEASES
def test_ssh_clock_and_silence(release: str) -> None:
    answer = json.loads((RECORDINGS / "ssh" / f"{release}.json").read_text(encoding="utf-8"))
    silent = answer["charged without accounting"]
    told = errors.accounting_failure(errors.Answer(silent["status"], silent["stdout"], silent["stderr"]))

    assert ssh.clock(recorded(release, "clock")) > 1_700_000_000
    assert told.reason == "AccountingUnavailable"


@pytest.mark.parametrize("text", ["", "now", "-1", "1.5"])
def test_ssh_a_clock_that_is_none_is_not_believed(text: str) -> None:
    with pytest.raises(NotUnderstood):
        ssh.clock(text)


def test_ssh_a_row_that_is_cut_is_not_believed() -> None:
    with pytest.raises(NotUnderstood):
        ssh.rows("sandbox|shut|startup\n")


def test_ssh_no_word_of_a_user_stands_in_a_command() -> None:
    with pytest.raises(ValueError, match="no word for a login shell"):
        charged("m1", "a b;c")
    with pytest.raises(ValueError, match="no word for a login shell"):
        accounts("m1", ["a", "$(b)"])
    assert "--oneliner" in partitions("m1").line


def test_firecrest_in_both_of_its_shapes() -> None:
    """In ssh mode a state is a word, in rest mode a list; a number of nodes may be missing."""
    told = {
        "partitions": [
            {"name": "gpu", "cpus": 24, "totalNodes": 3, "partition": "UP"},
            {"name": "debug", "cpus": None, "totalNodes": None, "partition": ["DOWN"]},
        ]
    }

    assert firecrest.partitions(told) == (
        SitePartition(name="gpu", state="UP", nodes=3),
        SitePartition(name="debug", state="DOWN"),
    )
    assert firecrest.partitions({}) == ()


@pytest.mark.parametrize(
    "accounts, found",
    [
        (None, None),
        ("none", None),
        ([], ()),
        (
            [{"name": "p2", "default": False}, {"name": "p1", "default": True}],
            (Association(account="p1", qos=None, default=True), Association(account="p2", qos=None)),
        ),
    ],
)
def test_firecrest_names_accounts_without_their_qos(accounts: Any, found: Any) -> None:
    assert firecrest.associations({"accounts": accounts}) == found
    assert firecrest.associations({}) is None


def test_unicore_names_queues_and_its_clock() -> None:
    """A factory of UNICORE/X 3.0.0, without what is not read."""
    factory = {
        "siteName": "SANDBOX",
        "remainingComputeTime": {},
        "resources": {"gpu": {"GPUsPerNode": "0-64", "Runtime": "60-604800", "Nodes": "1-64"}},
    }

    assert unicore.partitions([factory, {"resources": {"cpu": {}, "gpu": {}}}, {}]) == (
        SitePartition(name="cpu"),
        SitePartition(name="gpu"),
    )
    assert unicore.clock({"currentTime": "2026-11-29T09:24:53+0000"}) == 1795944293.0
    assert unicore.clock({}) is None


def glue(**changes: Any) -> dict[str, Any]:
    """What A-REX 7.0.0 says of its one queue, without what is not read."""
    share = {
        "ID": "urn:ogf:ComputingShare:localhost:gpu",
        "Name": "gpu",
        "MappingQueue": "gpu",
        "MaxWallTime": "3600",
        "ServingState": "production",
    }
    place = {"TotalInstances": "3", "Associations": {"ComputingShareID": share["ID"]}}
    manager = {"ProductName": "slurm", "ExecutionEnvironments": {"ExecutionEnvironment": place}}
    found = {"ComputingShare": share | changes, "ComputingManager": manager}
    return {"Domains": {"AdminDomain": {"Services": {"ComputingService": found}}}}


@pytest.mark.parametrize(
    "changes, found",
    [
        ({}, SitePartition(name="gpu", state="UP", nodes=3, max_time_minutes=60)),
        ({"ServingState": "draining"}, SitePartition(name="gpu", state="DRAIN", nodes=3, max_time_minutes=60)),
        ({"ServingState": "odd", "MaxWallTime": None}, SitePartition(name="gpu", nodes=3)),
        ({"ID": "another"}, SitePartition(name="gpu", state="UP", max_time_minutes=60)),
    ],
)
def test_arc_queues(changes: dict[str, Any], found: SitePartition) -> None:
    assert service.partitions(glue(**changes)) == (found,)


def test_arc_tells_several_queues_as_a_list() -> None:
    told = glue()
    service_of = told["Domains"]["AdminDomain"]["Services"]["ComputingService"]
    service_of["ComputingShare"] = [service_of["ComputingShare"], {"ID": "x", "MappingQueue": "cpu"}, {"ID": "y"}]

    assert [each.name for each in service.partitions(told)] == ["gpu", "cpu"]
    assert service.partitions(None) == ()
