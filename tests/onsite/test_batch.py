"""The real script, run by real bash among stubs of srun, scontrol and apptainer."""

import ast
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.batch import SCRIPT_LIMIT
from passerelle.errors import Invalid
from passerelle.onsite.codes import DUPLICATE, IMAGE_NOT_FOUND, SITE_FAULT
from passerelle.progress import parse_comment
from passerelle.render import render
from passerelle.shell import assignment, here_document
from passerelle.v1alpha1.trainingjob_status import Exit
from plans import SOURCE, job, planned, profile, site
from stubs import TELL, Stubs, attempt_directory, batch

_NASTY = st.sampled_from(
    [
        "",
        " ",
        "$(touch CANARY)",
        "`touch CANARY`",
        "'; touch CANARY; '",
        '"; touch CANARY; "',
        "$HOME ${PATH} $$",
        "a\nEND_OF_FILE\ntouch CANARY\n",
        "\\",
        "\\n",
        "!!",
        "{NODE_RANK}",
        "--help",
        "-",
        "é漢😀\u202e",
        "\t\r\n\x01\x7f",
        "%s %j",
        "a,b=c;d:e",
        "*?[a]~",
    ]
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_STRINGS = st.lists(_NASTY | _TEXT, max_size=30)

UNTIL_GO = """\
import os, time
with open(os.environ["PASSERELLE_PROGRESS_FILE"], "a") as file: file.write('{"step": 7}\\n')
while not os.path.exists(os.environ["PASSERELLE_RUN_DIR"] + "/../go"): time.sleep(0.05)
"""
"""A trainer that comes to step 7, and waits there."""


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(args=_STRINGS, values=_STRINGS)
def test_a_users_strings_reach_the_trainer_unchanged(
    tmp_path_factory: pytest.TempPathFactory, args: list[str], values: list[str]
) -> None:
    stubs = Stubs(tmp_path_factory.mktemp("strings"))
    env = [{"name": f"USER_{number}", "value": value} for number, value in enumerate(values)]

    done = stubs.run(batch(stubs, TELL, *args, env=env, gpus=1, gpusPerNode=None))

    assert done.returncode == 0, done.stdout
    told_args, told_env, _ = json.loads((attempt_directory(stubs) / "told-0").read_text())
    assert told_args == args
    assert {name: value for name, value in told_env.items() if name.startswith("USER_")} == {
        each["name"]: each["value"] for each in env
    }
    assert not list(tmp_path_factory.getbasetemp().rglob("CANARY"))


def test_every_rank_knows_its_place_and_the_contract(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs))

    assert done.returncode == 0, done.stdout
    here = attempt_directory(stubs)
    told = [json.loads((here / f"told-{rank}").read_text()) for rank in range(4)]
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURMD_NODENAME")
    assert [tuple(env[name] for name in names) for _, env, _ in told] == [
        ("0", "0", "0", "4", "2", "n1"),
        ("1", "1", "0", "4", "2", "n1"),
        ("2", "0", "1", "4", "2", "n2"),
        ("3", "1", "1", "4", "2", "n2"),
    ]
    env = told[0][1]
    assert env["MASTER_ADDR"] == "n1"
    assert 20_000 <= int(env["MASTER_PORT"]) < 30_000
    assert env["PASSERELLE_JOB"] == "psr-" + "a" * 26 + "-1"
    assert env["PASSERELLE_ATTEMPT"] == "1"
    assert env["PASSERELLE_RUN_DIR"] == str(here.parent)
    assert env["PASSERELLE_PROGRESS_FILE"] == str(here / "progress.jsonl")
    assert env["PASSERELLE_STOP_FILE"] == str(here / "stop")
    assert env["PASSERELLE_CHECKPOINT_DIR"] == str(here.parent / "checkpoints")
    assert (here.parent / "checkpoints").is_dir()
    assert env["PASSERELLE_DEADLINE"] == ""
    assert [env["PASSERELLE_SIGNAL_FILE"] for _, env, _ in told] == [f"{here}/signals/rank-{rank}" for rank in range(4)]
    assert env["HOME"] == str(here.parent / "home")
    assert told[0][2] == str(here / "work")
    assert "STUBS" not in env
    assert (here / "files" / "0" / "x.py").read_bytes() == b"data\0\xff"
    asked = stubs.asked("entered")[0]
    assert f"'--bind', '{here}/files/0:/workspace:ro'" in asked
    assert "'--no-eval'" in asked


