"""A site of stubs: the real script runs under real bash, with a srun, a scontrol and an apptainer that are these files.

What the stubs are asked is written down, so a test can read what a site would have seen.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from passerelle.batch import Batch
from passerelle.progress import Report, parse_comment
from passerelle.render import render
from plans import job, planned, site

_SRUN = """\
#!/bin/sh
exec "${0%/*}/python3" "$0.py" "$@"
"""

_SRUN_PY = """\
# Starts the tasks as srun would, ends the others when one has failed, and waits for all of them. At a TERM it has all
# their processes killed at once; but where Slurm itself ends the job, for these the TERM comes first. Or it hangs.
import os
import signal
import subprocess
import sys
import time

words = sys.argv[1:]
with open(os.environ["STUBS"] + "/steps", "a") as file:
    print(" ".join(words), file=file)
options = {}
while words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    options[name] = value
if "--overlap" in options:
    try:
        with open(os.environ["STUBS"] + "/silent") as file:
            sys.exit("srun: error: Task launch for StepId=41.1 failed on node %s: Connection failure" % file.read())
    except FileNotFoundError:
        sys.exit(0)
if os.path.exists(os.environ["STUBS"] + "/no-step"):
    sys.exit("srun: error: Unable to create step for job 41: Job/step already completing or completed")
per_node = int(options.get("--ntasks-per-node", options["--ntasks"]))
told = os.environ.get("TASKS", options["--ntasks"])
tasks = []
for task in range(int(options["--ntasks"])):
    node = task // per_node
    own = {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % per_node), "SLURM_NODEID": str(node)}
    own.update(SLURM_NTASKS=told, SLURMD_NODENAME="n%d" % (node + 1))
    tasks.append(subprocess.Popen(words, env=dict(os.environ, **own), start_new_session=True))


def end(*_):
    for each in tasks:
        if each.poll() is None:
            each.terminate()


def told(*_):
    if is_there("ending"):
        end()
    elif not is_there("hangs"):
        for each in tasks:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)


def is_there(name):
    return os.path.exists(os.environ["STUBS"] + "/" + name)


signal.signal(signal.SIGTERM, told)
while None in [each.poll() for each in tasks]:
    if any(each.returncode for each in tasks):
        end()
    time.sleep(0.02)
sys.exit(max(each.returncode if each.returncode >= 0 else 128 - each.returncode for each in tasks))
"""

_SCONTROL = """\
#!/bin/bash
case "$*" in
    "show hostnames"*)
        while [ -e "$STUBS/hold" ]; do sleep 0.05; done
        printf 'n1\\nn2\\n' ;;
    *"show job"*) echo "JobId=$SLURM_JOB_ID SubmitTime=2026-01-01T00:00:00 Restarts=0" ;;
    update*)
        if [ -e "$STUBS/refuse" ]; then cat "$STUBS/refuse" >&2; exit 1; fi
        if [ -e "$STUBS/busy" ] && [ "${*//\"end\"/}" = "$*" ]; then
            echo "$BASHPID" >> "$STUBS/waiting"
            sleep "$(cat "$STUBS/busy")"
        fi
        printf '%s\\n' "${*: -1}" >> "$STUBS/comments"
        ;;
esac
"""

_APPTAINER = """\
#!/bin/sh
exec "${0%/*}/python3" "$0.py" "$@"
"""

_APPTAINER_PY = """\
# Clears the environment, sets what APPTAINERENV_ brings, changes the directory, runs the command. Mounts nothing.
# Pulls what is named in a file beside it, or says what stands there.
import os
import sys

words = sys.argv[1:]
if words[0] == "pull":
    with open(os.path.dirname(__file__) + "/pulled", "a") as file:
        print(words[-1], file=file)
    with open(os.path.dirname(__file__) + "/logins", "a") as file:
        password = os.environ.get("SINGULARITY_DOCKER_PASSWORD", "")
        print(os.environ.get("APPTAINER_DOCKER_USERNAME"), len(password), file=file)
    try:
        with open(os.path.dirname(__file__) + "/registry-says") as file:
            sys.exit(file.read())
    except FileNotFoundError:
        open(words[-2], "w").close()
        sys.exit(0)
with open(os.path.dirname(__file__) + "/entered", "a") as file:
    print(repr(words), file=file)
options = {}
while words[0].startswith("--") or words[0] == "exec":
    word = words.pop(0)
    if word in ("--home", "--pwd", "--bind"):
        options[word] = words.pop(0)
