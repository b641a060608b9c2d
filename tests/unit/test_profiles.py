"""The profiles of this release: whole, consistent, sourced, and what they make of a job."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from passerelle.profiles import Facts, Profile, load, names
from passerelle.v1alpha1.meta import Model
from passerelle.v1alpha1.site import SiteSpec
from plans import image_for, job, planned, site

SITE_PAGE = Path(__file__).parents[2] / "docs" / "site.md"
MACHINES = [
    "alps-clariden",
    "alps-daint",
    "arrhenius-gpu",
    "deucalion-gpu",
    "discoverer-plus",
    "juwels-booster",
    "jupiter-booster",
    "karolina-gpu",
    "leonardo-booster",
    "lumi-g",
    "marenostrum5-acc",
    "meluxina-gpu",
    "vega-gpu",
]
HOURS = 60


def text(name: str) -> str:
    return resources.files("passerelle.profiles").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def lumi(**changes: object) -> dict[str, Any]:
    """A profile's data with groups replaced."""
    told: dict[str, Any] = yaml.safe_load(text("lumi-g"))
    return {"name": "lumi-g"} | told | changes


def test_every_machine_has_a_profile() -> None:
    assert names() == sorted([*MACHINES, "sandbox", "sandbox-bare"])


@pytest.mark.parametrize(
    "name, expected",
    [
        ("lumi-g", ("x86_64", "amd", 8, 64, 48, True)),
        ("leonardo-booster", ("x86_64", "nvidia", 4, 64, 24, False)),
        ("marenostrum5-acc", ("x86_64", "nvidia", 4, 64, 72, False)),
        ("jupiter-booster", ("aarch64", "nvidia", 4, 96, 12, True)),
        ("juwels-booster", ("x86_64", "nvidia", 4, 40, 24, True)),
        ("meluxina-gpu", ("x86_64", "nvidia", 4, 40, 48, True)),
        ("karolina-gpu", ("x86_64", "nvidia", 8, 40, 48, False)),
        ("vega-gpu", ("x86_64", "nvidia", 4, 40, None, False)),
        ("discoverer-plus", ("x86_64", "nvidia", 8, 141, 4, False)),
        ("deucalion-gpu", ("x86_64", "nvidia", 4, 40, 48, False)),
        ("arrhenius-gpu", ("aarch64", "nvidia", 4, None, 72, False)),
        ("alps-clariden", ("aarch64", "nvidia", 4, 96, 12, True)),
        ("alps-daint", ("aarch64", "nvidia", 4, 96, 24, True)),
    ],
)
def test_a_machine_is_what_its_site_says(name: str, expected: tuple[object, ...]) -> None:
    facts = load(name)
    partition = facts.partitions[0]
    plan = planned(job(gpus=None, nodes=1, timeLimit="30m", image=image_for(facts)), at=at(name), facts=facts)
    limits = facts.limits(partition, plan.qos)

    longest = None if limits.max_time_minutes is None else limits.max_time_minutes / HOURS
    gpu = (partition.gpus_per_node, facts.gpu.memory_gib)
    assert (facts.node.architecture, facts.gpu.vendor, *gpu, longest, limits.whole_nodes) == expected


def at(name: str, partition: str | None = None) -> SiteSpec:
    """A Site whose administrator leaves the QoS to the profile."""
    return site(profile=name, partition=partition, admission=[{"namespaces": ["team-a"], "accounts": ["project1"]}])


@pytest.mark.parametrize("name", MACHINES)
def test_every_group_names_its_sources_and_every_source_is_used(name: str) -> None:
    facts = load(name)
    groups = dict(facts.groups())

    assert {"machine", "node", "gpu", "billing", "fabric", "launch", "egress", "login"} <= set(groups)
    assert {key for group in groups.values() for key in group.source} == set(facts.sources)


@pytest.mark.parametrize("name", names())
def test_keys_stand_in_one_order(name: str) -> None:
    """A page that always reads the same way; where a fact comes from stands at its end."""
    assert_ordered(yaml.safe_load(text(name)), Profile)


