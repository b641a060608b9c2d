"""What a TrainingJob becomes, and what a person reads where it can't be planned."""

import pytest

from passerelle.errors import Invalid
from plans import job, planned, profile, site

WHOLE = profile(whole_nodes=True)


@pytest.mark.parametrize(
    "wanted, whole_nodes, expected",
    [
        ({"gpus": 3}, False, (1, 3)),
        ({"gpus": 4}, False, (1, 4)),
        ({"gpus": 6}, False, (2, 3)),
        ({"gpus": 8}, False, (2, 4)),
        ({"gpus": 4, "gpusPerNode": 1}, False, (4, 1)),
        ({"gpus": None, "nodes": 3}, False, (3, 4)),
        ({"gpus": None, "nodes": 2, "gpusPerNode": 2}, False, (2, 2)),
        ({"gpus": 8}, True, (2, 4)),
        ({"gpus": 4, "gpusPerNode": 2}, True, (2, 2)),
    ],
)
def test_a_size_becomes_nodes(wanted: dict[str, object], whole_nodes: bool, expected: tuple[int, int]) -> None:
    plan = planned(job(**wanted), facts=profile(whole_nodes=whole_nodes))

    assert (plan.nodes, plan.gpus_per_node) == expected
    assert plan.world_size == plan.nodes * plan.gpus_per_node


@pytest.mark.parametrize(
    "spec, facts, reason, fix",
    [
        ({"gpus": None}, profile(), "SizeInvalid", "Write gpus"),
        ({"nodes": 2}, profile(), "SizeInvalid", "either gpus or nodes"),
        ({"gpus": 5}, profile(), "TotalNotPossible", "write gpus: 4 or gpus: 6"),
        ({"gpus": 6}, WHOLE, "TotalNotPossible", "write gpus: 4 or gpus: 8"),
        ({"gpus": 3}, WHOLE, "TotalNotPossible", "write gpus: 4."),
        ({"gpus": 5, "gpusPerNode": 2}, profile(), "TotalNotPossible", "write gpus: 4 or gpus: 6"),
        ({"gpus": 99_999, "gpusPerNode": 4}, profile(), "TotalNotPossible", "write gpus: 99996 or gpus: 100000"),
        ({"gpusPerNode": 5}, profile(), "TooManyGpusPerNode", "write at most 4"),
        ({"timeLimit": "61m"}, profile(), "TimeLimitTooLong", "write at most 1h."),
        ({"timeLimit": "2h"}, profile(max_time_minutes=90), "TimeLimitTooLong", "write at most 1h30m."),
        ({"timeLimit": "2h"}, profile(max_time_minutes=45), "TimeLimitTooLong", "write at most 45m."),
        ({"account": "other"}, profile(), "AccountNotAllowed", "write one of project1, project2"),
        ({"qos": "urgent"}, profile(), "QosNotAllowed", "write one of normal"),
        ({"image": "docker.io/library/python:3.12"}, profile(), "ImageNotSupported", "absolute path of a SIF"),
        ({"image": "train.sif"}, profile(), "ImageNotSupported", "absolute path of a SIF"),
        ({"env": [{"name": "RANK", "value": "0"}]}, profile(), "VariableReserved", "leave it out"),
        ({"env": [{"name": "PASSERELLE_JOB", "value": "x"}]}, profile(), "VariableReserved", "leave it out"),
    ],
)
def test_what_cant_be_planned_is_refused_with_what_to_write(
    spec: dict[str, object], facts: object, reason: str, fix: str
) -> None:
    with pytest.raises(Invalid) as refused:
        planned(job(**spec), facts=facts)  # type: ignore[arg-type]

    assert refused.value.reason == reason
    assert fix.lower() in refused.value.message.lower()


def test_an_empty_admission_admits_nobody() -> None:
    with pytest.raises(Invalid, match="does not admit namespace team-a") as refused:
        planned(at=site(admission=[]))

    assert refused.value.reason == "NamespaceNotAdmitted"


def test_the_first_entry_that_admits_counts() -> None:
    at = site(
        admission=[
            {"selector": {"tier": "gold", "eu": "yes"}, "accounts": ["gold"]},
            {"namespaces": ["team-a"], "accounts": ["silver"]},
        ]
    )

    assert planned(at=at, namespace_labels={"tier": "gold", "eu": "yes", "x": "y"}).account == "gold"
    assert planned(at=at, namespace_labels={"tier": "gold"}).account == "silver"


