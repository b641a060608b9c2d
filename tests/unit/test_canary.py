"""The canary: what it asks for, what becomes of it, and what its node tells; the probe runs under a real bash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from passerelle.batch import Batch
from passerelle.doctor import Check
from passerelle.doctor.canary import HOST, Canary, canary, facts, landed
from passerelle.errors import Invalid, Unavailable
from passerelle.flight import Flight, fly
from passerelle.gateways.memory import Fate, Memory
from passerelle.progress import parse_comment
from passerelle.slurm import JobState, RemoteJob
from plans import RUN, profile, site
from stubs import Stubs

ADMITTED = [{"namespaces": ["team-a"], "accounts": ["startup"], "qos": ["normal"]}]
TOLD = {
    "node/n1": "1",
    "arch/x86_64": "1",
    "gpu/NVIDIA-A100-SXM4-40GB": "1",
    "gres/0": "1",
    "fabric/mlx5_0/mlx5_1": "2",
    "runtime/apptainer-1.4.5": "1",
    f"egress/{HOST}": "1",
    "root/lustre": "512",
}
RECORD = json.dumps({"v": 1, "t": 1, "m": {name: int(value) for name, value in TOLD.items()}})


def made(facts_of: str = "sandbox", **changes: object) -> Canary:
    at = site(profile=facts_of, **({"admission": ADMITTED} | changes))
    return canary("lumi", at, profile(facts_of), RUN)


def told(**changes: str | None) -> list[Check]:
    """The checks of a node; a change is of the fact of that name, None takes it away."""
    found = {name: value for name, value in TOLD.items() if name.partition("/")[0] not in changes}
    for name, words in changes.items():
        if words is not None:
            word, _, value = words.rpartition("=")
            found[f"{name}/{word}"] = value
    return list(facts(found, profile(), made().plan))


def alarms(checks: list[Check]) -> list[str]:
    return [each.id for each in checks if each.verdict in ("wrong", "warning")]


def test_it_asks_for_one_gpu_for_a_minute_and_names_its_price() -> None:
    one = made()

    asked = one.batch.options
    assert (asked.nodes, asked.gpus, asked.time_limit_minutes) == (1, 1, 1)
    assert (asked.account, asked.qos, asked.partition) == ("startup", "normal", "gpu")
    assert asked.name == RUN.marker(1)
    assert "1 node with 1 GPU for at most 1 min in partition gpu, QoS normal" in one.price
    assert "charged to account startup" in one.price


def test_a_site_of_whole_nodes_gives_a_whole_one() -> None:
    one = made("juwels-booster", admission=[{"namespaces": ["a"], "accounts": ["hpc1"]}])

    assert (one.batch.options.nodes, one.plan.gpus_per_node) == (1, 4)
    assert "1 node with 4 GPUs" in one.price
    assert "at most 0.8 core-hours" in one.price


def test_the_first_entry_is_charged_though_it_admits_by_labels() -> None:
    one = made(admission=[{"selector": {"trial": "true"}, "accounts": ["trial"]}, *ADMITTED])

    assert one.plan.account == "trial"


def test_nobody_s_account_pays_for_a_canary() -> None:
    with pytest.raises(Invalid, match="nobody's account can be charged"):
        made(admission=[])


def test_a_node_that_is_as_the_profile_says() -> None:
    checks = told()

    assert alarms(checks) == []
    said = " ".join(each.text for each in checks)
    for words in (
        "Node n1 is x86_64",
        "NVIDIA A100 SXM4 40GB, 1 of them seen, 1 given",
        "mlx5_0, mlx5_1",
        "apptainer 1.4.5",
        f"{HOST} was reached; the profile says yes",
        "writable on the node: lustre, 512 GiB free",
    ):
        assert words in said


@pytest.mark.parametrize(
    "changes,cause,words",
    [
        ({"arch": "aarch64=1"}, "ArchitectureDrift", "Its node is aarch64, and profile sandbox says x86_64"),
        ({"gpu": "AMD-Instinct-MI250X=1"}, "GpusDrift", "GPUs of amd"),
        ({"gpu": "none=0", "gres": "none=0"}, "GpuMissing", "Slurm gave none, and none was seen"),
    ],
)
def test_a_node_that_is_another(changes: dict[str, str], cause: str, words: str) -> None:
    (found,) = [each for each in told(**changes) if each.verdict == "wrong"]

    assert found.id == cause
    assert words in found.text


def test_a_way_out_that_only_the_profile_has_is_a_warning() -> None:
    (found,) = [each for each in told(egress=f"{HOST}=0") if each.verdict != "ok"]
    closed = profile().model_copy(update={"egress": profile().egress.model_copy(update={"compute": False})})
    shut = list(facts(TOLD | {f"egress/{HOST}": "0"}, closed, made().plan))

    assert (found.verdict, found.id) == ("warning", "EgressDrift")
    assert "was not reached from the node within 5 s, and profile sandbox says" in found.text
    assert alarms(shut) == []
    assert f"{HOST} was not reached within 5 s; the profile says no." in " ".join(each.text for each in shut)


def test_gpus_that_nothing_names_are_those_that_slurm_gave() -> None:
    checks = told(gpu="none=0")

    assert alarms(checks) == []
    assert any("Slurm gave 1; the node has no nvidia-smi" in each.text for each in checks)


def ended(**changes: Any) -> RemoteJob:
    base: dict[str, Any] = {
        "job_id": "41",
        "name": RUN.marker(1),
        "user": "startup",
        "cluster": "lumi",
        "state": JobState("COMPLETED"),
        "submit_time": 1,
        "start_time": 2,
        "comment": RECORD,
    }
    return RemoteJob(**(base | changes))


@pytest.mark.parametrize(
    "job,subject,cause,words",
    [
        (ended(comment=""), "canary", "CommentMissing", "TrainingJobs would show no progress"),
        (
            ended(state=JobState("FAILED"), exit_signal=53),
            "run root",
            "RunRootRefused",
            "mkdir -p /scratch/startup/passerelle",
        ),
        (
            ended(
                state=JobState("FAILED"),
                exit_code=212,
                comment='{"v":1,"end":{"code":212,"signal":null,"rank":null,"err":"this node has no apptainer"}}',
            ),
            "canary",
            "CanaryFailed",
            "(SiteFault): this node has no apptainer. Its log is /scratch/startup/passerelle/psr-",
        ),
        (
            ended(state=JobState("FAILED"), exit_code=212, comment=""),
            "run root",
            "RunRootRefused",
            "most often /scratch/startup/passerelle is missing at the site. Make it, for the Site's user to write in",
        ),
        (ended(state=JobState("TIMEOUT")), "canary", "CanaryFailed", "(TimeLimit)"),
    ],
    ids=["no comment", "no log", "no runtime", "no run root", "too slow"],
)
def test_an_end_that_is_none_of_the_best(job: RemoteJob, subject: str, cause: str, words: str) -> None:
    (found,) = [each for each in landed(job, profile(), made().plan) if each.verdict != "ok"]

    assert (found.subject, found.id) == (subject, cause)
    assert words in str(found)


# The flight


@dataclass
class Sky:
    """A site in memory, whose clock goes on as the flight sleeps."""

    now: float = 1000.0
    said: list[str] = field(default_factory=list)
    fate: Callable[[Batch], Fate] = lambda _: Fate(queued=20, running=20, comment=RECORD)
    patience: float = 600.0
    on_sleep: Callable[[], None] = lambda: None
    kind: type[Memory] = Memory

    def __post_init__(self) -> None:
        self.site = self.kind(clock=lambda: self.now, fates=self.fate)

    async def fly(self) -> list[Check]:
        flight = Flight(patience=self.patience, say=self.said.append, sleep=self.sleep, clock=lambda: self.now)
        return [each async for each in fly(self.site, made(), profile(), flight)]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()
        await asyncio.sleep(0)

    @property
    def submits(self) -> int:
        return self.site.calls.count("submit")

    @property
    def states(self) -> list[str]:
        return [job.state.base for job in self.site.snapshot()]


async def test_a_canary_that_comes_home() -> None:
    sky = Sky()

    checks = await sky.fly()

    assert alarms(checks) == []
    assert len(checks) == 7
    assert sky.submits == 1
    assert "cancel" not in sky.site.calls
    assert [each.partition("job 1000")[2] for each in sky.said] == [
        " is submitted; Ctrl-C cancels it.",
        ": waits (Priority)",
        ": runs",
        ": has ended",
    ]


async def test_a_canary_that_waits_too_long_is_cancelled() -> None:
    sky = Sky(fate=lambda _: Fate(queued=1e6), patience=60.0)

    (found,) = await sky.fly()

    assert (found.verdict, found.id) == ("warning", "Priority")
    assert "did not end within 1 min, and is cancelled" in found.text
    assert "longer --wait" in found.fix
    assert sky.states == ["CANCELLED"]


async def test_a_canary_that_waits_in_vain_is_wrong() -> None:
    sky = Sky(fate=lambda _: Fate(queued=1e6, state_reason="AssocGrpGRESMinutes"), patience=60.0)

    (found,) = await sky.fly()

    assert (found.verdict, found.id) == ("wrong", "AssocGrpGRESMinutes")
    assert "the hours that were granted are used up" in found.fix


async def test_a_refused_canary_is_not_sent_again() -> None:
    sky = Sky()
    sky.site.shape = replace(sky.site.shape, qos=frozenset())

    (found,) = await sky.fly()

    assert (found.verdict, found.id) == ("wrong", "InvalidQos")
    assert sky.submits == 1
    assert "cancel" not in sky.site.calls


async def test_a_submit_whose_answer_is_lost_is_found_by_its_name() -> None:
    sky = Sky()
    sky.site.faults.lose_answers = 1

    checks = await sky.fly()

    assert alarms(checks) == []
    assert sky.submits == 1
    assert "looked for by its name" in sky.said[0]


async def test_a_submit_that_nobody_knows_of_is_told_and_not_repeated() -> None:
    class Mute(Memory):
        async def submit(self, _: Batch) -> str:
            self.calls.append("submit")
            raise Unavailable("The connection broke.", reason="Unreachable", sent=True)

    sky = Sky(kind=Mute)

    (found,) = await sky.fly()

    assert "It isn't known whether the site took the canary" in found.text
    assert f"squeue --name={RUN.marker(1)}" in found.fix
    assert sky.submits == 1


async def test_one_that_no_listing_shows_is_lost() -> None:
    sky = Sky()
    sky.site.faults.listing_lag = sky.site.faults.accounting_lag = 1e6

    (found,) = await sky.fly()

    assert found.id == "JobNotShown"


async def test_a_site_that_is_silent_for_a_moment_is_asked_again() -> None:
    sky = Sky()

    def trouble() -> None:
        sky.site.faults.scheduler_down = 1010 < sky.now < 1030

    sky.on_sleep = trouble

    assert alarms(await sky.fly()) == []
    assert any("asked again" in each for each in sky.said)


async def test_a_site_that_stays_silent_is_asked_less_and_less() -> None:
    sky = Sky(patience=600.0)
    sky.on_sleep = lambda: setattr(sky.site.faults, "scheduler_down", True)

    await sky.fly()

    assert 10 <= sky.site.calls.count("get") <= 15, "5, 10, 20, 40 and then 60 seconds apart"


@pytest.mark.parametrize("moment", ["waits", "runs"])
async def test_whoever_interrupts_leaves_no_job_behind(moment: str) -> None:
    sky = Sky()
    task = asyncio.create_task(sky.fly())

    def interrupt() -> None:
        if moment in sky.said[-1]:
            task.cancel()

    sky.on_sleep = interrupt

    with pytest.raises(asyncio.CancelledError):
        await task
    assert sky.states == ["CANCELLED"]
    assert sky.said[-1] == "Canary: job 1000 is cancelled."


async def test_an_interrupted_submit_is_looked_for_and_cancelled() -> None:
    class Interrupted(Memory):
        async def submit(self, batch: Batch) -> str:
            await super().submit(batch)
            raise asyncio.CancelledError

    sky = Sky(kind=Interrupted)

    with pytest.raises(asyncio.CancelledError):
        await sky.fly()
    assert sky.states == ["CANCELLED"]


# The probe

TIMEOUT = 'shift; case $1 in bash) exit 1;; esac; exec "$@"'
"""timeout(1) on a node without a network: no test looks for a host."""


def flown(stubs: Stubs, **tools: str) -> dict[str, str]:
    """What the probe told in the job's comment, with these programs on its node."""
    for name, text in tools.items():
        path = stubs.place / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    at = site(admission=ADMITTED, runRoot=str(stubs.root), progressPeriod="1s")
    one = canary("lumi", at, profile(), RUN)
    done = stubs.run(one.batch, SLURMD_NODENAME="n1", SLURM_GPUS_ON_NODE="1", SLURM_JOB_GPUS="3")
    assert done.returncode == 0, done.stdout
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert report.progress is not None
    return {each.name: each.value for each in report.progress.metrics}