def test_the_least_profile_of_the_docs_is_one_that_plans() -> None:
    """For whose machine has none: as it stands there it is whole, and little more than what a profile must have."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", SITE_PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [each for each in blocks if each.startswith("description:")]
    told = yaml.safe_load(block)
    assert_ordered(told, Profile)
    facts = Profile.model_validate({"name": "my-machine"} | told)

    plan = planned(job(gpus=8, timeLimit="24h"), at=at("my-machine"), facts=facts)

    assert (plan.partition, plan.nodes, plan.gpus_per_node, plan.cpus_per_task) == ("gpu", 2, 4, 16)
    required = {info.alias or name for name, info in Profile.model_fields.items() if info.is_required()}
    assert told.keys() == required - {"name"}


def assert_ordered(told: dict[str, Any], model: type[Model]) -> None:
    fields = {info.alias or field: info for field, info in model.model_fields.items()}
    order = sorted(fields, key=lambda key: key in Facts.model_fields)
    assert list(told) == [key for key in order if key in told]
    for key, value in told.items():
        inner = group(fields[key])
        for each in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(each, dict):
                assert_ordered(each, inner)


def group(info: FieldInfo) -> type[Model] | None:
    """The model that a field holds, once or in a list."""
    candidates = [info.annotation, *getattr(info.annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, Model)), None)


@pytest.mark.parametrize("name", names())
def test_a_profile_speaks_of_the_machine_alone(name: str) -> None:
    said = text(name)

    assert not re.search(r"user repositor|todo|fixme", said, re.IGNORECASE)
    assert max(len(line) for line in said.splitlines() if "mask_cpu" not in line) <= 120


@pytest.mark.parametrize("name", MACHINES)
def test_a_node_holds_the_shares_of_its_gpus(name: str) -> None:
    facts = load(name)
    for each in facts.partitions:
        assert each.gpus_per_node * each.cpus_per_gpu <= (facts.node.cpus or 0), each.name
        if each.memory_per_gpu_mib is not None:
            assert facts.node.memory_mib is not None
            assert each.gpus_per_node * each.memory_per_gpu_mib <= facts.node.memory_mib, each.name
        if each.included_cpus_per_gpu is not None:
            assert each.cpus_per_gpu <= each.included_cpus_per_gpu, each.name
        if each.included_memory_per_gpu_mib is not None:
            assert (each.memory_per_gpu_mib or 0) <= each.included_memory_per_gpu_mib, each.name


@pytest.mark.parametrize("name", MACHINES)
def test_containers_get_the_flag_of_the_gpus_vendor(name: str) -> None:
    facts = load(name)
    flags = {option for each in facts.runtimes for option in each.options}

    by_sif = any(each.kind in ("apptainer", "singularity") for each in facts.runtimes)
    assert flags == ({"--nv"} if by_sif and facts.gpu.vendor == "nvidia" else set())


def test_lumis_masks_give_each_gpu_seven_cores_of_its_own() -> None:
    facts = load("lumi-g")
    masks = [int(mask, 16) for mask in (facts.launch.cpu_bind or "").removeprefix("mask_cpu:").split(",")]

    assert [mask.bit_count() for mask in masks] == [7] * 8
    assert sum(masks) == 0xFEFEFEFEFEFEFEFE  # all of them, but the first core of each eight


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("gpus_per_node", [1, None])
def test_every_partition_takes_its_smallest_job(name: str, gpus_per_node: int | None) -> None:
    facts = load(name)
    for each in facts.partitions:
        spec = job(gpus=None, nodes=each.min_nodes, gpusPerNode=gpus_per_node, timeLimit="10m", image=image_for(facts))
        plan = planned(spec, at=at(name, each.name), facts=facts)

        assert (plan.partition, plan.nodes) == (each.name, each.min_nodes)
        assert plan.gpus_per_node == (gpus_per_node or each.gpus_per_node)
        assert plan.cpus_per_task == each.cpus_per_gpu
        assert (plan.gpu_request, plan.threads_per_core) == (each.gpu_request, each.threads_per_core)
        assert plan.qos is not None or not facts.qos_rule.required


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"node": {"architecture": "x86_64", "confidence": "high"}}, "source"),
        ({"node": {"architecture": "x86_64", "source": ["guide"]}}, "confidence"),
        ({"node": {"architecture": "x86_64", "source": ["hearsay"], "confidence": "high"}}, "no source hearsay"),
        ({"node": {"architecture": "x86_64", "core": 3, "source": ["guide"], "confidence": "high"}}, "core"),
        ({"defaultPartition": "gpu"}, "no partition gpu"),
        (
            {"egress": {"compute": "unknown", "source": ["guide"], "confidence": "high"}},
            "valid boolean",
        ),
    ],
)
def test_a_profile_that_is_wrong_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Profile.model_validate(lumi(**changes))


@pytest.mark.parametrize("written", ["2 days", "90s", "1-00:00:00"])
def test_times_are_whole_minutes(written: str) -> None:
    data = lumi()
    data["partitions"][0]["maxTime"] = written

    with pytest.raises(ValidationError, match="whole minutes"):
        Profile.model_validate(data)


def test_memory_carries_its_unit() -> None:
    data = lumi()
    data["partitions"][0]["memoryPerGpu"] = "60G"

    with pytest.raises(ValidationError, match="write it like 480Gi"):
        Profile.model_validate(data)


def test_a_qos_s_limits_take_the_partitions_place() -> None:
    facts = load("leonardo-booster")
    partition = facts.partitions[0]

    plain, long = facts.limits(partition, None), facts.limits(partition, "boost_qos_lprod")
    assert (plain.max_nodes, plain.max_time_minutes, plain.whole_nodes) == (64, 24 * HOURS, False)
    assert (long.max_nodes, long.max_time_minutes, long.whole_nodes) == (3, 96 * HOURS, False)
    assert facts.limits(partition, "boost_qos_bprod").whole_nodes
    assert facts.limits(partition, "a-qos-that-nobody-knows") == plain


def test_a_path_s_prefix_ends_before_what_differs() -> None:
    scratch = [each.prefix for each in load("alps-clariden").file_systems if each.role == "scratch"]

    assert scratch == ["/iopsstor/scratch/cscs", "/capstor/scratch/cscs"]