def test_without_accounts_the_site_chooses_and_none_may_be_named() -> None:
    at = site(admission=[{"namespaces": ["team-a"]}])

    assert planned(at=at).account is None
    with pytest.raises(Invalid, match="leave account out"):
        planned(job(account="project1"), at=at)


def test_an_account_and_a_qos_that_are_admitted_are_taken() -> None:
    assert planned(job(account="project2", qos="normal")).account == "project2"


def test_a_partition_that_the_profile_lacks_is_refused() -> None:
    with pytest.raises(Invalid, match="write gpu"):
        planned(at=site(partition="cpu"))


def test_a_run_root_that_slurm_or_a_bind_would_misread_is_refused() -> None:
    for root in ("/scratch/a b", "/scratch/%j", "/scratch/a:b", "/scratch/../etc", "/"):
        with pytest.raises(Invalid, match="runRoot"):
            planned(at=site(runRoot=root))
    assert planned(at=site(runRoot="/scratch/.hidden/x/")).run_root == "/scratch/.hidden/x"


def test_time_is_rounded_up_to_slurms_minutes() -> None:
    assert planned(job(timeLimit="90s")).time_limit_minutes == 2


def test_memory_is_the_users_else_the_profiles_share_else_the_sites() -> None:
    assert planned(job(memory="2Gi")).memory_per_node_mib == 2048
    assert planned(facts=profile(memory_per_gpu_mib=1000)).memory_per_node_mib == 4000
    assert planned().memory_per_node_mib is None


def test_srun_starts_a_task_for_each_gpu_and_torchrun_one_for_each_node() -> None:
    srun, torchrun = planned(), planned(job(launcher="torchrun"))

    assert (srun.tasks_per_node, srun.processes_per_task, srun.cpus_per_task) == (4, 1, 2)
    assert (torchrun.tasks_per_node, torchrun.processes_per_task, torchrun.cpus_per_task) == (1, 4, 8)
    assert srun.world_size == torchrun.world_size == 8
    assert srun.agent == ()


def test_torchrun_meets_in_a_file_only_where_the_profile_says_so() -> None:
    facts = profile()

    assert "--rdzv-backend=c10d" in planned(job(launcher="torchrun"), facts=facts).agent
    usual = planned(job(launcher="torchrun"), facts=facts.model_copy(update={"torchrun_rendezvous": "static"}))
    assert "--node-rank={NODE_RANK}" in usual.agent


def test_the_users_variables_win_over_the_profiles() -> None:
    plan = planned(job(env=[{"name": "OMP_NUM_THREADS", "value": "7"}, {"name": "X", "value": ""}]))

    assert dict(plan.environment) == {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "7",
        "PYTHONUNBUFFERED": "1",
        "USE_LIBUV": "0",
        "X": "",
    }


def test_files_share_the_topmost_folder() -> None:
    files = (("/code/a.py", b"1"), ("/code/sub/b.py", b"2"), ("/codes/c.py", b"3"))

    mounts = planned(files=files).mounts

    assert mounts.folders == ("/code", "/codes")
    assert [(file.folder, file.path) for file in mounts.files] == [(0, "a.py"), (0, "sub/b.py"), (1, "c.py")]


@pytest.mark.parametrize(
    "paths, fix",
    [
        (("/w/a", "/w/a"), "two ConfigMaps bring /w/a"),
        (("/w/a", "/w/a/b"), "a file and a folder"),
        (("/a",), "files: path '/' is the container's root; write a folder such as /workspace."),
        (("/w:x/a",), "no plain path"),
        (("/w/../a",), "no plain path"),
    ],
)
def test_files_that_cant_be_mounted_are_refused(paths: tuple[str, ...], fix: str) -> None:
    with pytest.raises(Invalid, match=fix):
        planned(files=tuple((path, b"") for path in paths))


def test_files_need_a_container() -> None:
    with pytest.raises(Invalid, match="no container runtime"):
        planned(facts=profile("sandbox-bare"), files=(("/w/a", b""),))


def test_an_unknown_profile_is_refused_with_those_known() -> None:
    with pytest.raises(Invalid, match="sandbox"):
        profile("atlantis")
