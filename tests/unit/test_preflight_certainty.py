"""Preflight's severities, and what it says of placeholders, chains, directories and shared nodes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mistakes.corpus import odd
from mistakes.told import at, said
from passerelle import profiles
from passerelle.preflight import Finding, preflight
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

ODD = odd()


class TestSharing:
    @pytest.mark.parametrize(
        "spec,found",
        [
            ({"gpus": 1}, "TotalNotPossible"),
            ({"gpus": 6}, "TotalNotPossible"),
            ({"gpus": 2, "gpusPerNode": 2}, "GpusUnused"),
            ({"nodes": 1, "gpusPerNode": 4}, "GpuMeansDie"),
            ({"gpus": 1, "timeLimit": "72h", "checkpoint": {}, "retry": {"maxAttempts": 2}}, "TotalNotPossible"),
        ],
    )
    def test_a_job_of_less_than_a_node_is_told_where_nodes_are_shared(self, spec: dict[str, Any], found: str) -> None:
        (told,) = [each for each in at("lumi-g", **spec) if each.id == found]
        assert told.fix.endswith(
            "; or the Site's administrator can write partition: small-g, where jobs share nodes and pay their part."
        )

    def test_one_that_needs_more_than_an_account_is_not_named(self) -> None:
        case = next(each for each in ODD if each.name.startswith("01-"))
        site, facts = case.site.spec().model_copy(update={"partition": None}), profiles.load("lumi-g")
        closed = [
            each.model_copy(update={"right": "ask"}) if each.name == "small-g" else each for each in facts.partitions
        ]
        job = TrainingJobSpec.model_validate(case.spec | {"timeLimit": "2h", "cpusPerGpu": None})

        names = []
        for partitions in (facts.partitions, closed):
            told = preflight(job, site, facts.model_copy(update={"partitions": partitions}), entry=site.admission[0])
            names += re.findall("partition: ([a-z-]+)", "".join(each.fix for each in told))
        assert names == ["small-g", "dev-g"]

    @pytest.mark.parametrize(
        "profile,spec",
        [
            ("lumi-g", {"gpus": 12}),
            ("lumi-g", {"gpus": 16, "gpusPerNode": 4}),
            ("lumi-g", {"gpus": 1, "timeLimit": "73h"}),
            ("jupiter-booster", {"gpus": 1}),
        ],
    )
    def test_where_no_partition_shares_so_none_is_named(self, profile: str, spec: dict[str, Any]) -> None:
        assert "partition:" not in "".join(each.fix for each in at(profile, **spec))


class TestDirectory:
    """A job starts in a directory of its own, which is empty."""

    @pytest.mark.parametrize(
        "command,word",
        [
            (["python", "train.py"], "train.py"),
            (["/opt/venv/bin/python3.12", "-u", "src/train.py"], "src/train.py"),
            (["bash", "-eu", "run.sh"], "run.sh"),
            (["./train"], "./train"),
            (["bash", "-c", "set -e; export X=1; python train.py"], "train.py"),
            (["python", "-m", "train"], None),
            (["python", "-c", "print(1)", "train.py"], None),
            (["python", "/opt/train.py", "--config", "a.sh"], None),
            (["train.py"], None),
            (["bash", "-c", "cd /code && python train.py"], None),
            (["bash", "-c", "tar xf /code.tar; python train.py"], None),
            (["bash", "-c", "echo 'print(1)' > train.py; python train.py"], None),
        ],
    )
    def test_a_relative_path_finds_nothing_there(self, command: list[str], word: str | None) -> None:
        told = [each for each in at("lumi-g", command=command) if each.id == "PathRelative"]
        assert [each.message.endswith(f"no {word}.") for each in told] == ([] if word is None else [True])
        told = [each for each in at("lumi-g", command=command, workingDir="/code") if each.id == "PathRelative"]
        assert told == []


class TestPlaceholders:
    @pytest.mark.parametrize(
        "spec,field,severity",
        [
            ({"account": "CHANGE-ME"}, "spec.account", "error"),
            ({"account": "project_46XXXXXXX"}, "spec.account", "error"),
            ({"account": "project_XXXX"}, "spec.account", "error"),
            ({"account": "TODO"}, "spec.account", "error"),
            ({"image": "/scratch/<your-project>/train.sif"}, "spec.image", "error"),
            ({"image": "/scratch/project_465xxxxxx/train.sif"}, "spec.image", "error"),
            ({"image": "ghcr.io/CHANGE-ME/train:1"}, "spec.image", "error"),
            ({"image": "/scratch/TODO/train.sif"}, "spec.image", "warning"),
            ({"image": "/scratch/project_465001234/xxl.sif"}, "spec.image", None),
            ({"workingDir": "/project/change_me"}, "spec.workingDir", "error"),
            ({"data": [{"name": "c", "path": "/project/CHANGE-ME/c"}]}, "spec.data[0].path", "error"),
            ({"command": ["python", "/t.py", "--data", "/project/<your project>/c"]}, "spec.command", "warning"),
            ({"env": [{"name": "RUN", "value": "CHANGE-ME"}]}, "spec.env[0]", "warning"),
            ({"env": [{"name": "NOTE", "value": "TODO"}]}, "spec.env[0]", None),
        ],
    )
    def test_what_nobody_replaced_is_told_where_it_stands_and_alone(
        self, spec: dict[str, Any], field: str, severity: str | None
    ) -> None:
        told = [(each.id, each.severity) for each in at("lumi-g", **spec) if each.field == field]
        assert told == ([] if severity is None else [("Placeholder", severity)])

    def test_what_may_be_a_name_hides_nothing(self) -> None:
        told = at("lumi-g", command=["python", "/t.py", "<your token>", "hf_" + "a" * 34])
        assert said(told) == {("Placeholder", "spec.command"), ("SecretInCommand", "spec.command")}

    def test_that_of_the_site_is_its_administrators(self) -> None:
        (told,) = [each for each in at("lumi-g", run_root="/scratch/CHANGE-ME/runs") if each.severity == "error"]
        assert (told.id, told.field) == ("Placeholder", "site.spec.runRoot")


class TestChain:
    @pytest.mark.parametrize(
        "spec,path",
        [
            ({"checkpoint": {}}, "/spec/retry"),
            ({"checkpoint": {"grace": "5m"}, "retry": {"maxAttempts": 1}}, "/spec/retry/maxAttempts"),
            ({"checkpoint": {}, "retry": {"maxAttempts": 2}}, None),
            ({}, None),
        ],
    )
    def test_a_checkpoint_wants_a_second_attempt(self, spec: dict[str, Any], path: str | None) -> None:
        told = [each for each in at("lumi-g", **spec) if each.id == "ChainEnds"]
        assert [(each.severity, each.patch[0].path) for each in told] == ([] if path is None else [("warning", path)])

    def test_whoever_is_advised_to_checkpoint_is_advised_to_try_again(self) -> None:
        (told,) = [each for each in at("lumi-g", timeLimit="24h") if each.id == "CheckpointMissing"]
        assert "retry: {maxAttempts: 4}" in told.fix

    def test_a_chain_that_a_longer_limit_leads_to_is_told_once(self) -> None:
        told = at("discoverer-plus", gpus=8, timeLimit="8h", checkpoint={"grace": "5m"})
        assert {"ChainEnds", "TimeLimitTooLong"} & {each.id for each in told} == {"TimeLimitTooLong"}


class TestCertainty:
    """An error refuses the job and can't be overridden: it is one only where nothing but failure can follow."""

    def severities(self, told: tuple[Finding, ...], name: str) -> list[str]:
        return [each.severity for each in told if each.id == name]

    @pytest.mark.parametrize(
        "command,expected",
        [
            (["python", "/t.py", "--sep", "|"], []),
            (["python", "/t.py", "--sep", "|", "--quiet"], []),
            (["find", "/x", "-name", "*.py", "-exec", "grep", "x", "{}", ";"], []),
            (["python", "/t.py", "|", "tee", "log"], ["warning"]),
            (["cd", "/x", "&&", "python", "t.py"], ["warning"]),
            (["python /t.py"], ["error"]),
            (["cd /x && python t.py"], ["error"]),
            (["/opt/venv/bin/python /t.py"], ["error"]),
            (["/opt/our tools/train"], ["warning"]),
            (["bash", "-c", "python /t.py | tee /log"], []),
        ],
    )
    def test_an_operator_may_be_meant_as_an_argument(self, command: list[str], expected: list[str]) -> None:
        assert self.severities(at("lumi-g", command=command), "ShellSyntax") == expected

    @pytest.mark.parametrize(
        "command,expected",
        [
            (["curl", "-O", "https://github.com/x"], "error"),
            (["wget", "https://github.com/x"], "error"),
            (["wget", "https://gitlab.bsc.es/x"], "warning"),
            (["wget", "https://github.com.internal/x"], None),
            (["bash", "-c", "https_proxy=p:3128 curl -O https://github.com/x"], "warning"),
            (["bash", "-c", "source /opt/proxy.sh && curl -O https://github.com/x"], "warning"),
            (["git", "clone", "git@github.com:x/y"], "error"),
            (["bash", "-c", "git clone https://github.com/x && python /t.py"], "error"),
            (["bash", "-ec", "curl -O https://github.com/x; python /t.py"], "error"),
            (["bash", "-c", "set -eu\ncurl -O https://github.com/x\npython /t.py"], "error"),
            (["bash", "-c", "curl -O https://github.com/x; python /t.py"], "warning"),
            (["bash", "-c", "curl -O https://github.com/x || true"], "warning"),
            (["bash", "-c", "set -e; curl -O https://github.com/x && touch y; python /t.py"], "warning"),
            (["bash", "-c", "if false; then curl -O https://github.com/x; fi"], "warning"),
            (["bash", "-ec", "if false; then curl -O https://github.com/x; fi"], "warning"),
            (["curl", "-x", "http://proxy:3128", "-O", "https://github.com/x"], "warning"),
            (["bash", "-c", "export https_proxy=http://p:3 && curl -O https://github.com/x"], "warning"),
            (["bash", "-c", "pip install x && python /t.py"], "warning"),
            (["aws", "s3", "cp", "s3://x/y", "/z"], "warning"),
            (["python", "/t.py", "--license-url", "https://example.eu/license"], "warning"),
            (["git", "clone", "/gpfs/projects/ehpc123/code"], None),
            (["curl", "--version"], None),
        ],
    )
    def test_the_internet_is_needed_where_a_program_can_do_nothing_else(
        self, command: list[str], expected: str | None
    ) -> None:
        told = self.severities(at("marenostrum5-acc", command=command), "InternetNeeded")
        assert told == ([] if expected is None else [expected])

    def test_whoever_names_a_proxy_may_know_a_way_out(self) -> None:
        env = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
        told = at("marenostrum5-acc", command=["curl", "-O", "https://github.com/x"], env=env)
        assert self.severities(told, "InternetNeeded") == ["warning"]

    @pytest.mark.parametrize(
        "command,size,expected",
        [
            (["torchrun", "/t.py"], {"gpus": 1}, []),
            (["torchrun", "--nproc_per_node", "1", "/t.py"], {"gpus": 1}, []),
            (["accelerate", "launch", "/t.py"], {"gpus": 1}, []),
            (["torchrun", "--nproc_per_node=4", "/t.py"], {"gpus": 1}, ["warning"]),
            (["mpirun", "-np", "1", "python", "/t.py"], {"gpus": 1}, ["warning"]),
            (["torchrun", "/t.py"], {"gpus": 2}, ["error"]),
            (["torchrun", "--standalone", "/t.py"], {"gpus": 2}, ["warning"]),
            (["torchrun", "--nnodes=2", "--rdzv_endpoint=x", "/t.py"], {"nodes": 2, "gpusPerNode": 1}, ["warning"]),
            (["torchrun", "/t.py"], {"nodes": 2, "gpusPerNode": 1}, ["warning"]),
            (["bash", "-c", "torchrun --master-port=$((2000+LOCAL_RANK)) /t.py"], {"gpus": 2}, ["warning"]),
            (["bash", "-c", "python /t.py || torchrun /t.py"], {"gpus": 2}, ["warning"]),
            (["deepspeed", "/t.py"], {"gpus": 2}, ["warning"]),
        ],
    )
    def test_a_launcher_within_a_launcher_fails_where_two_take_one_port(
        self, command: list[str], size: dict[str, Any], expected: list[str]
    ) -> None:
        told = at("lumi-g", partition="small-g", command=command, **size)
        assert self.severities(told, "LauncherNested") == expected

    @pytest.mark.parametrize(
        "command,expected", [(["docker", "run", "x"], ["error"]), (["apptainer", "exec", "/x", "y"], ["warning"])]
    )
    def test_a_container_within_the_container_may_work_without_a_daemon(
        self, command: list[str], expected: list[str]
    ) -> None:
        assert self.severities(at("lumi-g", command=command), "ContainerNested") == expected

    def test_where_trainers_run_on_the_nodes_as_they_are_an_image_says_nothing(self) -> None:
        told = at("sandbox-bare", image="/x/rocm-arm64.tar", timeLimit="30m", command=["apptainer", "exec", "/x", "y"])
        assert said(told) == set()

    @pytest.mark.parametrize(
        "profile,image,expected",
        [
            ("lumi-g", "nvcr.io/nvidia/pytorch:25.06-py3", "error"),
            ("lumi-g", "/scratch/project_465001234/cuda-to-hip.sif", "warning"),
            ("lumi-g", "ghcr.io/lumenlabs/cuda-to-hip:1", "warning"),
            ("alps-clariden", "rocm/pytorch:latest", "error"),
            ("alps-clariden", "/x/no-rocm.sqsh", "warning"),
        ],
    )
    def test_only_a_publisher_tells_for_certain_what_is_in_an_image(
        self, profile: str, image: str, expected: str
    ) -> None:
        assert self.severities(at(profile, image=image), "ImageVendor") == [expected]

    def test_a_fact_that_is_not_sure_refuses_nobody(self) -> None:
        """The same mistake, where the profile's fact is of high confidence and where it is of medium."""
        assert self.severities(at("deucalion-gpu", accounts=("f1x",)), "AccountSuffix") == ["error"]
        assert self.severities(at("arrhenius-gpu", accounts=("n1",)), "AccountSuffix") == ["warning"]
        image = "ghcr.io/x/y@sha256:" + "0" * 64
        assert self.severities(at("marenostrum5-acc", image=image), "RegistryUnreachable") == ["error"]
        assert self.severities(at("leonardo-booster", image=image), "RegistryUnreachable") == ["warning"]
        own = image.replace("ghcr.io", "registry.bsc.es:5000")
        assert self.severities(at("marenostrum5-acc", image=own), "RegistryUnreachable") == ["warning"]

    @pytest.mark.parametrize(
        "value,expected",
        [
            ("https://0123456789abcdef0123@sentry.example.eu/1", ["warning"]),
            ("postgres://postgres:postgres@localhost:5432/runs", ["warning"]),
            ("https://me:$PASSWORD@example.eu/x", []),
            ("postgres://me:$PASSWORD@localhost:5432/runs", []),
            ("https://me:secret@example.eu/x", ["error"]),
            ("https://ghp_0123456789abcdef0123@github.com/x", ["error"]),
            ("hf_" + "a" * 34, ["error"]),
        ],
    )
    def test_what_may_be_a_credential_is_none_for_certain(self, value: str, expected: list[str]) -> None:
        told = at("lumi-g", env=[{"name": "WHERE", "value": value}], command=["python", "/t.py", f"--at={value}"])
        assert self.severities(told, "SecretInEnv") == expected
        assert self.severities(told, "SecretInCommand") == expected
