"""What a TrainingJob becomes, and what a person reads where it can't be planned."""

from typing import Any

import pytest

from passerelle.errors import Invalid
from passerelle.v1alpha1.site import SiteSpec
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
        ({"image": "docker://docker.io/library/python:3.12"}, profile(), "ImageFormat", "absolute path of a SIF"),
        ({"image": "train.sif"}, profile(), "ImageFormat", "absolute path of a SIF"),
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
    static = facts.launch.model_copy(update={"torchrun_rendezvous": "static"})
    usual = planned(job(launcher="torchrun"), facts=facts.model_copy(update={"launch": static}))
    assert "--node-rank={NODE_RANK}" in usual.agent


def test_the_users_variables_win_over_the_profiles() -> None:
    plan = planned(job(env=[{"name": "OMP_NUM_THREADS", "value": "7"}, {"name": "X", "value": ""}]))

    home = "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/home/.cache"
    assert dict(plan.environment) == {
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HOME": f"{home}/huggingface",
        "OMP_NUM_THREADS": "7",
        "PYTHONUNBUFFERED": "1",
        "TORCH_HOME": f"{home}/torch",
        "TRITON_CACHE_DIR": f"{home}/triton",
        "USE_LIBUV": "0",
        "X": "",
        "XDG_CACHE_HOME": home,
    }


def test_files_share_the_topmost_folder() -> None:
    files = (("/code/a.py", b"1"), ("/code/sub/b.py", b"2"), ("/codes/c.py", b"3"))

    mounts = planned(files=files).mounts

    assert mounts.folders == ("/code", "/codes")
    assert [(file.folder, file.path) for file in mounts.files] == [(0, "a.py"), (0, "sub/b.py"), (1, "c.py")]