prefix = b"APPTAINERENV_"
env = {name[len(prefix):]: value for name, value in os.environb.items() if name.startswith(prefix)}
env.update({b"PATH": os.environb[b"PATH"], b"HOME": options["--home"].encode(), b"LANG": b"C.UTF-8"})
os.chdir(options["--pwd"])
os.execvpe(words[1], words[1:], env)
"""


TELL = """\
import json, os, sys
with open(os.environ["PASSERELLE_ATTEMPT_DIR"] + "/told-" + os.environ["RANK"], "w", encoding="utf-8") as file:
    json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], file)
"""
"""A trainer that writes down what it was given."""


class Stubs:
    """A folder of stubs, and a run root beside it. Its python3 has the standard library alone: what else is installed
    here can cost each of a script's twenty starts more than Python itself does.
    """

    def __init__(self, place: Path) -> None:
        self.place = place / "stubs"
        self.root = place / "root"
        self.place.mkdir()
        self.root.mkdir()
        for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL), ("apptainer", _APPTAINER)):
            (self.place / name).write_text(text)
            (self.place / name).chmod(0o755)
        (self.place / "srun.py").write_text(_SRUN_PY)
        (self.place / "apptainer.py").write_text(_APPTAINER_PY)
        (self.place / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
        (self.place / "python3").chmod(0o755)
        self.image = self.place / "train.sif"
        self.image.touch()

    def start(self, batch: Batch, job_id: int = 41, **more: str) -> "subprocess.Popen[str]":
        """The script, as a batch step would run it."""
        script = self.place / f"script-{job_id}"
        script.write_text(batch.script)
        given = dict(batch.environment)
        slurm = {
            "SLURM_JOB_ID": str(job_id),
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CLUSTER_NAME": "lumi",
        }
        return subprocess.Popen(
            ["bash", str(script)],
            cwd=batch.options.working_directory,
            env=given | {"PATH": f"{self.place}:{given['PATH']}", "STUBS": str(self.place)} | slurm | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, batch: Batch, job_id: int = 41, **more: str) -> "subprocess.CompletedProcess[str]":
        """The script to its end, with what it wrote on both streams."""
        process = self.start(batch, job_id, **more)
        try:
            said, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def end_job(self, process: "subprocess.Popen[str]") -> None:
        """As Slurm does at a limit or a cancel: every process of the job gets a TERM."""
        (self.place / "ending").touch()
        process.send_signal(signal.SIGTERM)

    def asked(self, tool: str) -> list[str]:
        """What a tool was asked, a line each."""
        file = self.place / tool
        return file.read_text().splitlines() if file.exists() else []

    def comments(self) -> list[str]:
        """The records in the order in which they were posted."""
        return [line.removeprefix("Comment=") for line in self.asked("comments")]

    def report(self, attempt: int = 1) -> tuple[dict[str, object], Report]:
        """Whose the report file of an attempt is, and what it tells."""
        (file,) = self.root.glob(f"psr-*/report-{attempt}.json")
        told = json.loads(file.read_text())
        return told, parse_comment(json.dumps(told.pop("record")))

    def reported(self, enough: Callable[[Report], bool]) -> Report:
        """What the report file tells, as soon as that is enough."""
        deadline = time.monotonic() + 30
        while not list(self.root.glob("psr-*/report-1.json")) or not enough(self.report()[1]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self.report()[1]


def batch(stubs: Stubs, code: str = TELL, *args: str, attempt: int = 1, **more: object) -> Batch:
    """Two nodes with two ranks each, which run this Python; `more` are fields of the TrainingJob, and `facts`, and
    the Site's `gateway`."""
    facts = more.pop("facts", None)
    door = {"gateway": more.pop("gateway")} if "gateway" in more else {}
    base = {"image": str(stubs.image), "command": [sys.executable, "-c", code], "args": list(args)}
    spec = job(**(base | {"gpus": 4, "gpusPerNode": 2} | more))
    at = site(runRoot=str(stubs.root), progressPeriod="1s", **door)
    return render(planned(spec, at, facts, attempt=attempt, files=(("/workspace/x.py", b"data\0\xff"),)))  # type: ignore[arg-type]


def attempt_directory(stubs: Stubs, job_id: int = 41, attempt: int = 1) -> Path:
    """Where the job's attempt lies; it must have begun."""
    (found,) = stubs.root.glob(f"psr-*/attempt-{attempt}-{job_id}-0")
    return found


def wait_for(path: Path) -> None:
    """Until it is there."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)
