"""What a site's daemons read: every choice of its shape arrives in the text, and nothing depends on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from passerelle_sandbox.site import config
from passerelle_sandbox.site.components import components
from passerelle_sandbox.site.config import Ports, Shape

SHAPE = Shape(
    slurm="26.05.5",
    ports=Ports(slurmctld=20001, slurmdbd=20002, slurmrestd=20003, sshd=20007, slurmd=(20004, 20005, 20006)),
    gpus=4,
    first_job_id=4711,
    min_job_age=7,
)


def settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_slurm_conf_carries_the_shape() -> None:
    found = settings(config.slurm_conf(SHAPE))
    assert found["FirstJobId"] == "4711"
    assert found["MinJobAge"] == "7"
    assert found["SlurmctldPort"] == "20001"
    assert found["AccountingStoragePort"] == "20002"
    node, *options = found["NodeName"].split()
    assert node == "n[1-3]"
    assert {"Port=20004,20005,20006", "CPUs=8", "Gres=gpu:4"} <= set(options)


def test_every_line_of_slurm_conf_is_a_setting_that_stands_once() -> None:
    lines = [line for line in config.slurm_conf(SHAPE).splitlines() if line and not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines]
    assert all("=" in line for line in lines)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "gpus, cpus, device",
    [(1, 8, "File=/dev/gpu0"), (4, 8, "File=/dev/gpu[0-3]"), (8, 16, "File=/dev/gpu[0-7]")],
)
def test_a_node_has_two_cpus_a_gpu_and_at_least_eight(gpus: int, cpus: int, device: str) -> None:
    shape = replace(SHAPE, gpus=gpus)
    assert f" CPUs={cpus} " in config.slurm_conf(shape)
    assert config.gres_conf(shape).endswith(f" Name=gpu {device}\n")


def test_a_site_without_gpus_names_none() -> None:
    shape = replace(SHAPE, gpus=0)
    assert "Gres=" not in config.slurm_conf(shape)
    assert "Name=gpu" not in config.gres_conf(shape)


@pytest.mark.parametrize("slurm, plugin", [("22.05.8", "cgroup/v1"), ("23.02.1", "disabled"), ("24.11.5", "disabled")])
def test_old_slurm_cannot_do_without_a_cgroup_plugin(slurm: str, plugin: str) -> None:
    assert settings(config.cgroup_conf(replace(SHAPE, slurm=slurm)))["CgroupPlugin"] == plugin


def test_the_daemons_listen_where_the_configuration_says() -> None:
    found = components(SHAPE)
    assert found["slurmctld"].addresses == (20001,)
    assert found["slurmdbd"].addresses == (20002,)
    assert found["slurmrestd"].argvs == (("slurmrestd", "-a", "rest_auth/jwt", "127.0.0.1:20003"),)
    assert found["sshd"].addresses == (20007,)
    assert found["slurmd"].addresses == (20004, 20005, 20006)
    assert [argv[-1] for argv in found["slurmd"].argvs] == ["n1", "n2", "n3"]


def test_every_node_resolves_to_this_machine() -> None:
    assert config.hosts_file(SHAPE).split() == ["127.0.0.1", "localhost", "site", "n1", "n2", "n3"]
