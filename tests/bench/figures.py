"""The figures of one run: the last line of `make bench`, and what they are held against. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Named as in the last line, in Python's spelling. docs/bench.md says how each is measured."""

    jobs: int
    accepted_per_second: float
    bare_client_per_second: float
    ceiling_per_second: float
    ratio: float
    listing_calls_per_poll: float
    bytes_per_live_job_per_poll: float
    progress_bytes_per_job_minute: float
    kubernetes_writes_per_job: float
    progress_writes: int
    events: int
    lag_p95_seconds: float
    period_seconds: float
    peak_memory_mib: float
    rest_cpu_percent: float

    def line(self) -> str:
        """The last line."""
        return json.dumps({_key(name): round(value, 3) for name, value in asdict(self).items()})

    def aims(self) -> list[str]:
        """Each aim, and whether it was met; none of them decides the exit code."""
        rows = (
            ("ratio", self.ratio, ">=", 0.2),
            ("bytesPerLiveJobPerPoll", self.bytes_per_live_job_per_poll, "<=", 200),
            ("kubernetesWritesPerJob", self.kubernetes_writes_per_job, "<=", 6),
            ("lagP95Seconds", self.lag_p95_seconds, "<=", self.period_seconds + 1),
            ("peakMemoryMiB", self.peak_memory_mib, "<=", 150),
        )
        return [
            f"{name:24} {value:10.2f}  aim {sign} {aim:g}: "
            + ("met" if (value >= aim if sign == ">=" else value <= aim) else "not met")
            for name, value, sign, aim in rows
        ]


def _key(name: str) -> str:
    """camelCase, and MiB as units are written."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest).replace("Mib", "MiB")