@pytest.mark.parametrize(
    "paths, fix",
    [
        (("/w/a", "/w/a"), "two entries bring /w/a"),
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


def at(name: str, **changes: Any) -> SiteSpec:
    """A Site at a real machine, whose administrator leaves the QoS to the profile."""
    return site(profile=name, admission=[{"namespaces": ["team-a"], "accounts": ["project1"]}], **changes)


@pytest.mark.parametrize(
    "name, wanted, expected",
    [
        ("leonardo-booster", {"nodes": 64}, ("boost_usr_prod", None)),
        ("leonardo-booster", {"nodes": 65}, ("boost_usr_prod", "boost_qos_bprod")),
        ("leonardo-booster", {"gpus": 1024}, ("boost_usr_prod", "boost_qos_bprod")),
        ("karolina-gpu", {"nodes": 16}, ("qgpu", None)),
        ("karolina-gpu", {"nodes": 17}, ("qgpu_big", None)),
        ("juwels-booster", {"nodes": 384}, ("booster", None)),
        ("juwels-booster", {"nodes": 385, "reservation": "large"}, ("largebooster", None)),
        ("lumi-g", {"nodes": 1}, ("standard-g", None)),
        ("marenostrum5-acc", {"gpus": 1}, ("acc", "acc_ehpc")),
        ("meluxina-gpu", {"nodes": 2}, ("gpu", "default")),
        ("discoverer-plus", {"gpus": 1}, ("common", "project1")),
        ("vega-gpu", {"gpus": 1}, ("gpu", None)),
    ],
)
def test_partition_and_qos_follow_the_size(name: str, wanted: dict[str, Any], expected: tuple[str, str | None]) -> None:
    plan = planned(job(**({"gpus": None} | wanted)), at=at(name), facts=profile(name))

    assert (plan.partition, plan.qos) == expected


def test_what_an_administrator_or_a_user_names_is_kept() -> None:
    fixed = at("karolina-gpu", partition="qgpu_exp")
    assert planned(job(gpus=None, nodes=8), at=fixed, facts=profile("karolina-gpu")).partition == "qgpu_exp"

    admission = [{"namespaces": ["team-a"], "accounts": ["ehpc1"], "qos": ["acc_debug", "acc_ehpc"]}]
    busy, facts = site(profile="marenostrum5-acc", admission=admission), profile("marenostrum5-acc")
    assert planned(job(gpus=4), at=busy, facts=facts).qos == "acc_debug"
    assert planned(job(gpus=4, qos="acc_ehpc"), at=busy, facts=facts).qos == "acc_ehpc"


@pytest.mark.parametrize(
    "name, wanted, site_s, reason, fix",
    [
        ("leonardo-booster", {"nodes": 257}, {}, "NodesTooMany", "write at most nodes: 256."),
        ("leonardo-booster", {"gpus": 1028}, {}, "NodesTooMany", "write at most gpus: 1024."),
        ("leonardo-booster", {"gpus": 600, "gpusPerNode": 2}, {}, "NodesTooMany", "write at most gpus: 512."),
        ("karolina-gpu", {"nodes": 17}, {"partition": "qgpu"}, "NodesTooMany", "write at most nodes: 16."),
        ("karolina-gpu", {"nodes": 73}, {}, "NodesTooMany", "write at most nodes: 72."),
        ("deucalion-gpu", {"gpus": 20}, {}, "NodesTooMany", "write at most gpus: 16."),
        ("discoverer-plus", {"gpus": 16}, {}, "NodesTooMany", "write at most gpus: 8."),
        ("discoverer-plus", {"gpus": 32}, {}, "NodesTooMany", "write at most gpus: 8."),
        ("leonardo-booster", {"nodes": 70, "gpusPerNode": 2}, {}, "WholeNodesOnly", "leave gpusPerNode out."),
        ("juwels-booster", {"nodes": 8}, {"partition": "largebooster"}, "NodesTooFew", "write at least nodes: 385."),
        ("juwels-booster", {"nodes": 385}, {}, "NodesTooMany", "write at most nodes: 384."),
        (
            "leonardo-booster",
            {"nodes": 1, "timeLimit": "25h"},
            {},
            "TimeLimitTooLong",
            "at most 24h, or qos: boost_qos_",
        ),
        ("leonardo-booster", {"nodes": 9, "timeLimit": "25h"}, {}, "TimeLimitTooLong", "write at most 24h."),
        ("lumi-g", {"nodes": 1, "timeLimit": "49h"}, {}, "TimeLimitTooLong", "write at most 48h."),
        ("alps-clariden", {"nodes": 4}, {"partition": "debug"}, "TimeLimitTooLong", "write at most 22m."),
        ("lumi-g", {"gpus": 12}, {}, "TotalNotPossible", "write gpus: 8 or gpus: 16."),
        ("karolina-gpu", {"gpus": 1, "gpusPerNode": 9}, {}, "TooManyGpusPerNode", "write at most 8."),
    ],
)
def test_a_machine_s_limits_are_told_with_the_nearest_that_fits(
    name: str, wanted: dict[str, Any], site_s: dict[str, Any], reason: str, fix: str
) -> None:
    with pytest.raises(Invalid) as refused:
        planned(job(**({"gpus": None} | wanted)), at=at(name, **site_s), facts=profile(name))

    assert refused.value.reason == reason
    assert fix in refused.value.message


def test_a_qos_for_large_jobs_refuses_a_small_one() -> None:
    admission = [{"namespaces": ["team-a"], "qos": ["boost_qos_bprod"]}]

    with pytest.raises(Invalid, match="boost_qos_bprod takes; write at least gpus: 260") as refused:
        planned(at=site(profile="leonardo-booster", admission=admission), facts=profile("leonardo-booster"))
    assert refused.value.reason == "NodesTooFew"


def test_a_machine_may_take_fewer_gpus_than_its_nodes_hold() -> None:
    plan = planned(job(gpus=14), at=at("discoverer-plus"), facts=profile("discoverer-plus"))

    assert (plan.nodes, plan.gpus_per_node) == (2, 7)


def test_an_unknown_limit_refuses_nothing() -> None:
    plan = planned(job(gpus=None, nodes=50, timeLimit="500h"), at=at("vega-gpu"), facts=profile("vega-gpu"))

    assert plan.time_limit_minutes == 30_000


def test_each_machine_is_asked_in_its_own_way() -> None:
    def asked(name: str) -> tuple[object, ...]:
        plan = planned(job(gpus=None, nodes=1), at=at(name), facts=profile(name))
        return plan.gpu_request, plan.cpus_per_task, plan.threads_per_core, plan.memory_per_node_mib

    assert asked("lumi-g") == ("gpus-per-node", 7, None, 480 * 1024)
    assert asked("leonardo-booster") == ("gres", 8, None, 494_000)
    assert asked("marenostrum5-acc") == ("gres", 20, None, None)
    assert asked("meluxina-gpu") == ("none", 16, 1, None)


def test_libraries_are_told_where_there_is_no_internet() -> None:
    def mode(name: str, **changes: Any) -> str | None:
        plan = planned(job(gpus=None, nodes=1, **changes), at=at(name), facts=profile(name))
        return dict(plan.environment).get("WANDB_MODE")

    assert mode("leonardo-booster") == mode("vega-gpu") == "offline"  # none, and unknown
    assert mode("lumi-g") is None
    assert mode("leonardo-booster", env=[{"name": "WANDB_MODE", "value": "disabled"}]) == "disabled"