def test_steps_are_asked_for_with_the_plans_numbers(stubs: Stubs) -> None:
    stubs.run(batch(stubs, "pass"))

    (asked,) = stubs.asked("steps")
    assert asked.startswith(
        "--nodes=2 --ntasks=4 --ntasks-per-node=2 --cpus-per-task=2 --mpi=none --kill-on-bad-exit=1"
    )


def test_the_first_failing_rank_is_the_jobs_exit_and_stands_in_the_comment(stubs: Stubs) -> None:
    code = (
        "import os, sys, time\n"
        "if os.environ['RANK'] != '2': time.sleep(60)\n"
        "with open(os.environ['PASSERELLE_PROGRESS_FILE'], 'a') as file: file.write('{\"step\": 3}\\n')\n"
        "sys.exit('KeyError: é')\n"
    )

    done = stubs.run(batch(stubs, code + "\n"))

    assert done.returncode == 1
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert (report.exit.code, report.exit.signal, report.exit.rank) == (1, None, 2)
    assert report.stderr == "KeyError: é"
    assert report.progress is not None
    assert report.progress.step == 3
    result = json.loads((attempt_directory(stubs) / "result.json").read_text())
    assert (result["code"], result["rank"], result["srun"], result["node"]) == (1, 2, 143, "n2")


def test_of_all_the_tasks_of_a_step_that_goes_well_one_leaves_a_file(stubs: Stubs) -> None:
    stubs.run(batch(stubs, "pass"))

    assert [each.name for each in (attempt_directory(stubs) / "ends").iterdir()] == ["began"]


def test_where_srun_makes_no_step_no_trainer_is_to_blame(stubs: Stubs) -> None:
    (stubs.place / "no-step").touch()

    done = stubs.run(batch(stubs, "pass"))

    assert done.returncode == SITE_FAULT
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert (report.exit.code, report.exit.rank) == (SITE_FAULT, None)
    assert report.stderr == "srun exited with code 1 before any process began; the log has its words."
    assert "Unable to create step" in done.stdout


def test_of_those_who_are_ended_with_the_first_one_of_each_node_leaves_a_word(stubs: Stubs) -> None:
    code = (
        "import glob, os, sys, time\n"
        "here, rank = os.environ['PASSERELLE_ATTEMPT_DIR'], os.environ['RANK']\n"
        "open(here + '/ready-' + rank, 'w').close()\n"
        "while len(glob.glob(here + '/ready-*')) < 8: time.sleep(0.05)\n"
        "if rank != '2': time.sleep(60)\n"
        "sys.exit('boom')\n"
    )

    done = stubs.run(batch(stubs, code, gpus=8, gpusPerNode=4))

    assert done.returncode == 1, done.stdout
    ends = sorted(each.name for each in (attempt_directory(stubs) / "ends").iterdir())
    assert ends == ["began", "node-n1.json", "node-n2.json", "rank-2.json"]
    told = parse_comment(stubs.comments()[-1])
    assert told.exit is not None
    assert (told.exit.code, told.exit.rank, told.stderr) == (1, 2, "boom")
    assert len(stubs.asked("steps")) == 1, "all nodes have spoken: none is asked whether it lives"


