"""The figures of one run: the last line of `make bench`, and what they are held against. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from bench.crowd import SITES

STATES_PER_CALL = 2_000
LAG_SLACK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Named as in the last line, in Python's spelling. docs/bench.md says how each is measured."""

    jobs: int
    accepted_per_second: float
    bare_client_per_second: float
    ceiling_per_second: float
    ratio: float
    ceiling_share: float
    guests_accepted_seconds: float
    listing_calls_per_poll: float
    listing_bytes_per_live_job_per_poll: float
    bytes_per_live_job_per_poll: float
    rest_cpu_percent: float
    full_listing_cpu_seconds: float | None
    rest_memory_mib: float
    restart_to_synced_seconds: float
    restart_cpu_seconds: float
    restart_writes: int
    storm_events_per_second: float
    storm_behind_seconds: float
    storm_cpu_milliseconds_per_event: float
    dead_site_ratio: float
    kubernetes_writes_per_job: float
    progress_writes: int
    events: int
    lag_p95_seconds: float
    period_seconds: float
    reporting_jobs: int
    progress_bytes_per_job_minute: float
    deleted_at_once: int
    deleted_at_once_seconds: float
    deleted_last_per_second: float
    waited_at_limit: int
    submits_at_limit: int
    peak_memory_mib: float

    def line(self) -> str:
        """The last line."""
        told = {name: value if value is None else round(value, 3) for name, value in asdict(self).items()}
        return json.dumps({_key(name): value for name, value in told.items()})

    def aims(self) -> list[str]:
        """Each aim, and whether it was met; none of them decides the exit code."""
        calls = 2 + math.ceil(self.jobs / SITES / STATES_PER_CALL)
        rows = (
            ("ratio", self.ratio, ">=", 0.3),
            ("ceilingShare", self.ceiling_share, ">=", 0.6),
            ("listingCallsPerPoll", self.listing_calls_per_poll, "<=", calls),
            ("listingBytesPerLiveJobPerPoll", self.listing_bytes_per_live_job_per_poll, "<=", 160),
            ("restCpuPercent", self.rest_cpu_percent, "<=", 5),
            ("restartToSyncedSeconds", self.restart_to_synced_seconds, "<=", 30),
            ("kubernetesWritesPerJob", self.kubernetes_writes_per_job, "<=", 6),
            ("lagP95Seconds", self.lag_p95_seconds, "<=", self.period_seconds + LAG_SLACK_SECONDS),
            ("peakMemoryMiB", self.peak_memory_mib, "<=", 250),
        )
        return [
            f"{name:30} {value:10.2f}  aim {sign} {aim:g}: "
            + ("met" if (value >= aim if sign == ">=" else value <= aim) else "not met")
            for name, value, sign, aim in rows
        ]


def _key(name: str) -> str:
    """camelCase, and MiB as units are written."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest).replace("Mib", "MiB")
