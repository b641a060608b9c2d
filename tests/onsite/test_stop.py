"""How an attempt is stopped, and how it ends then: the real script under real bash."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from passerelle.onsite.codes import BAD_NODE, CONTINUE
from passerelle.onsite.deadline import LEAD_SECONDS
from passerelle.progress import Report, parse_comment
from stubs import Stubs, attempt_directory, batch, wait_for

_UNTIL_STOPPED = """\
import os, sys, time
with open(os.environ["PASSERELLE_PROGRESS_FILE"], "a") as file: file.write('{"step": 7, "checkpointStep": 5}\\n')
open(os.environ["PASSERELLE_ATTEMPT_DIR"] + "/ready-" + os.environ["RANK"], "w").close()
while not os.path.exists(os.environ["PASSERELLE_STOP_FILE"]): time.sleep(0.05)
"""
_DEAF = """\
import os, time
open(os.environ["PASSERELLE_ATTEMPT_DIR"] + "/ready-" + os.environ["RANK"], "w").close()
time.sleep(60)
"""
ONE: dict[str, Any] = {"gpus": 1, "gpusPerNode": None}
GRACE: dict[str, Any] = {"checkpoint": {"grace": "2s"}, "timeLimit": "10m"}


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def begun(stubs: Stubs) -> None:
    deadline = time.monotonic() + 30
    while not list(stubs.root.glob("psr-*/attempt-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ready(stubs: Stubs, rank: int = 0) -> None:
    begun(stubs)
    wait_for(attempt_directory(stubs) / f"ready-{rank}")


def last(stubs: Stubs) -> Report:
    return parse_comment(stubs.comments()[-1])


def code_of(report: Report) -> int | None:
    assert report.exit is not None
    return report.exit.code


def test_near_the_time_limit_the_clock_tells_the_trainer_to_stop(stubs: Stubs) -> None:
    end = str(int(time.time()) + 2 + LEAD_SECONDS + 3)

    done = stubs.run(batch(stubs, _UNTIL_STOPPED + f"sys.exit({CONTINUE})", **ONE, **GRACE), SLURM_JOB_END_TIME=end)

    assert done.returncode == CONTINUE, done.stdout
    assert "the time limit is near" in done.stdout
    report = last(stubs)
    assert code_of(report) == CONTINUE
    assert report.progress is not None
    assert (report.progress.step, report.progress.checkpoint_step) == (7, 5)


def test_a_stop_request_in_the_run_directory_tells_the_trainer_to_stop(stubs: Stubs) -> None:
    told = batch(stubs, _UNTIL_STOPPED + f"sys.exit({CONTINUE})", **ONE, **GRACE)
    process = stubs.start(told)
    ready(stubs)
    asked = time.monotonic()

    (attempt_directory(stubs).parent / "stop-1").write_text("please")
    said, _ = process.communicate(timeout=30)

    assert process.returncode == CONTINUE, said
    assert time.monotonic() - asked < 12
    assert said.count("the operator asks this attempt to save and stop") == 1
    assert code_of(last(stubs)) == CONTINUE


def test_a_trainer_that_does_not_stop_within_its_grace_is_ended_and_the_run_goes_on(stubs: Stubs) -> None:
    process = stubs.start(batch(stubs, _DEAF, **ONE, **GRACE))
    ready(stubs)
    warned = time.monotonic()

    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == CONTINUE, said
    assert 2 <= time.monotonic() - warned < 15
    assert "the grace of 2 s is over" in said
    assert code_of(last(stubs)) == CONTINUE


def test_a_warning_that_comes_before_the_trainers_waits_for_them(stubs: Stubs) -> None:
    (stubs.place / "hold").touch()
    process = stubs.start(batch(stubs, _UNTIL_STOPPED + f"sys.exit({CONTINUE})", **ONE))
    begun(stubs)
    wait_for(attempt_directory(stubs) / "work")  # it is still made ready

    process.send_signal(signal.SIGUSR1)
    (stubs.place / "hold").unlink()
    said, _ = process.communicate(timeout=30)

    assert process.returncode == CONTINUE, said


def test_without_checkpoint_there_is_no_clock_and_a_warning_ends_nothing(stubs: Stubs) -> None:
    end = str(int(time.time()) + 3)
    process = stubs.start(batch(stubs, _DEAF.replace("60", "4"), **ONE), SLURM_JOB_END_TIME=end)
    ready(stubs)

    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 0, said


def test_a_trainers_own_failure_after_the_warning_stays_its_own(stubs: Stubs) -> None:
    process = stubs.start(batch(stubs, _UNTIL_STOPPED + "sys.exit('disk full')", **ONE, **GRACE))
    ready(stubs)

    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 1, said
    assert last(stubs).stderr == "disk full"


def test_only_a_registered_process_gets_its_signal(stubs: Stubs) -> None:
    told = (
        "import os, signal, sys, time\n"
        "here = os.environ['PASSERELLE_ATTEMPT_DIR'] + '/caught-' + os.environ['RANK']\n"
        "def caught(*_): open(here, 'w').close(); time.sleep(0.3); os._exit(0)\n"
        "if os.environ['RANK'] == '0':\n"
        "    signal.signal(signal.SIGUSR1, caught)\n"
        "    open(os.environ['PASSERELLE_SIGNAL_FILE'], 'w').write('%d USR1' % os.getpid())\n"
        "open(os.environ['PASSERELLE_ATTEMPT_DIR'] + '/ready-' + os.environ['RANK'], 'w').close()\n"
        "for _ in range(100):\n"
        "    if os.environ['RANK'] != '0' and os.path.exists(here[:-1] + '0'): sys.exit(0)\n"
        "    time.sleep(0.1)\n"
        "sys.exit('no signal came')\n"
    )
    process = stubs.start(batch(stubs, told, gpus=2, gpusPerNode=2, checkpoint={"grace": "1m"}))
    ready(stubs, 0)
    ready(stubs, 1)

    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 0, said
    assert (attempt_directory(stubs) / "caught-0").exists()
    assert not (attempt_directory(stubs) / "caught-1").exists()


def test_a_trainer_that_finds_its_node_broken_names_it(stubs: Stubs) -> None:
    told = f"import os, sys, time\nsys.exit({BAD_NODE}) if os.environ['RANK'] == '2' else time.sleep(60)"

    done = stubs.run(batch(stubs, told))

    assert done.returncode == BAD_NODE, done.stdout
    assert last(stubs).nodes == ("n2",)


_LOST = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
here = pathlib.Path(os.environ["PASSERELLE_ATTEMPT_DIR"])
(here / ("up-" + os.environ["RANK"])).touch()
late = time.monotonic() + 10
while len(list(here.glob("up-*"))) < int(os.environ["WORLD_SIZE"]) and time.monotonic() < late:
    time.sleep(0.01)
os.kill(os.getppid(), 9)
os._exit(0)
"""
"""The trainers' keepers die together, as with their node: no rank leaves a word."""