def test_progress_is_posted_while_the_job_runs(stubs: Stubs) -> None:
    code = (
        "import os, time\n"
        "with open(os.environ['PASSERELLE_PROGRESS_FILE'], 'a') as file:\n"
        "  for step in range(1, 4):\n"
        '    print(\'{"step": %d, "totalSteps": 3, "loss": 0.5}\' % step, file=file, flush=True); time.sleep(1)\n'
    )

    done = stubs.run(batch(stubs, code, gpus=1, gpusPerNode=None))

    assert done.returncode == 0, done.stdout
    reports = [parse_comment(comment) for comment in stubs.comments()]
    assert len(reports) >= 3
    assert all(report.heard for report in reports)
    assert [report.exit is None for report in reports] == [True] * (len(reports) - 1) + [False]
    assert reports[-1].progress is not None
    assert reports[-1].progress.percentage == 100


@pytest.mark.parametrize("seconds", ["2", "60"])
def test_nothing_is_written_over_the_end_when_the_controller_is_busy(stubs: Stubs, seconds: str) -> None:
    (stubs.place / "busy").write_text(seconds)
    code = (
        "import os, sys, time\n"
        f"while not os.path.exists({str(stubs.place / 'waiting')!r}): time.sleep(0.05)\n"
        "sys.exit('boom')\n"
    )

    told = batch(stubs, code, gpus=1, gpusPerNode=None)
    hasty = told.script.replace("HURRY_SECONDS = 5", "HURRY_SECONDS = 3")

    done = stubs.run(dataclasses.replace(told, script=hasty))

    assert done.returncode == 1, done.stdout
    still = [process for process in stubs.asked("waiting") if Path(f"/proc/{process}").exists()]
    assert still == []
    assert parse_comment(stubs.comments()[-1]).exit is not None
    assert "Terminated" not in done.stdout
    assert "Killed" not in done.stdout


def test_a_relay_that_hangs_keeps_no_job_from_its_end(stubs: Stubs) -> None:
    told = batch(stubs, "pass", gpus=1, gpusPerNode=None)
    hung = told.script.replace("\nrelay=$!\n", "\nrelay=$!\nkill -STOP $relay\n").replace("{1..100}", "{1..9}")

    done = stubs.run(dataclasses.replace(told, script=hung))

    assert done.returncode == 0, done.stdout
    assert parse_comment(stubs.comments()[-1]).exit is not None


