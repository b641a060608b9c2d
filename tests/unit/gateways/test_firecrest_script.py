"""The script is run, since what it does to the environment is the shell's to say."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from passerelle.gateways.firecrest import encode
from passerelle.gateways.firecrest.script import script
from unit.gateways.scripted_server import BATCH

ODD = {
    "QUOTES": 'it\'s "so"',
    "COMMAS": "a,b=c,,d",
    "LINES": "one\ntwo\n\tthree",
    "WORDS": "déjà vu 日本 🚀",
    "SHELL": "$(touch x) `id` ${HOME} \\ %j",
    "EMPTY": "",
    "SLURM_CPU_BIND": "none",
}
SLURMS = {"SLURM_JOB_ID": "77", "SLURMD_NODENAME": "n1", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_CPU_BIND": "cores"}
LEAKED = {
    "LEAKED": "of the login shell",
    "F7T_version": "v2.0.0",
    "SLURM_EXPORT_ENV": "ALL,F7T_version=v2.0.0",
    "LD_PRELOAD": "",
    "BASH_FUNC_module%%": "() { echo leaked; }",
}
OF_THE_SHELL = {"PWD", "SHLVL", "_", "OLDPWD"}


def ran(tmp_path: Path, shell: str, body: str) -> str:
    environment = (("PATH", "/usr/bin:/bin"), *ODD.items())
    batch = dataclasses.replace(BATCH, environment=environment, script=f"{shell}\n{body}")
    file = tmp_path / "slurm_script"
    file.write_text(script(batch), encoding="utf-8")
    file.chmod(0o700)
    done = subprocess.run(
        [file], env={"PATH": "/bin", **SLURMS, **LEAKED}, cwd=tmp_path, capture_output=True, check=True, timeout=10
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.parametrize("shell", ["#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash"])
def test_environment_is_the_batchs_and_slurms_own(tmp_path: Path, shell: str) -> None:
    arrived = dict(line.split("=", 1) for line in ran(tmp_path, shell, "env -0\n").split("\0") if line)

    assert {name: value for name, value in arrived.items() if name not in OF_THE_SHELL} == {
        "PATH": "/usr/bin:/bin",
        "SLURM_JOB_ID": "77",
        "SLURMD_NODENAME": "n1",
        "CUDA_VISIBLE_DEVICES": "0,1",
        **ODD,
    }


def test_batchs_own_shell_runs_it_without_words(tmp_path: Path) -> None:
    assert ran(tmp_path, "#!/bin/bash -u", 'echo "$#" "$-"\n').split() == ["0", "huB"]


def test_exit_code_is_the_scripts(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        ran(tmp_path, "#!/bin/sh", "exit 215\n")

    assert caught.value.returncode == 215


def test_options_stand_before_any_command() -> None:
    lines = script(BATCH).splitlines()
    after = next(number for number, line in enumerate(lines[1:]) if not line.startswith("#SBATCH"))

    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --nodes=1" in lines[:after]
    assert not any(line.startswith("#SBATCH") for line in lines[after + 1 :])


def test_body_names_everything_that_has_a_field_and_no_environment() -> None:
    options = dataclasses.replace(BATCH.options, account="startup", reservation="night", constraint="a100")
    job = encode.submit(dataclasses.replace(BATCH, options=options))["job"]

    assert job == {
        "name": options.name,
        "account": "startup",
        "partition": "gpu",
        "reservation": "night",
        "constraints": "a100",
        "workingDirectory": "/run",
        "standardOutput": "/run/out",
        "standardError": "/run/err",
        "script": script(dataclasses.replace(BATCH, options=options)),
    }


def test_script_that_lies_at_the_site_is_named() -> None:
    job = encode.submit(BATCH, "/run/script")["job"]

    assert job["scriptPath"] == "/run/script"
    assert "script" not in job
