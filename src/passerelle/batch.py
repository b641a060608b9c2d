"""Batch: what a gateway submits. Options are data first, and each driver writes them in its own dialect.

slurmrestd and FirecREST's `rest` mode ignore `#SBATCH` lines: a script that asked for two nodes with GPUs ran on one
without and COMPLETED. So no option lives in the script text alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

GpuRequest = Literal["gpus-per-node", "gres", "gpus", "none"]
"""How a site wants its GPUs asked for, each word an option of sbatch(1); `none` where the partition's nodes come whole
and asking is refused or useless."""

SCRIPT_LIMIT = 64 * 1024
"""Bytes of a script that every site takes (Slurm's MaxScriptSize default is 4 MiB, REST proxies allow far less)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of the scheduler. None means: not asked, the site's default counts."""

    name: str
    account: str | None
    partition: str
    qos: str | None
    reservation: str | None = None
    nodes: int
    tasks_per_node: int
    cpus_per_task: int
    memory_per_node_mib: int | None
    gpus_per_node: int
    gpu_type: str | None = None
    gpu_request: GpuRequest = "gpus-per-node"
    threads_per_core: int | None = None
    """1 is what `--hint=nomultithread` asks for: a CPU is a core."""
    constraint: str | None = None
    exclude: tuple[str, ...] = ()
    """Nodes that the job must not get."""
    time_limit_minutes: int
    warning_signal: str = "USR1"
    warning_seconds: int | None = None
    working_directory: str
    standard_output: str
    standard_error: str
    open_mode_append: bool = True
    """A job that its site starts again goes on in its log; truncated, the log would lose what made it fail."""
    requeue: bool = False

    @property
    def tasks(self) -> int:
        """Tasks in all."""
        return self.nodes * self.tasks_per_node

    @property
    def gpus(self) -> int:
        """GPUs in all that are asked for."""
        return 0 if self.gpu_request == "none" else self.nodes * self.gpus_per_node

    def gpu_count(self, count: int) -> str:
        """`4` or `a100:4`, as every option for GPUs counts them."""
        return f"{self.gpu_type}:{count}" if self.gpu_type else str(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Options, the job's whole environment (nothing of the submitter leaks in), and the script text."""

    options: Options
    environment: tuple[tuple[str, str], ...]
    script: str
    report: str | None = None
    """Where the script writes its report file: a door that shows a job's own directory alone leads to it from there."""

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, over everything that is submitted: equal digests are equal jobs."""
        return _digest(self)


@lru_cache(maxsize=32)
def _digest(batch: Batch) -> str:
    """Of those in hand: a pass asks for it several times, and 40 KB of script are in it."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(batch), sort_keys=True).encode()).hexdigest()
