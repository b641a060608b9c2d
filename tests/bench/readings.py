"""What the operator's process tells of itself: its /metrics, and what the kernel counts for it."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

GATEWAY = "passerelle_gateway"
WRITES = "passerelle_kubernetes_writes_total"
TIMEOUT_SECONDS = 10.0

OPERATIONS = ("probe", "states", "get", "find", "accounted", "submit", "cancel")
"""Of the gateway."""

LIVE, LOOKED_FOR, DEPTH = "passerelle_site_live_jobs", "passerelle_site_looked_for", "passerelle_work_queue_depth"
PASSES = "passerelle_reconcile_passes_total"
NAMES = (
    *(f"{GATEWAY}_{what}_total" for what in ("requests", "responses", "response_bytes")),
    *(WRITES, LIVE, LOOKED_FOR, DEPTH, PASSES),
)
"""Of all that is told: the series of ten thousand TrainingJobs are not asked for."""

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """All of it at one moment. `cpu_seconds` of user and system, `peak_mib` since the process began, `held_mib` now."""

    at: float
    cpu_seconds: float
    peak_mib: float
    held_mib: float
    samples: dict[tuple[str, Labels], float]

    @property
    def still(self) -> bool:
        """Whether nobody waits for a pass, and no run is looked for."""
        return self.total(DEPTH) == 0 and self.total(LOOKED_FOR) == 0

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.samples.items() if found == name and wanted <= has)


async def read(metrics_url: str, pid: int) -> Reading:
    """Read everything now."""
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        text = (await client.get(metrics_url, params={"name[]": list(NAMES)})).raise_for_status().text
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Reading(time.monotonic(), cpu_seconds(pid), mib(pid, "VmHWM"), mib(pid, "VmRSS"), samples)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process: proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mib(pid: int, name: str) -> float:
    """Of proc_pid_status(5): VmHWM is the most memory that a process ever held, VmRSS what it holds now."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"process {pid} tells no {name}")
    return int(found[1]) / 1024


@dataclass(frozen=True, slots=True)
class Between:
    """What happened between two readings."""

    first: Reading
    last: Reading

    @property
    def seconds(self) -> float:
        return self.last.at - self.first.at

    @property
    def cpu_seconds(self) -> float:
        return self.last.cpu_seconds - self.first.cpu_seconds

    @property
    def cpu_percent(self) -> float:
        """Of one core."""
        return 100 * self.cpu_seconds / self.seconds

    def count(self, name: str, **labels: str) -> float:
        return self.last.total(name, **labels) - self.first.total(name, **labels)

    @property
    def polls(self) -> float:
        """Light listings that were asked for: one a poll."""
        return self.count(f"{GATEWAY}_requests_total", operation="states")

    def table(self, name: str) -> list[str]:
        """What was asked of the gateway, for a person."""
        memory = f"{self.last.held_mib:.0f} MiB held, {self.last.peak_mib:.0f} at most"
        lines = [f"{name}: {self.seconds:.0f} s, {self.cpu_percent:.1f} % of a core, {memory}"]
        for operation in OPERATIONS:
            asked, answers, size = (
                self.count(f"{GATEWAY}_{what}_total", operation=operation)
                for what in ("requests", "responses", "response_bytes")
            )
            if asked:
                lines.append(f"  {operation:10}{asked:6.0f} asked{answers:7.0f} answers{size / 1024:9.0f} KiB")
        return lines
