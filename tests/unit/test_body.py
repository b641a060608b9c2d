"""The #SBATCH lines of a script: what fills a field, what is passed over, what is refused."""

import pytest

from passerelle.errors import Invalid
from passerelle.plan import Plan
from plans import job, planned

PATH = "/workspace/job.sh"


def script(*lines: str, launcher: str = "script", command: tuple[str, ...] = (PATH,), **spec: object) -> Plan:
    """Two nodes of two GPUs, for half an hour, on project1."""
    text = "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), "srun hostname", ""])
    asked = {"launcher": launcher, "command": list(command), "gpus": 4, "gpusPerNode": 2, **spec}
    return planned(job(**asked), files=((PATH, text.encode()),))


def test_a_script_without_lines_has_a_task_a_gpu() -> None:
    plan = script()

    assert plan.is_body
    assert (plan.nodes, plan.tasks_per_node, plan.cpus_per_task) == (2, 2, 2)


def test_lines_fill_the_fields_that_are_left_out() -> None:
    plan = script("-A project2", "--mem=64G", "--reservation=course", "--ntasks-per-node=1", "-c 3")

    assert (plan.account, plan.memory_per_node_mib, plan.reservation) == ("project2", 64 * 1024, "course")
    assert (plan.tasks_per_node, plan.cpus_per_task) == (1, 3)


def test_fewer_tasks_share_the_nodes_cores() -> None:
    assert script("--ntasks-per-node=1").cpus_per_task == 4
    assert script("--ntasks=2").tasks_per_node == 1


def test_a_line_may_say_what_the_plan_says() -> None:
    plan = script("-N 2", "--gpus-per-node=2", "--gres=gpu:a100:2", "-G 4", "-t 0:30:00", "-p gpu", "--export=ALL")

    assert plan.nodes == 2


def test_what_the_operator_sets_itself_is_passed_over() -> None:
    assert script("--job-name=mine", "-o out-%j.txt", "-e err.txt", "--no-requeue", "--hint=nomultithread").marker


def test_lines_are_read_through_a_shell_too_and_the_last_counts() -> None:
    assert script("-A project1", "-A project2", command=("bash", PATH)).account == "project2"


def test_what_a_line_fills_in_is_admitted_like_a_field() -> None:
    with pytest.raises(Invalid) as refused:
        script("--account=somebodys")

    assert refused.value.reason == "AccountNotAllowed"


def test_lines_count_for_no_other_launcher() -> None:
    assert script("--array=0-9", launcher="srun").nodes == 2


@pytest.mark.parametrize(
    "line,why",
    [
        ("--array=0-9", "create one TrainingJob for each index; remove the line"),
        ("-d afterok:12", "a chain of one training is retry.maxAttempts; remove the line"),
        ("--requeue", "write retry.maxAttempts"),
        ("hetjob", "a TrainingJob has equal nodes"),
        ("--nodelist=n1", "let Slurm choose"),
        ("--signal=B:USR1@300", "write checkpoint.grace"),
        ("--frobnicate=7", "a TrainingJob has no such option; remove the line"),
        ("--nodes=4", "the plan has 2; remove the line, or write the same size in spec"),
        ("--nodes=1-2", "the plan has 2"),
        ("--gpus-per-node=4", "the plan has 2"),
        ("--time=1:00:00", "spec.timeLimit is 30m; remove the line, or write the same"),
        ("--partition=debug", "the job goes to partition gpu"),
        ("--ntasks-per-node=few", "write one whole number"),
        ("--ntasks=3", "2 nodes can't have equally many; write ntasks-per-node"),
        ("--mem=lots", "write memory"),
        ("--export=KEY=1", "write env; remove the line"),
    ],
)
def test_a_line_that_contradicts_or_has_no_field_is_refused_with_its_number(line: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        script("--job-name=x", line)

    assert refused.value.reason == "ScriptOptionRefused"
    assert refused.value.message.startswith(f"{PATH}, line 3, --")
    assert why in refused.value.message


def test_a_line_may_not_contradict_a_field() -> None:
    with pytest.raises(Invalid, match=r"spec.account is project1; remove the line, or write the same\."):
        script("--account=project2", account="project1")


@pytest.mark.parametrize("line", ['--account="a b"', "--qos=-x", "--reservation=-1", "--mem=999999999999T"])
def test_a_value_that_no_field_takes_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(Invalid) as refused:
        script(line)

    assert refused.value.reason == "ScriptOptionRefused"
    assert f"{PATH}, line 2" in refused.value.message


def test_a_secret_in_a_line_is_not_repeated() -> None:
    with pytest.raises(Invalid) as refused:
        script("--export=ALL,WANDB_API_KEY=0123456789abcdef")

    assert "0123456789abcdef" not in refused.value.message
    assert "--export" in refused.value.message