def test_when_no_rank_has_a_word_the_nodes_that_are_silent_are_to_blame(stubs: Stubs) -> None:
    (stubs.place / "silent").write_text("n2")

    done = stubs.run(batch(stubs, _LOST))

    assert done.returncode == BAD_NODE, done.stdout
    assert (code_of(last(stubs)), last(stubs).nodes) == (BAD_NODE, ("n2",))
    assert json.loads((attempt_directory(stubs) / "result.json").read_text())["nodes"] == ["n2"]
    probe = stubs.asked("steps")[1]
    assert "--nodes=2 --ntasks=2 --overlap --mem=0 --gres=none --ntasks-per-node=1" in probe


def test_ranks_that_fail_on_a_node_that_is_gone_are_not_to_blame(stubs: Stubs) -> None:
    """As measured: their connections break before Slurm notices anything."""
    (stubs.place / "silent").write_text("n2")
    code = "import os, sys, time\n"
    code += "if os.environ['SLURMD_NODENAME'] == 'n2': os.kill(os.getppid(), 9)\n"
    code += "else: time.sleep(0.5); sys.exit('Connection closed by peer')\n"

    told = batch(stubs, code)
    (stubs.place / "srun.py").write_text((stubs.place / "srun.py").read_text().replace("any(each.returncode", "any(0"))
    done = stubs.run(told)

    assert done.returncode == BAD_NODE, done.stdout
    assert (code_of(last(stubs)), last(stubs).nodes) == (BAD_NODE, ("n2",))
    assert last(stubs).stderr == "Connection closed by peer"


def test_when_every_node_answers_none_is_to_blame(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, _LOST))

    assert done.returncode in (128 + signal.SIGKILL, 128 + signal.SIGTERM), done.stdout
    assert last(stubs).nodes == ()


_TOGETHER = """\
import os, pathlib, time
here = pathlib.Path(os.environ["PASSERELLE_ATTEMPT_DIR"])
(here / ("up-" + os.environ["RANK"])).touch()
while len(list(here.glob("up-*"))) < int(os.environ["WORLD_SIZE"]):
    time.sleep(0.01)
raise SystemExit(5)
"""
"""A trainer that fails when all ranks are there: one that is ended before it has begun leaves no word."""


def test_an_end_that_a_rank_explains_asks_no_node(stubs: Stubs) -> None:
    (stubs.place / "silent").write_text("n2")

    done = stubs.run(batch(stubs, _TOGETHER))

    assert done.returncode == 5, done.stdout
    assert len(stubs.asked("steps")) == 1


def test_a_superseded_trainer_that_ignores_term_is_killed_at_once(stubs: Stubs) -> None:
    process = stubs.start(batch(stubs, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _DEAF, **ONE))
    ready(stubs)
    told = time.monotonic()

    process.send_signal(signal.SIGUSR2)

    assert process.wait(30) == 213
    assert time.monotonic() - told < 8
    process.communicate(timeout=30)


def test_a_superseded_job_whose_srun_hangs_lasts_for_seconds_only(stubs: Stubs) -> None:
    over = stubs.place / "over"
    (stubs.place / "hangs").touch()
    code = _DEAF.replace("time.sleep(60)", f"while not os.path.exists({str(over)!r}): time.sleep(0.1)")
    process = stubs.start(batch(stubs, code, **ONE))
    ready(stubs)
    told = time.monotonic()

    process.send_signal(signal.SIGUSR2)
    try:
        ended = process.wait(30)
    finally:
        over.touch()
        process.communicate(timeout=30)

    assert ended == 213
    assert 9 <= time.monotonic() - told < 25


def test_the_clock_ends_with_its_job(stubs: Stubs) -> None:
    code = f"import os; open({str(stubs.place / 'job')!r}, 'w').write(os.environ['PASSERELLE_ATTEMPT_DIR'])"

    stubs.run(batch(stubs, code, **ONE, **GRACE), SLURM_JOB_END_TIME=str(int(time.time()) + 600))

    here = (stubs.place / "job").read_text().encode()
    assert [process for process in Path("/proc").glob("[0-9]*") if here in _environ(process)] == []


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
