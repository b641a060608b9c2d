"""On a machine with a GPU of NVIDIA and PyTorch for CUDA: the example trains under the real script, with NCCL, and what
its node is, and what went wrong there, comes home. Slurm's commands are stubs, and no container is needed.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from passerelle.doctor.canary import HOST, canary, facts
from passerelle.onsite.codes import CONTINUE
from passerelle.progress import Report, parse_comment
from plans import RUN, profile, site
from stubs import Stubs, batch, wait_for

pytestmark = pytest.mark.gpu

TRAINER = Path(__file__).parents[2] / "examples" / "trainer" / "train.py"
ADMITTED = [{"namespaces": ["team-a"], "accounts": ["startup"], "qos": ["normal"]}]
ONE: dict[str, Any] = {"gpus": 1, "gpusPerNode": None, "env": [{"name": "NCCL_DEBUG", "value": "VERSION"}]}
STEPS = 400
TOO_MUCH = """\
import torch
kept = []
while True:
    kept.append(torch.ones(2**34, dtype=torch.uint8, device="cuda"))
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return here(tmp_path)


def here(folder: Path) -> Stubs:
    """Its only node is this machine, and its torchrun this Python's."""
    made = Stubs(folder)
    scontrol = made.place / "scontrol"
    scontrol.write_text(scontrol.read_text().replace(r"'n1\nn2\n'", r"'localhost\n'"))
    torchrun = made.place / "torchrun"
    torchrun.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"\n')
    torchrun.chmod(0o755)
    return made


def trained(stubs: Stubs, *args: str, job_id: int = 41, attempt: int = 1, **more: Any) -> tuple[int, str, Report]:
    """The example's exit code, its log, and what it told."""
    command = {"command": [sys.executable, str(TRAINER)], "args": ["--steps", str(STEPS), *args]}
    made = batch(stubs, attempt=attempt, **(command | ONE | more))
    done = stubs.run(made, job_id, SLURM_JOB_NUM_NODES="1", SLURM_JOB_NODELIST="n1")
    return done.returncode, done.stdout, parse_comment(stubs.comments()[-1])


def loss(report: Report) -> float:
    assert report.progress is not None
    (found,) = (each.value for each in report.progress.metrics if each.name == "loss")
    return float(found)


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_the_example_trains(stubs: Stubs, launcher: str) -> None:
    code, log, report = trained(stubs, "--save-every", "50", launcher=launcher)

    assert code == 0, log
    assert "NCCL version" in log
    assert "rank 0 of 1 on n1" in log
    assert report.progress is not None, log
    assert (report.progress.step, report.progress.total_steps) == (STEPS, STEPS)
    assert report.progress.checkpoint_step == STEPS


def test_a_stopped_run_goes_on_to_the_very_same_end(stubs: Stubs, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, log, whole = trained(here(tmp_path / "other"))

    slow = {"command": [sys.executable, str(TRAINER)], "args": ["--steps", str(STEPS), "--seconds-per-step", "0.02"]}
    process = stubs.start(batch(stubs, **(slow | ONE)), SLURM_JOB_NUM_NODES="1", SLURM_JOB_NODELIST="n1")
    stubs.reported(lambda report: report.progress is not None and (report.progress.step or 0) > 20)
    (run,) = stubs.root.glob("psr-*")
    next(run.glob("attempt-1-*")).joinpath("stop").touch()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == CONTINUE, said
    wait_for(run / "checkpoints" / "latest.pt")

    code, again, after = trained(stubs, job_id=42, attempt=2)
    assert code == 0, again
    assert int(re.findall(r"starts after step (\d+)", again)[0]) > 20
    assert loss(after) == loss(whole), log


def test_what_torch_says_of_a_full_gpu_comes_home(stubs: Stubs) -> None:
    made = batch(stubs, TOO_MUCH, **ONE)
    done = stubs.run(made, SLURM_JOB_NUM_NODES="1", SLURM_JOB_NODELIST="n1")

    assert done.returncode == 1, done.stdout
    assert "CUDA out of memory" in parse_comment(stubs.comments()[-1]).stderr


def test_the_canary_names_the_gpu(stubs: Stubs) -> None:
    made = canary("here", site(runRoot=str(stubs.root), admission=ADMITTED), profile(), RUN)
    told_by_slurm: dict[str, Any] = {
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "n1",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_JOB_GPUS": "0",
    }
    done = stubs.run(made.batch, **told_by_slurm)

    assert done.returncode == 0, done.stdout
    report = parse_comment(stubs.comments()[-1])
    assert report.progress is not None
    told = {each.name: each.value for each in report.progress.metrics}
    said = [each.text for each in facts(told, profile(), made.plan)]
    assert any(re.fullmatch(r"GPU: NVIDIA \S.*, \d+ of them seen, 1 given by Slurm\.", each) for each in said), said
    assert any(f"{HOST} was" in each for each in said)
