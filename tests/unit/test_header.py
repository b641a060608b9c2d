"""Options as `#SBATCH` lines: the whole of them, in one order, and nothing that sbatch would read as something else."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import Any

import pytest

from options import changed_in
from passerelle.batch import Batch, Options
from passerelle.header import headed, header

BARE = Options(
    name="psr-a-1",
    account=None,
    partition="gpu",
    qos=None,
    nodes=2,
    tasks_per_node=4,
    cpus_per_task=7,
    memory_per_node_mib=None,
    gpus_per_node=4,
    time_limit_minutes=90,
    working_directory="/scratch/run",
    standard_output="/scratch/run/%j.out",
    standard_error="/scratch/run/%j.err",
)
FULL = dataclasses.replace(
    BARE,
    account="acct",
    qos="high",
    reservation="tuesday",
    memory_per_node_mib=1000,
    gpu_type="a100",
    gpu_request="gres",
    threads_per_core=1,
    constraint="a100_80&nvme",
    exclude=("n7", "n[9-11]"),
    warning_seconds=300,
)


def test_every_option_has_its_line() -> None:
    assert header(FULL) == [
        "#SBATCH --job-name=psr-a-1",
        "#SBATCH --account=acct",
        "#SBATCH --partition=gpu",
        "#SBATCH --qos=high",
        "#SBATCH --reservation=tuesday",
        "#SBATCH --constraint=a100_80&nvme",
        "#SBATCH --nodes=2",
        "#SBATCH --exclude=n7,n[9-11]",
        "#SBATCH --ntasks=8",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=7",
        "#SBATCH --threads-per-core=1",
        "#SBATCH --mem=1000M",
        "#SBATCH --gres=gpu:a100:4",
        "#SBATCH --time=90",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --chdir=/scratch/run",
        "#SBATCH --output=/scratch/run/%j.out",
        "#SBATCH --error=/scratch/run/%j.err",
        "#SBATCH --open-mode=append",
        "#SBATCH --no-requeue",
    ]


def test_what_is_not_asked_has_no_line() -> None:
    unsaid = {"account", "qos", "reservation", "constraint", "exclude", "threads-per-core", "mem", "signal"}

    assert {line.removeprefix("#SBATCH --").partition("=")[0] for line in header(BARE)} & unsaid == set()


@pytest.mark.parametrize(
    "request_, line",
    [
        ("gpus-per-node", "#SBATCH --gpus-per-node=a100:4"),
        ("gres", "#SBATCH --gres=gpu:a100:4"),
        ("gpus", "#SBATCH --gpus=a100:8"),
        ("none", None),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants_it(request_: Any, line: str | None) -> None:
    written = header(dataclasses.replace(FULL, gpu_request=request_))

    assert [each for each in written if "gpu:" in each or "gpus" in each or "a100:" in each] == ([line] if line else [])


def test_a_job_without_gpus_asks_for_none() -> None:
    assert not [line for line in header(dataclasses.replace(BARE, gpus_per_node=0)) if "gpus" in line]


def test_every_option_changes_the_header() -> None:
    for field in dataclasses.fields(Options):
        assert header(changed_in(FULL, field.name)) != header(FULL), field.name


@pytest.mark.parametrize("value", ["a\nb", "a b", "a\tb", "a'b", 'a"b', "a\\b", "a#b", "", "\u00e9", "a\0", "a\r"])
@pytest.mark.parametrize("field", ["account", "standard_output", "constraint", "name"])
def test_a_value_that_sbatch_would_not_read_as_it_stands_is_refused(field: str, value: str) -> None:
    change: dict[str, Any] = {field: value}

    with pytest.raises(ValueError, match="holds whitespace, a quote"):
        header(dataclasses.replace(BARE, **change))


def test_an_excluded_node_may_not_smuggle_a_line() -> None:
    with pytest.raises(ValueError, match="exclude"):
        header(dataclasses.replace(BARE, exclude=("n1", "n2\n#SBATCH --qos=high")))


def test_bash_reads_the_headed_script_as_the_script() -> None:
    batch = Batch(options=FULL, environment=(), script="#!/bin/bash\necho alive\n")

    done = subprocess.run(["bash", "-s"], input=headed(batch), capture_output=True, text=True, check=False)

    assert headed(batch).splitlines() == ["#!/bin/bash", *header(FULL), "echo alive"]
    assert (done.stdout, done.stderr, done.returncode) == ("alive\n", "", 0)
