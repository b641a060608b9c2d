"""What a launcher says, and what the plan makes of it."""

import pytest

from passerelle.brought import Brought, Sealed
from passerelle.container import Container
from passerelle.errors import Invalid
from passerelle.launch import LAUNCHERS
from passerelle.plan import Plan
from passerelle.profiles import Profile, load
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from plans import job, planned, profile, site

DIGEST = "9f2b6c0d51e84a37" * 4


def at(name: str, **spec: object) -> Plan:
    """Whole nodes of a profile, two unless said."""
    sizes = {} if "gpus" in spec else {"gpus": None, "nodes": 2}
    admission = [{"namespaces": ["team-a"], "accounts": ["project1"], "qos": []}]
    return planned(job(**({"timeLimit": "1h"} | sizes | spec)), site(profile=name, admission=admission), load(name))


def without_egress(name: str, compute: bool | None) -> Profile:
    facts = load(name)
    return facts.model_copy(update={"egress": facts.egress.model_copy(update={"compute": compute})})


def entered(plan: Plan) -> Container:
    assert plan.container is not None
    return plan.container


def test_spec_names_every_launcher_and_no_other() -> None:
    field = TrainingJobSpec.model_fields["launcher"]

    assert set(LAUNCHERS) == set(field.annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize("launcher", ["deepspeed", "jax", "mpi", "srun"])
def test_a_task_a_gpu(launcher: str) -> None:
    plan = planned(job(launcher=launcher))

    assert (plan.tasks_per_node, plan.processes_per_task, plan.cpus_per_task, plan.world_size) == (4, 1, 2, 8)
    assert plan.agent == ()


def test_accelerate_is_an_agent_a_node_and_is_told_of_the_whole_world() -> None:
    plan = at("marenostrum5-acc", launcher="accelerate")

    assert (plan.tasks_per_node, plan.processes_per_task, plan.world_size) == (1, 4, 8)
    assert {"--num_processes=8", "--num_machines=2", "--machine_rank={NODE_RANK}", "--multi_gpu"} <= set(plan.agent)
    assert {"--main_process_ip={MASTER_ADDR}", "--main_process_port={MASTER_PORT}"} <= set(plan.agent)


def test_accelerate_takes_no_multi_gpu_for_one_process() -> None:
    assert "--multi_gpu" not in planned(job(launcher="accelerate", gpus=1)).agent


def test_deepspeed_never_calls_its_own_launcher() -> None:
    plan = planned(job(launcher="deepspeed"))

    assert plan.agent == ()
    assert dict(plan.variables)["LOCAL_SIZE"] == "{LOCAL_WORLD_SIZE}"


@pytest.mark.parametrize("launcher,mpi", [("srun", "none"), ("torchrun", "none"), ("jax", "none"), ("mpi", "pmi2")])
def test_only_mpi_programs_get_a_process_manager(launcher: str, mpi: str) -> None:
    assert planned(job(launcher=launcher)).step.mpi == mpi


def test_an_unknown_process_manager_is_left_to_the_sites_default() -> None:
    assert at("vega-gpu", launcher="mpi").step.mpi is None


@pytest.mark.parametrize(
    "spec,is_masked",
    [
        ({}, True),
        ({"launcher": "mpi"}, True),
        ({"launcher": "torchrun"}, False),  # the mask of the first GPU would hold eight processes on seven cores
        ({"launcher": "script"}, False),
        ({"cpusPerGpu": 4}, False),
    ],
)
def test_masks_hold_for_one_task_a_gpu_with_its_whole_share(spec: dict[str, object], is_masked: bool) -> None:
    assert (at("lumi-g", **spec).step.cpu_bind is not None) is is_masked


def test_masks_are_for_whole_nodes() -> None:
    assert at("lumi-g", gpus=4, gpusPerNode=4).step.cpu_bind is None


def test_the_rendezvous_follows_the_fabric() -> None:
    step = at("juwels-booster").step

    assert (step.host_suffix, step.address) == ("i", "ip")


@pytest.mark.parametrize(
    "name,image,kind",
    [
        ("sandbox", "/images/train.sif", "apptainer"),
        ("lumi-g", "/images/train.sif", "singularity"),
        ("deucalion-gpu", "/images/train.sif", "singularity"),
        ("deucalion-gpu", "/images/train.sqsh", "pyxis"),
        ("alps-daint", "/images/train.sqsh", "edf"),
        ("sandbox", "/images/train.sqsh", "apptainer"),
        ("lumi-g", "/images/train.sqsh", "singularity"),
        ("alps-daint", "/images/train.toml", "edf"),
        ("sandbox", "/images/a-directory", "apptainer"),
    ],
)
def test_the_first_runtime_that_can_enter_the_image_is_taken(name: str, image: str, kind: str) -> None:
    container = entered(at(name, image=image))

    assert (container.kind, container.image, container.pull) == (kind, image, None)


@pytest.mark.parametrize(
    "name,image,fix",
    [
        ("alps-daint", "/images/train.sif", "write the absolute path of a squashfs or an environment file."),
        ("sandbox", "/images/train.toml", "write the absolute path of a SIF file."),
        ("sandbox", "./train.sif", "write the absolute path of a SIF file"),
        ("sandbox", "oras://registry.example.eu/train", "or a name like nvcr.io/nvidia/pytorch@sha256"),
    ],
)
def test_an_image_that_no_runtime_enters_is_refused(name: str, image: str, fix: str) -> None:
    with pytest.raises(Invalid, match=fix) as refused:
        at(name, image=image, gpus=4)

    assert refused.value.reason == "ImageFormat"


def test_a_pinned_image_becomes_one_sif_for_all() -> None:
    container = entered(planned(job(image=f"nvcr.io/nvidia/pytorch:25.06-py3@sha256:{DIGEST}")))

    assert container.image == f"/scratch/startup/passerelle/images/sha256-{DIGEST}.sif"
    assert container.pull == f"docker://nvcr.io/nvidia/pytorch@sha256:{DIGEST}"


def test_an_image_that_needed_a_login_is_the_run_s_own() -> None:
    """Whoever names its digest without the login must not find it."""
    image = f"ghcr.io/lab/train@sha256:{DIGEST}"
    plan = planned(job(image=image, imagePullSecrets=[{"name": "ghcr"}]), brought=Brought(sealed=Sealed()))

    assert entered(plan).image == f"{plan.run_directory}/images/sha256-{DIGEST}.sif"


def test_a_tag_may_move_so_its_sif_is_the_attempts_own() -> None:
    plan = planned(job(image="python:3.12"), attempt=2)

    assert entered(plan).image == f"{plan.run_directory}/{plan.marker}.sif"
    assert entered(plan).pull == "docker://python:3.12"


@pytest.mark.parametrize(
    "image,name",
    [
        (f"nvcr.io/nvidia/pytorch@sha256:{DIGEST}", f"nvcr.io#nvidia/pytorch@sha256:{DIGEST}"),
        ("localhost:5000/train:1", "localhost:5000#train:1"),
        ("lumenlabs/diffusion:latest", "lumenlabs/diffusion:latest"),
    ],
)
def test_an_engine_fetches_by_its_own_way_of_naming(image: str, name: str) -> None:
    container = entered(at("alps-daint", image=image, gpus=4))

    assert (container.image, container.pull) == (name, None)


def test_where_no_registry_is_reached_an_image_has_to_be_brought() -> None:
    spec = job(image=f"python@sha256:{DIGEST}")

    with pytest.raises(Invalid, match="build a SIF file from it elsewhere") as refused:
        planned(spec, facts=without_egress("sandbox", compute=False))

    assert refused.value.reason == "RegistryUnreachable"
    assert entered(planned(spec, facts=without_egress("sandbox", compute=None))).pull is not None


def test_amd_gpus_keep_miopens_databases_on_each_node() -> None:
    plan = at("lumi-g")

    assert dict(plan.environment)["MIOPEN_USER_DB_PATH"] == f"/tmp/{plan.marker}-miopen"  # noqa: S108
    assert "MIOPEN_USER_DB_PATH" not in dict(planned().environment)


def test_a_script_without_a_container_may_bring_files() -> None:
    files = (("/w/job.sh", b"#!/bin/bash\n"),)

    plan = planned(job(launcher="script", command=["/w/job.sh"]), facts=profile("sandbox-bare"), files=files)

    assert (plan.is_body, plan.container) == (True, None)