@pytest.mark.parametrize("how", ["raise SystemExit('no space left')", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("tasks,code", [("4", SITE_FAULT), ("1", 5)])
def test_an_epilogue_that_breaks_changes_no_exit_code(stubs: Stubs, how: str, tasks: str, code: int) -> None:
    told = batch(stubs, "raise SystemExit(5)", gpus=1, gpusPerNode=None)
    breaking = f'epilogue() {{ python3 -c "import os; {how}"; }}\n'
    broken = told.script.replace('python3 "$lib" epilogue', "epilogue").replace("\nset -uo", f"\n{breaking}set -uo")
    assert broken.count("epilogue") == told.script.count("epilogue") + 1

    done = stubs.run(dataclasses.replace(told, script=broken), TASKS=tasks)

    assert done.returncode == code, done.stdout


def test_a_site_that_refuses_comments_ends_no_job(stubs: Stubs) -> None:
    (stubs.place / "refuse").write_text("Access/permission denied")

    done = stubs.run(batch(stubs, "import time; time.sleep(1)"))

    assert done.returncode == 0
    assert done.stdout.count("progress can't be put into the job's comment: Access/permission denied") == 1
    why = json.loads((attempt_directory(stubs) / "comment-refused.json").read_text())["why"]
    assert why == "Access/permission denied"
    assert stubs.report()[0] == {"jobId": "41", "restartCount": 0}
    assert stubs.report()[1].exit == Exit(code=0)


def test_where_comments_are_refused_the_report_file_goes_on(stubs: Stubs) -> None:
    (stubs.place / "refuse").write_text("Access/permission denied")
    process = stubs.start(batch(stubs, UNTIL_GO, gpus=1, gpusPerNode=None))

    told = stubs.reported(lambda found: found.progress is not None and found.progress.step == 7)
    (stubs.root / "go").touch()
    said, _ = process.communicate(timeout=30)

    assert said.count("progress can't be put into the job's comment") == 1, "the site is not asked again"
    assert told.exit is None
    assert stubs.report()[1].progress is not None
    assert stubs.report()[1].exit == Exit(code=0)


def test_what_keeps_an_attempt_from_beginning_stands_in_the_report_file(stubs: Stubs) -> None:
    (stubs.place / "refuse").write_text("Access/permission denied")

    done = stubs.run(batch(stubs, image=str(stubs.place / "nowhere.sif")))

    assert done.returncode == IMAGE_NOT_FOUND
    assert stubs.report()[1].stderr.startswith("There is no readable image at")


FIRECREST = {"driver": "firecrest", "url": "https://f.example", "system": "s", "credentials": {"name": "t"}}


def test_where_the_gateway_tells_no_comment_none_is_written_and_the_file_tells_all(stubs: Stubs) -> None:
    process = stubs.start(batch(stubs, UNTIL_GO, gpus=1, gpusPerNode=None, gateway=FIRECREST))

    told = stubs.reported(lambda found: found.progress is not None and found.progress.step == 7)
    (stubs.root / "go").touch()
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 0, said
    assert told.exit is None
    assert stubs.report()[1].exit == Exit(code=0)
    assert stubs.comments() == []


def test_where_the_gateway_tells_no_comment_a_fault_is_in_the_file_alone(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, image=str(stubs.place / "nowhere.sif"), gateway=FIRECREST))

    assert done.returncode == IMAGE_NOT_FOUND
    assert stubs.report()[1].stderr.startswith("There is no readable image at")
    assert stubs.comments() == []


def test_a_second_job_of_the_attempt_leaves_without_running(stubs: Stubs) -> None:
    assert stubs.run(batch(stubs)).returncode == 0
    before = stubs.comments(), stubs.report()

    done = stubs.run(batch(stubs), job_id=42)

    assert done.returncode == DUPLICATE
    assert "duplicate" in done.stdout
    assert len(stubs.asked("steps")) == 1
    assert (stubs.comments(), stubs.report()) == before


def test_an_attempt_leaves_when_a_later_one_has_run(stubs: Stubs) -> None:
    assert stubs.run(batch(stubs, attempt=2), job_id=42).returncode == 0

    assert stubs.run(batch(stubs)).returncode == DUPLICATE


def test_a_requeued_job_runs_again_in_a_directory_of_its_own(stubs: Stubs) -> None:
    stubs.run(batch(stubs))

    done = stubs.run(batch(stubs), SLURM_RESTART_COUNT="1")

    assert done.returncode == 0, done.stdout
    assert len(list(stubs.root.glob("psr-*/attempt-1-41-*"))) == 2
    assert stubs.report()[0] == {"jobId": "41", "restartCount": 1}


def test_the_wrong_number_of_tasks_is_the_sites_fault(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs), TASKS="1")

    assert done.returncode == SITE_FAULT
    assert "Slurm started 1 tasks, the plan has 4" in done.stdout


def test_a_trainer_never_ends_with_a_code_that_is_ours(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, f"raise SystemExit({DUPLICATE})", gpus=1, gpusPerNode=None))

    assert done.returncode == 1
    assert parse_comment(stubs.comments()[-1]).exit is not None


def test_the_warning_signal_touches_the_stop_file_and_disturbs_no_rank(stubs: Stubs) -> None:
    code = (
        "import os, time\n"
        "open('ready', 'w').close()\n"
        "while not os.path.exists(os.environ['PASSERELLE_STOP_FILE']): time.sleep(0.05)\n"
    )
    process = stubs.start(batch(stubs, code, gpus=1, gpusPerNode=None))
    _ready(stubs)

    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGUSR1)

    assert process.wait(30) == 0
    process.communicate()


