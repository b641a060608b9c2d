"""A login node without a Slurm: jobs are rows that a test writes, and files are those of a directory."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from firecrest.login_node import Done, TimeIsUp

USER, UID = "ada", "5001"


@dataclass
class Row:
    """A job as sacct has it; `steps` as soon as it has run."""

    job_id: str
    name: str
    state: str = "RUNNING"
    exit_code: str = "0:0"
    nodes: str = "n1"
    start: str = "1000"
    end: str = "Unknown"
    user: str = USER
    steps: bool = True
    reason: str = "None"

    def lines(self) -> list[str]:
        def line(job_id: str, name: str) -> str:
            count = "1" if self.nodes != "None assigned" else "0"
            return (
                f"{job_id}|{count}|alps|{self.exit_code}|g|startup|{name}|{self.nodes}|gpu|1|{self.state}|{self.reason}|"
                f"5|{self.start}|{self.end}|30|{self.user}|/scratch"
            )

        return [line(self.job_id, self.name), *([line(f"{self.job_id}.batch", "batch")] if self.steps else [])]


@dataclass
class LoginNode:
    """`root` is where the site's files lie. `sbatch` is what sbatch says; `hung` commands never end."""

    root: Path
    rows: list[Row] = field(default_factory=list)
    sbatch: Done | Callable[[], Done] = Done(0, "Submitted batch job 77\n", "")  # noqa: RUF009 -- frozen
    down: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)
    scripts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def __call__(self, command: str, user: str, stdin: bytes | None = None) -> Done:
        assert user == USER
        self.commands.append(command)
        tool = next((word for word in command.split() if "=" not in word), "")
        if tool in self.hung:
            raise TimeIsUp
        if tool in self.down:
            return Done(1, "", f"{tool}: error: Unable to contact slurm controller (connect failure)")
        match tool:
            case "id":
                return Done(0, f"{UID}\n", "")
            case "sacctmgr":
                return Done(0, "startup\n", "")
            case "scontrol":
                return self._scontrol(command)
            case "sbatch":
                self.scripts.append((stdin or b"").decode())
                return self.sbatch() if callable(self.sbatch) else self.sbatch
            case "squeue":
                return Done(0, "", "")
            case "sacct":
                return Done(0, "".join(f"{line}\n" for row in self._wanted(command) for line in row.lines()), "")
            case "scancel":
                return self._cancel(command.rpartition(" ")[2])
        return self._files(command, stdin)

    def _scontrol(self, command: str) -> Done:
        if "batch_script" not in command:
            return Done(0, "PartitionName=gpu Hidden=NO State=UP TotalCPUs=24 TotalNodes=3\n", "")
        job = int(command.split()[-2])
        return Done(0, self.scripts[job], "") if job < len(self.scripts) else Done(1, "", "Invalid job id")

    def _wanted(self, command: str) -> list[Row]:
        ids, names = re.search(r"--jobs=(\S+)", command), re.search(r"--name=(\S+)", command)
        return [
            row
            for row in self.rows
            if (ids is None or row.job_id in ids[1].split(","))
            and (names is None or row.name in names[1].strip("'").split(","))
            and (ids is not None or row.user == USER)
        ]

    def _cancel(self, job_id: str) -> Done:
        row = next((row for row in self.rows if row.job_id == job_id), None)
        if row is None:
            return Done(1, "", f"scancel: error: Kill job error on job id {job_id}: Invalid job id specified")
        if row.state != "RUNNING":
            text = f"scancel: error: Kill job error on job id {job_id}: Job/step already completing or completed"
            return Done(0, "", text)
        row.state = f"CANCELLED by {UID}"
        return Done(0, "", f"scancel: Terminating job {job_id}")

    def _files(self, command: str, stdin: bytes | None) -> Done:
        done = subprocess.run(
            ["bash", "-c", command.replace("/site/", f"{self.root}/")],
            input=stdin or b"",
            capture_output=True,
            check=False,
            timeout=10,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
