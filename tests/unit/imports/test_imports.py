"""What people have already -> TrainingJobs: one fixture a case, and beside it what it comes to.

`PASSERELLE_RECORD=1 pytest tests/unit/imports` writes the expected manifests anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.cli import manifests, offline
from passerelle.cli.written import written
from passerelle.errors import Invalid
from passerelle.imports import KINDS, Imported, convert
from passerelle.plan import _OURS as RESERVED
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = Path(__file__).parent / "expected"
CASES = sorted(path.name for path in FIXTURES.iterdir())
RECORD = os.environ.get("PASSERELLE_RECORD") == "1"
LAUNCHERS = get_args(TrainingJobSpec.model_fields["launcher"].annotation)
"""Launchers that this release knows: what is imported for another one can't be read back."""
SECRETS = (
    "hf_abcdefghijklmnopqrstuvwxyz012345",
    "sk-abcdefghijklmnopqrstuv",
    "0123456789abcdef0123456789abcdef01234567",
)
PATIENT = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
"""A busy machine is slow, and no bug."""
PYTORCHJOB = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob"}


def imported(case: str, **more: Any) -> Imported:
    [only] = convert((FIXTURES / case).read_text(encoding="utf-8"), **more)
    return only


def text(found: Imported) -> str:
    return written(found.manifest, found.notes, f"From {found.source}.")


def spec(found: Imported) -> dict[str, Any]:
    told: dict[str, Any] = found.manifest["spec"]
    return told


def pytorchjob(**container: Any) -> str:
    """A PyTorchJob of one Worker with 2 GPUs."""
    base = {"name": "pytorch", "image": "/images/train.sif", "resources": {"limits": {"nvidia.com/gpu": 2}}}
    template = {"spec": {"containers": [base | container]}}
    replicas = {"pytorchReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}}
    return yaml.safe_dump(PYTORCHJOB | {"metadata": {"name": "llm"}, "spec": replicas})


def test_every_kind_has_three_cases() -> None:
    assert {kind: sum(case.startswith(f"{kind}-") for case in CASES) >= 3 for kind in KINDS} == dict.fromkeys(
        KINDS, True
    )


@pytest.mark.parametrize("case", CASES)
def test_a_case_comes_to_what_is_recorded(case: str) -> None:
    expected = EXPECTED / f"{Path(case).stem}.yaml"
    if RECORD:
        expected.write_text(text(imported(case)), encoding="utf-8")

    assert text(imported(case)) == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_found_to_be_what_it_is(case: str) -> None:
    assert text(imported(case)) == text(imported(case, kind=case.partition("-")[0]))


@pytest.mark.parametrize("case", CASES)
def test_what_comes_out_is_a_trainingjob_without_unknown_fields(case: str) -> None:
    found = imported(case)
    if spec(found).get("launcher", "srun") in LAUNCHERS:
        [job] = manifests.read(text(found)).jobs
        assert job.spec == TrainingJobSpec.model_validate(spec(found))


@pytest.mark.parametrize("case", CASES)
def test_no_secret_comes_through(case: str) -> None:
    assert [secret for secret in SECRETS if secret in text(imported(case))] == []


@pytest.mark.parametrize("case", CASES)
def test_line_ends_and_a_byte_order_mark_change_nothing(case: str) -> None:
    plain = (FIXTURES / case).read_text(encoding="utf-8")
    [windows] = convert("\ufeff" + plain.replace("\n", "\r\n"))

    assert text(windows) == text(imported(case))


def test_references_to_secrets_and_configmaps_come_through_as_they_stand() -> None:
    job = yaml.safe_load((FIXTURES / "job-image-only.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    reference = {"name": "hub", "key": "token", "optional": True}
    pod["volumes"] = [
        {"name": "keys", "secret": {"secretName": "bucket"}},
        {"name": "part", "secret": {"secretName": "part", "items": [{"key": "a", "path": "b"}]}},
    ]
    pod["containers"][0] |= {
        "env": [
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}},
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
            {"name": "RANK", "valueFrom": {"secretKeyRef": reference}},
            {"name": "a.b", "valueFrom": {"secretKeyRef": reference}},
        ],
        "envFrom": [{"prefix": "AWS_", "secretRef": {"name": "bucket"}}],
        "volumeMounts": [{"name": "keys", "mountPath": "/keys"}, {"name": "part", "mountPath": "/part"}],
    }

    [found] = convert(yaml.safe_dump(job))

    assert spec(found)["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
    ]
    assert spec(found)["envFrom"] == [{"prefix": "AWS_", "secretRef": {"name": "bucket"}}]
    assert spec(found)["files"] == [{"secret": "bucket", "path": "/keys"}]
    assert "/part is a part of Secret part: make a Secret of those keys alone" in "\n".join(found.notes)
    assert "env a.b: can't be given to a trainer" in "\n".join(found.notes)
    TrainingJobSpec.model_validate(spec(found))


def test_notes_are_sentences() -> None:
    notes = {note for case in CASES for note in imported(case).notes}

    assert {note for note in notes if not note.endswith(".") or "  " in note or "None" in note} == set()


def test_a_named_site_is_written_and_not_noted() -> None:
    found = imported("pytorchjob-plain.yaml", site="lumi")

    assert spec(found)["site"] == "lumi"
    assert [note for note in found.notes if note.startswith("site")] == []


def test_an_sbatch_script_can_be_planned_for_the_machine_that_it_was_written_for() -> None:
    read = manifests.read(text(imported("sbatch-torchrun.sh")))
    plan = offline.planned(read.jobs[0], offline.site_of(read.jobs[0], read, "lumi-g"), read)

    assert (plan.nodes, plan.gpus_per_node, plan.time_limit_minutes) == (4, 8, 36 * 60)
    assert plan.memory_per_node_mib == 480 * 1024
    assert plan.cpus_per_task == 56


def test_several_trainings_become_several_trainingjobs_in_order() -> None:
    both = (FIXTURES / "job-single.yaml").read_text() + "---\n" + (FIXTURES / "pytorchjob-plain.yaml").read_text()

    assert [each.manifest["metadata"]["name"] for each in convert(both)] == ["finetune", "pytorch-dist-mnist"]


def test_a_list_of_kubectl_s_is_read_like_documents() -> None:
    job = yaml.safe_load((FIXTURES / "job-single.yaml").read_text())
    [found] = convert(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [job]}))

    assert text(found) == text(imported("job-single.yaml"))