def test_the_script_waits_for_its_ranks_after_a_term(stubs: Stubs) -> None:
    code = (
        "import os, signal, time\n"
        "def stop(*_): time.sleep(0.5); open('saved', 'w').close(); os._exit(5)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    process = stubs.start(batch(stubs, code, gpus=1, gpusPerNode=None))
    _ready(stubs)

    stubs.end_job(process)

    process.communicate(timeout=30)
    assert (attempt_directory(stubs) / "work" / "saved").exists()
    assert (attempt_directory(stubs) / "stop").exists()
    assert process.returncode == 5
    assert json.loads((attempt_directory(stubs) / "result.json").read_text())["code"] == 5


def _ready(stubs: Stubs) -> None:
    deadline = time.monotonic() + 30
    while not list(stubs.root.glob("psr-*/attempt-*/*/ready")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_under_torchrun_the_agent_gets_its_words_and_the_worker_names_the_rank(stubs: Stubs) -> None:
    agent = stubs.place / "torchrun"
    agent.write_text(
        '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do echo "$1"; shift; done\nRANK=5 WORLD_SIZE=2 exec python3 "$@"\n'
    )
    agent.chmod(0o755)

    done = stubs.run(batch(stubs, "import sys; sys.exit('boom')", launcher="torchrun", gpus=2, gpusPerNode=None))

    assert done.returncode == 1, done.stdout
    assert "--nproc-per-node=2" in done.stdout
    assert f"--rdzv-endpoint={attempt_directory(stubs)}/rendezvous" in done.stdout
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert (report.exit.rank, report.stderr) == (5, "boom")


def test_the_head_says_whom_to_ask_and_nothing_without_a_contact() -> None:
    asked = render(planned(at=site(contact="https://example.eu/help?x=1#top"))).script.splitlines()

    assert asked[2] == "# Questions about it: https://example.eu/help?x=1#top"
    assert [*asked[:2], *asked[3:]] == render(planned()).script.splitlines()


def test_what_does_not_fit_into_a_script_needs_files() -> None:
    with pytest.raises(Invalid, match="too long") as refused:
        render(planned(files=(("/w/a", os.urandom(SCRIPT_LIMIT)),)))

    assert refused.value.reason == "NeedsFiles"


def test_without_a_container_the_trainer_runs_on_the_node(stubs: Stubs) -> None:
    spec = job(command=[sys.executable, "-c", TELL, "$(id)"], gpus=1)
    plan = planned(spec, site(runRoot=str(stubs.root)), profile("sandbox-bare"))

    done = stubs.run(render(plan))

    assert done.returncode == 0, done.stdout
    args, env, _ = json.loads((attempt_directory(stubs) / "told-0").read_text())
    assert args == ["$(id)"]
    assert env["GLOO_SOCKET_IFNAME"] == "lo"
    assert stubs.asked("entered") == []


def test_equal_plans_are_equal_batches_and_others_are_not() -> None:
    assert render(planned()).digest == render(planned()).digest
    assert render(planned()).digest != render(planned(attempt=2)).digest
    assert render(planned()).digest != render(planned(job(args=["x"]))).digest


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x1b", "é"])
def test_only_plain_ascii_enters_shell_text(value: str) -> None:
    with pytest.raises(ValueError, match="plain ASCII"):
        assignment("x", value)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
@settings(max_examples=20, deadline=None)
def test_an_assignment_is_read_back_by_bash_unchanged(value: str) -> None:
    text = f'{assignment("x", value)}\nprintf %s "$x"\n'

    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True, env={"LANG": "C.UTF-8"})

    assert done.stdout.decode() == value


def test_a_here_document_that_would_end_early_is_refused() -> None:
    with pytest.raises(ValueError, match="its end"):
        here_document("x", "a\nEND_OF_FILE\n", "false")


@pytest.mark.parametrize("file", sorted((SOURCE / "passerelle" / "onsite").glob("*.py")), ids=lambda file: file.name)
def test_what_runs_at_the_site_is_read_by_python_3_6(file: Path) -> None:
    ast.parse(file.read_text(encoding="ascii"), feature_version=(3, 6))