def test_the_probe_tells_its_node_in_the_comment(tmp_path: Path) -> None:
    smi = 'echo "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)"; echo "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2)"'

    found = flown(Stubs(tmp_path), nvidia_smi=smi, enroot="echo 3.5.0", timeout=TIMEOUT)

    assert found["node/n1"] == "1"
    assert found["gpu/NVIDIA-A100-SXM4-40GB"] == "2"
    assert found["gres/3"] == "1"
    assert found[f"egress/{HOST}"] == "0"
    assert {name.partition("/")[0] for name in found} == {name.partition("/")[0] for name in TOLD}
    assert any(name.startswith("runtime/") and "enroot-3.5.0" in name for name in found)


def test_the_probe_of_a_node_without_anything_tells_so(tmp_path: Path) -> None:
    found = flown(Stubs(tmp_path), timeout="exit 1")

    assert found["gpu/none"] == "0"


def test_the_probe_s_longest_record_fits_the_comment(tmp_path: Path) -> None:
    smi = f'echo "GPU 0: {"x" * 200} (UUID: GPU-1)"'

    found = flown(Stubs(tmp_path), nvidia_smi=smi, enroot=f"echo {'9' * 200}", timeout=TIMEOUT)

    assert len(found) == len(TOLD)
    assert max(map(len, found)) == 64