@pytest.mark.parametrize(
    "words, launcher, command",
    [
        (["python", "train.py"], None, ["python", "train.py"]),
        (["torchrun", "train.py", "-x"], "torchrun", ["python", "train.py", "-x"]),
        (["torchrun", "--nproc-per-node", "2", "-m", "pkg.train"], "torchrun", ["python", "-m", "pkg.train"]),
        (["torchrun", "--no-python", "./train"], "torchrun", ["./train"]),
        (["torchrun", "--", "train.py"], "torchrun", ["python", "train.py"]),
        (["python3", "-u", "-m", "torch.distributed.launch", "--use_env", "t.py"], "torchrun", ["python", "t.py"]),
        (["/usr/bin/env", "A=1", "torchrun", "t.py"], "torchrun", ["python", "t.py"]),
        (["accelerate", "launch", "--multi_gpu", "t.py", "--a"], "accelerate", ["python", "t.py", "--a"]),
        (["deepspeed", "--num_gpus=2", "t.py", "--zero", "3"], "deepspeed", ["python", "t.py", "--zero", "3"]),
        (["mpirun", "-np", "2", "-x", "A=1", "python", "t.py"], "mpi", ["python", "t.py"]),
        (["mpiexec.hydra", "-genv", "A", "1", "./a.out"], "mpi", ["./a.out"]),
        (["horovodrun", "-np", "2", "-H", "a:1,b:1", "python", "t.py"], "mpi", ["python", "t.py"]),
        (["srun", "-n2", "--label", "python", "t.py"], None, ["python", "t.py"]),
        (["bash", "-lc", "torchrun t.py"], "torchrun", ["python", "t.py"]),
        (["bash", "-c", "bash -c 'torchrun t.py'"], "torchrun", ["python", "t.py"]),
        (["sh", "-c", "set -e; A=5; python t.py --a $A"], None, ["python", "t.py", "--a", "5"]),
        (["sh", "-c", "python t.py --rank $RANK"], None, ["bash", "-c", "exec python t.py --rank $RANK"]),
        (["sh", "-c", "python a.py && python b.py"], None, ["sh", "-c", "python a.py && python b.py"]),
        (["sh", "-c", "python a.py | python b.py"], None, ["sh", "-c", "python a.py | python b.py"]),
        (["bash", "train.sh"], None, ["bash", "train.sh"]),
        (["uv", "run", "train.py"], None, ["uv", "run", "train.py"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_launchers_are_taken_off_the_command(words: list[str], launcher: str | None, command: list[str]) -> None:
    [found] = convert(pytorchjob(command=words))

    assert (spec(found).get("launcher"), spec(found)["command"]) == (launcher, command)


@pytest.mark.parametrize("name", [*sorted(RESERVED), "SLURM_X", "PASSERELLE_X"])
def test_a_variable_that_planning_would_refuse_is_left_behind(name: str) -> None:
    env = [{"name": name, "value": "1"}, {"name": "KEPT", "value": "2"}]
    [found] = convert(pytorchjob(command=["python", "t.py"], env=env))

    assert spec(found)["env"] == [{"name": "KEPT", "value": "2"}]


@pytest.mark.parametrize(
    "name, value, secret",
    [
        ("WANDB_API_KEY", "x", True),
        ("apiKey", "x", True),
        ("DB_PASSWORD", "x", True),
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("CONFIG", "hf_abcdefghijklmnopqrstuvwxyz012345", True),
        ("MLFLOW_TRACKING_URI", "https://me:pass@mlflow.example.org", True),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("MAX_TOKENS", "4096", False),
        ("MONKEY", "x", False),
        ("URL", "https://mlflow.example.org/a:b@c", False),
    ],
)
def test_a_secret_is_noted_by_name_and_never_carried(name: str, value: str, secret: bool) -> None:
    [found] = convert(pytorchjob(command=["python", "t.py"], env=[{"name": name, "value": value}]))

    assert ("env" not in spec(found)) == secret
    assert any(note.startswith(f"env {name}: looks like a secret") for note in found.notes) == secret
    assert (value in text(found) and len(value) > 1) <= (not secret)


@pytest.mark.parametrize(
    "words",
    [
        ["python", "t.py", "--hf_token", "abc123"],
        ["python", "t.py", "--wandb-api-key=abc123"],
        ["bash", "-c", "export HF_TOKEN=abc123; python t.py"],
        ["bash", "-c", "if true; then python t.py --key hf_abc123abc123abc123abc123; fi"],
    ],
)
def test_a_secret_in_a_command_does_not_come_through(words: list[str]) -> None:
    assert "abc123" not in text(convert(pytorchjob(command=words))[0])


def test_an_option_that_is_no_secret_keeps_its_value() -> None:
    words = ["python", "t.py", "--eos-token", "</s>", "--text_key", "content", "--max_new_tokens", "5"]

    assert spec(convert(pytorchjob(command=words))[0])["command"] == words


def test_values_of_other_variables_are_put_in_as_kubernetes_does() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    [found] = convert(pytorchjob(command=["python", "t.py", "$(B)", "$$(B)", "$(C)"], env=env))

    assert spec(found)["command"] == ["python", "t.py", "12", "$(B)", "$(C)"]


def test_numbers_of_other_yaml_readers_are_quoted() -> None:
    [found] = convert(pytorchjob(command=["python", "t.py", "1e-4", "0x1F", "1_000", "y"]))

    assert '[python, t.py, "1e-4", "0x1F", "1_000", "y"]' in text(found)


@pytest.mark.parametrize(
    "content, kind, sentence",
    [
        ("", None, "The file is empty;"),
        ("\n  \n", None, "The file is empty;"),
        ("a: 1\n\tb: 2\n", None, "The file is no YAML: line 2, column 1 holds a tab; indent with spaces."),
        ("a: [1\n", None, "The file is no YAML: line 2, column 1:"),
        ("a: 2026-99-99\n", None, "The file is no YAML:"),
        ("a: \x00\n", None, "The file is no YAML: it holds characters that no text has"),
        ("[" * 5000, None, "The file is nested too deeply"),
        ("- a\n- b\n", None, "The file is no manifest"),
        ("hello\n", None, "The file is no manifest"),
        ("a: 1\n", None, "The file holds nothing that names its kind;"),
        ("apiVersion: ray.io/v1\nkind: RayJob\n", None, "The file holds RayJob;"),
        ("apiVersion: passerelle.dev/v1alpha1\nkind: TrainingJob\n", None, "The file holds a TrainingJob already"),
        ("apiVersion: batch/v1\nkind: Job\n", "mpijob", "The file holds no mpijob;"),
        ("apiVersion: batch/v1\nkind: Job\n", None, "Job without a name has no spec;"),
        ("apiVersion: batch/v1\nkind: Job\nspec: 5\n", None, "spec is '5'; write a mapping of fields."),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {template: {spec: {containers: []}}}\n", None,
         "spec.template.spec.containers is empty;"),
        ("apiVersion: batch/v1\nkind: Job\nspec: {parallelism: many, template: {spec: {containers: [{name: a}]}}}\n",
         None, "spec.parallelism is 'many'; write a whole number."),
        ("apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: a}\nspec: {runPolicy: {}}\n", None,
         "spec.pytorchReplicaSpecs has neither Master nor Worker;"),
        ("apiVersion: kubeflow.org/v2beta1\nkind: MPIJob\nmetadata: {name: a}\nspec: {slotsPerWorker: 1}\n", None,
         "spec.mpiReplicaSpecs has neither Launcher nor Worker;"),
        ("#!/bin/bash\n#SBATCH --nodes=1\n", None, "The script has no command;"),
        ("name: a\nrun: x\nservice: {replicas: 1}\n", None, "The file describes a SkyServe service"),
        ("name: p\n---\nrun: a\n---\nrun: b\n", None, "The file is a pipeline of 2 tasks;"),
        ("run: a\nresources: {accelerators: 'A100:x:y'}\n", None, "resources.accelerators is 'A100:x:y';"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_sentence(content: str, kind: str | None, sentence: str) -> None:
    with pytest.raises(Invalid) as refused:
        convert(content, kind)

    assert str(refused.value).startswith(sentence)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_site_s_name_is_checked() -> None:
    with pytest.raises(Invalid, match="is no name of a Site"):
        imported("job-single.yaml", site="My Site")


def attempt(content: str, kind: str | None = None) -> None:
    """Whatever comes in, a manifest or a sentence comes out."""
    with suppress(Invalid):
        for found in convert(content, kind):
            assert yaml.safe_load(text(found)) == found.manifest


@given(content=st.text(max_size=300), kind=st.sampled_from([None, *KINDS]))
@PATIENT
def test_any_text_is_imported_or_refused(content: str, kind: str | None) -> None:
    attempt(content, kind)


@given(data=st.data())
@PATIENT
def test_any_damaged_fixture_is_imported_or_refused(data: st.DataObject) -> None:
    content = (FIXTURES / data.draw(st.sampled_from(CASES))).read_text(encoding="utf-8")
    lines = content.splitlines(keepends=True)
    start = data.draw(st.integers(0, len(lines) - 1))
    put = data.draw(
        st.sampled_from(["", "  - 5\n", "null\n", "spec: []\n", "x: {y: [1]}\n", "'", '"', "\\", "`", "$(", "<<E\n"])
    )
    attempt("".join(lines[:start]) + put + "".join(lines[start + data.draw(st.integers(0, 3)) :]))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in items for place in places(below, (*path, key)))]


@given(data=st.data())
@PATIENT
def test_any_odd_value_anywhere_is_imported_or_refused(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([case for case in CASES if case.endswith(".yaml")]))
    documents = list(yaml.safe_load_all((FIXTURES / case).read_text(encoding="utf-8")))
    *above, last = data.draw(st.sampled_from([place for place in places(documents) if place]))
    target: Any = documents
    for step in above:
        target = target[step]
    target[last] = data.draw(VALUES)

    attempt(yaml.safe_dump_all(documents))


def test_a_long_command_goes_on_in_args() -> None:
    words = ["python", *(f"--option-{number}" for number in range(300))]
    [found] = convert(pytorchjob(command=words))

    assert spec(found)["command"] + spec(found)["args"] == words
    TrainingJobSpec.model_validate(spec(found))


@pytest.mark.parametrize("number", ["200000", "9" * 5000])
def test_a_size_that_no_trainingjob_has_is_refused(number: str) -> None:
    with pytest.raises(Invalid, match=r"gpus: Input should be less than|write a whole number"):
        convert(pytorchjob(resources={"limits": {"nvidia.com/gpu": number}}))


@pytest.mark.parametrize(
    "lines, size",
    [
        ("--nodes=2 --gpus-per-node=a100:4", {"nodes": 2, "gpusPerNode": 4}),
        ("-N 2 --gres=gpu:4,tmp:10g", {"nodes": 2, "gpusPerNode": 4}),
        ("-N2 --gres=gpu", {"nodes": 2, "gpusPerNode": 1}),
        ("-G 16", {"gpus": 16}),
        ("--gpus=16 --nodes=4", {"nodes": 4, "gpusPerNode": 4}),
        ("--nodes=2-4 --gpus-per-node=4", {"nodes": 2, "gpusPerNode": 4}),
        ("--nodes=2 --ntasks-per-node=4 --gpus-per-task=1", {"nodes": 2, "gpusPerNode": 4}),
        ("--nodes=2 --ntasks=8 --gpus-per-task=1", {"nodes": 2, "gpusPerNode": 4}),
        ("--ntasks=8 --gpus-per-task=1", {"gpus": 8}),
        ("--nodes=2", {"nodes": 2}),
        ("", {"nodes": 1}),
        ("--nodes=2 --nodes=3 --gpus-per-node=1", {"nodes": 3, "gpusPerNode": 1}),
    ],
)
def test_a_script_s_size_is_read_however_it_asks(lines: str, size: dict[str, int]) -> None:
    [found] = convert(f"#!/bin/bash\n#SBATCH {lines}\nsrun python t.py\n")

    assert {key: spec(found)[key] for key in ("gpus", "nodes", "gpusPerNode") if key in spec(found)} == size


@pytest.mark.parametrize(
    "option",
    ["--array=0-3", "-d afterok:1", "--requeue", "--exclusive", "-p gpu", "-w n1", "-x n1", "--mail-type=END",
     "-C a100", "--mem-per-gpu=60G", "hetjob", "--begin=now", "--unheard-of=1"],
)  # fmt: skip
def test_an_option_that_is_not_carried_over_is_noted_with_what_to_do(option: str) -> None:
    plain = "#!/bin/bash\n#SBATCH --nodes=1 --gpus-per-node=1 --time=1:00:00\n{}\nsrun python t.py\n"
    [without] = convert(plain.format(""))
    [found] = convert(plain.format(f"#SBATCH {option}"))
    [note] = set(found.notes) - set(without.notes)

    assert note.startswith("#SBATCH --")
    assert found.manifest == without.manifest


def test_directives_end_at_the_first_command() -> None:
    [found] = convert("#!/bin/bash\n#SBATCH --nodes=2\nsrun python t.py\n#SBATCH --nodes=8\n")

    assert spec(found)["nodes"] == 2


def test_a_note_stays_a_comment_whatever_the_document_holds() -> None:
    [found] = convert(
        pytorchjob(command=["python", "t.py"], env=[{"name": "A\u2028spec: {gpus: 9}\x85b\n\x1b[2J", "value": ""}])
    )
    told = text(found)

    assert yaml.safe_load(told) == found.manifest
    assert all(c.isprintable() or c == "\n" for c in told)


def test_a_variable_of_the_login_shell_is_named() -> None:
    [found] = convert(
        "#!/bin/bash\n#SBATCH -N1\nCKPT=$SCRATCH/ckpt\nsrun python t.py --ckpt $CKPT --id $SLURM_JOB_ID\n"
    )

    assert spec(found)["command"] == ["bash", "-c", "exec python t.py --ckpt $SCRATCH/ckpt --id $SLURM_JOB_ID"]
    assert [note for note in found.notes if note.startswith("command reads")] == [
        "command reads SCRATCH, which no job here finds set: write its value as env."
    ]


@pytest.mark.parametrize(
    "command, working_dir, named",
    [
        (["python", "train.py"], None, "train.py"),
        (["python3", "-u", "src/train.py"], None, "src/train.py"),
        (["torchrun", "train.py"], None, "train.py"),
        (["./run", "-x"], None, "./run"),
        (["python", "train.py"], "/workspace", None),
        (["python", "/workspace/train.py"], None, None),
        (["python", "-m", "train"], None, None),
        (["nvidia-smi"], None, None),
    ],
)
def test_a_relative_path_of_the_script_is_noted_where_no_folder_is_named(
    command: list[str], working_dir: str | None, named: str | None
) -> None:
    more = {} if working_dir is None else {"workingDir": working_dir}
    [found] = convert(pytorchjob(command=command, **more))
    said = [note for note in found.notes if "new, empty directory" in note]

    assert [note.startswith(f"command names {named}, and") for note in said] == ([True] if named else [])


def test_an_output_bucket_of_skypilot_leads_to_the_checkpoint_directory() -> None:
    task = {"run": "python /w/train.py", "file_mounts": {"/ck": {"name": "out", "store": "s3", "mode": "MOUNT"}}}
    [found] = convert(yaml.safe_dump(task))
    [said] = [note for note in found.notes if note.startswith("/ck")]

    assert "write checkpoints to the directory that PASSERELLE_CHECKPOINT_DIR names" in said
