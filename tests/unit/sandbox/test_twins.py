"""Twins as they are written: whole, in Slurm's words, and from nothing but what the machines' pages say."""

from __future__ import annotations

import ast
import re
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from passerelle import profiles
from passerelle_sandbox import twins as package
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.config import Ports, Shape
from passerelle_sandbox.state import TWINS_RELEASE, Wanted
from passerelle_sandbox.twins import config
from passerelle_sandbox.twins.model import Account, Qos, Twin, load, names

SHAPE = Shape(slurm="26.05.5", ports=Ports(20001, 20002, 20003, 20004, ()), gpus=0, first_job_id=4711, min_job_age=60)
DURATION = re.compile(r"(\d+-)?\d\d:\d\d:\d\d")
TIMES = {"MaxTime", "DefaultTime", "MaxWall"}
TWIN = Twin(
    description="a machine",
    settings={"PreemptMode": "REQUEUE"},
    nodes=[{"NodeName": "a[1-2]", "Gres": "gpu:h200:8"}, {"NodeName": "b1"}, {"NodeName": "c1", "Gres": "gpu:4"}],
    partitions=[
        {"PartitionName": "gpu", "Nodes": "ALL", "MaxTime": "04:00:00"},
        {"PartitionName": "off", "State": "DOWN"},
    ],
    qos=[
        Qos(name="normal", limits={"MaxWall": "00:01:00"}),
        Qos(name="long", limits={"MaxTRESPerJob": "node=3"}),
        Qos(name="x"),
    ],
    accounts=[Account(name="p1", qos=["long", "x"], default_qos=False, limits={"GrpSubmitJobs": 100})],
    account_required=True,
    unknown=[],
)


def lines(text: str, first: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(first)]


def test_every_machine_with_a_profile_has_a_twin() -> None:
    assert {*names(), "sandbox-bare"} == set(profiles.names())


@pytest.mark.parametrize("name", names())
def test_a_twin_names_nothing_that_it_lacks(name: str) -> None:
    twin = load(name)
    nodes = {str(each["NodeName"]) for each in twin.nodes} | {"ALL"}
    qos = {each.name for each in twin.qos} | {"normal"}
    accounts = {each.name for each in twin.accounts}

    for partition in twin.partitions:
        assert str(partition["Nodes"]) in nodes
        assert {str(partition[word]) for word in ("QOS", "AllowQos") if word in partition} <= qos
        assert {str(partition[word]) for word in ("AllowAccounts",) if word in partition} <= accounts
    assert {each for account in twin.accounts for each in account.qos} <= qos


@pytest.mark.parametrize("name", names())
def test_a_time_is_a_word_and_no_number_that_yaml_made_of_it(name: str) -> None:
    twin = load(name)
    told = [*twin.partitions, *(each.limits for each in twin.qos)]

    assert [
        value for each in told for word, value in each.items() if word in TIMES and not DURATION.fullmatch(str(value))
    ] == []


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValidationError, match="partitons"):
        Twin.model_validate({**TWIN.model_dump(), "partitons": []})


def test_twins_never_look_at_profiles() -> None:
    for file in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            named |= {each.name for each in node.names} if isinstance(node, ast.Import) else set()
            assert not [each for each in named if each == "passerelle" or each.startswith("passerelle.")]


def test_slurm_conf_has_every_node_and_partition() -> None:
    text = config.slurm_conf(TWIN, SHAPE)

    assert lines(text, "NodeName") == [
        "NodeName=a[1-2] Gres=gpu:h200:8 State=CLOUD",
        "NodeName=b1 State=CLOUD",
        "NodeName=c1 Gres=gpu:4 State=CLOUD",
    ]
    assert lines(text, "PartitionName") == [
        "PartitionName=gpu Nodes=ALL MaxTime=04:00:00 DenyAccounts=default_no_jobs State=UP",
        "PartitionName=off State=DOWN DenyAccounts=default_no_jobs",
    ]
    assert lines(text, "PreemptMode") == ["PreemptMode=REQUEUE"]
    assert lines(text, "EnforcePartLimits") == ["EnforcePartLimits=ALL"]
    assert lines(text, "AccountingStorageEnforce") == ["AccountingStorageEnforce=associations,limits,qos"]
    assert lines(text, "JobSubmitPlugins") == []


def test_gpus_are_counts_without_files() -> None:
    assert config.gres_conf(TWIN).splitlines() == [
        "AutoDetect=off",
        "NodeName=a[1-2] Name=gpu Type=h200 Count=8",
        "NodeName=c1 Name=gpu Count=4",
    ]


def test_a_rule_becomes_a_plugin_with_the_common_frame() -> None:
    ruled = TWIN.model_copy(update={"rule": "function refuse(job) end"})
    found = config.files(ruled, SHAPE)

    assert "job_submit.lua" not in config.files(TWIN, SHAPE)
    assert lines(found["slurm.conf"], "JobSubmitPlugins") == ["JobSubmitPlugins=lua"]
    assert found["job_submit.lua"].startswith("function refuse(job) end\n")
    assert "function slurm_job_submit(" in found["job_submit.lua"]


def test_who_names_no_account_may_submit_nothing() -> None:
    assert list(config.accounts(TWIN, "me")) == [
        "add qos long,x",
        "add account default_no_jobs cluster=sandbox",
        "add user me account=default_no_jobs defaultaccount=default_no_jobs",
        "add account p1 cluster=sandbox qos=long,x",
        "add user me account=p1 qos=long,x",
    ]


def test_an_account_that_need_not_be_named_is_the_default() -> None:
    free = TWIN.model_copy(
        update={"account_required": False, "qos": [], "accounts": [Account(name="p1", qos=["normal"])]}
    )

    assert list(config.accounts(free, "me")) == [
        "add account p1 cluster=sandbox qos=normal defaultqos=normal",
        "add user me account=p1 qos=normal defaultqos=normal defaultaccount=p1",
    ]


def test_limits_come_when_slurmdbd_can_count_gpus() -> None:
    assert list(config.limits(TWIN)) == [
        "modify qos normal set MaxWall=00:01:00",
        "modify qos long set MaxTRESPerJob=node=3",
        "modify account p1 set GrpSubmitJobs=100",
    ]


def test_rules_stand_beside_their_machine() -> None:
    rules = {
        each.name.removesuffix(".lua") for each in resources.files(package).iterdir() if each.name.endswith(".lua")
    }

    assert rules - {"job_submit"} == {name for name in names() if load(name).rule is not None}


def test_a_sandbox_can_be_a_twin_of_the_newest_slurm_alone() -> None:
    asked = Wanted("t", (TWINS_RELEASE,), nodes=3, gpus=4, control_plane=False, twin="lumi-g")

    assert asked.has_processes
    with pytest.raises(SandboxError, match="There is no twin 'lumi'; it is one of alps-clariden"):
        Wanted("t", (TWINS_RELEASE,), nodes=3, gpus=4, control_plane=False, twin="lumi")
    with pytest.raises(SandboxError, match="newest Slurm alone"):
        Wanted("t", ("trixie",), nodes=3, gpus=4, control_plane=False, twin="lumi-g")
