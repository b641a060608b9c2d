"""A site of stubs: the real script runs under real bash, with a srun, a scontrol and an apptainer that are these files.

What the stubs are asked is written down, so a test can read what a site would have seen.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from passerelle.batch import Batch

_SRUN = """\
#!/bin/sh
exec "${0%/*}/python3" "$0.py" "$@"
"""

_SRUN_PY = """\
# Starts the tasks as srun would, ends the others when one has failed, passes TERM on and waits for all of them.
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
per_node = int(options["--ntasks-per-node"])
told = os.environ.get("TASKS", options["--ntasks"])
tasks = []
for task in range(int(options["--ntasks"])):
    node = task // per_node
    own = {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % per_node), "SLURM_NODEID": str(node)}
    own.update(SLURM_NTASKS=told, SLURMD_NODENAME="n%d" % (node + 1))
    tasks.append(subprocess.Popen(words, env=dict(os.environ, **own)))


def end(*_):
    for each in tasks:
        if each.poll() is None:
            each.terminate()


signal.signal(signal.SIGTERM, end)
while None in [each.poll() for each in tasks]:
    if any(each.returncode for each in tasks):
        end()
    time.sleep(0.02)
sys.exit(max(each.returncode if each.returncode >= 0 else 128 - each.returncode for each in tasks))
"""

_SCONTROL = """\
#!/bin/bash
case "$*" in
    "show hostnames"*) printf 'n1\\nn2\\n' ;;
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
import os
import sys

words = sys.argv[1:]
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


class Stubs:
    """A folder of stubs, and a run root beside it."""

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
        (self.place / "python3").symlink_to(sys.executable)

    def start(self, batch: Batch, job_id: int = 41, **more: str) -> "subprocess.Popen[str]":
        """The script, as a batch step would run it."""
        script = self.place / f"script-{job_id}"
        script.write_text(batch.script)
        given = dict(batch.environment)
        slurm = {"SLURM_JOB_ID": str(job_id), "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_CLUSTER_NAME": "lumi"}
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

    def asked(self, tool: str) -> list[str]:
        """What a tool was asked, a line each."""
        file = self.place / tool
        return file.read_text().splitlines() if file.exists() else []

    def comments(self) -> list[str]:
        """The records in the order in which they were posted."""
        return [line.removeprefix("Comment=") for line in self.asked("comments")]
