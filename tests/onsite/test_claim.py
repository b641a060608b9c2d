"""The fence: real processes on a real directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from passerelle.onsite import claim
from passerelle.onsite.codes import DUPLICATE, SITE_FAULT
from plans import SOURCE

FIRST: claim.Owner = {"cluster": "lumi", "jobId": "7", "restartCount": 0, "submitTime": "2026-01-01T00:00:00"}


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A scontrol that tells a submit time."""
    tool = tmp_path / "bin" / "scontrol"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho JobId=1 SubmitTime=2026-01-01T00:00:00 x=y\n")
    tool.chmod(0o755)
    return tool


def environment(tool: Path, job_id: int) -> dict[str, str]:
    path = f"{tool.parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(SOURCE), "SLURM_JOB_ID": str(job_id), "SLURM_CLUSTER_NAME": "lumi"}


def words(*more: str) -> list[str]:
    return [sys.executable, "-m", "passerelle.onsite", "claim", *more]


def test_of_jobs_that_race_one_gets_the_claim(tmp_path: Path, scontrol: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    racers = [
        subprocess.Popen(words("take", str(run), "1", f"{tmp_path}/own-{number}"), env=environment(scontrol, number))
        for number in range(1, 13)
    ]

    codes = [racer.wait(30) for racer in racers]

    assert sorted(codes) == [0, *[DUPLICATE] * 11]
    owner = json.loads((run / "claim-1" / "owner.json").read_text())
    assert codes[int(owner["jobId"]) - 1] == 0
    assert [entry.name for entry in run.iterdir()] == ["claim-1"]


def test_the_same_job_goes_on(tmp_path: Path) -> None:
    assert claim.take(str(tmp_path), 1, FIRST) == "fresh"
    assert claim.take(str(tmp_path), 1, FIRST) == "same"


def test_the_log_says_in_words_whose_the_attempt_is(tmp_path: Path, scontrol: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    told = []
    for restart in ("0", "0", "1"):
        own = environment(scontrol, 41) | {"SLURM_RESTART_COUNT": restart}
        ran = subprocess.run(
            words("take", str(run), "1", f"{tmp_path}/own"), env=own, capture_output=True, text=True, check=True
        )
        told.append(ran.stderr.strip())

    assert told == [
        "passerelle: attempt 1 begins in job 41",
        "passerelle: attempt 1 goes on in job 41",
        "passerelle: attempt 1 begins again in the requeued job 41",
    ]


def test_a_requeued_job_takes_its_claim_over_and_its_earlier_life_ends(tmp_path: Path) -> None:
    second = FIRST | {"restartCount": 1, "submitTime": "2026-01-01T00:09:00"}
    claim.take(str(tmp_path), 1, FIRST)

    assert claim.take(str(tmp_path), 1, second) == "requeued"

    assert claim.superseded(str(tmp_path), 1, second) is None
    assert "taken over" in (claim.superseded(str(tmp_path), 1, FIRST) or "")
    with pytest.raises(claim.Lost):
        claim.take(str(tmp_path), 1, FIRST)


@pytest.mark.parametrize(
    "other",
    [
        FIRST | {"jobId": "8"},
        FIRST | {"cluster": "leonardo"},
        FIRST | {"submitTime": "2026-02-02T00:00:00"},
    ],
    ids=["another job", "another cluster", "an id that was used again"],
)
def test_any_other_job_is_a_duplicate(tmp_path: Path, other: claim.Owner) -> None:
    claim.take(str(tmp_path), 1, FIRST)

    with pytest.raises(claim.Lost):
        claim.take(str(tmp_path), 1, other)


def test_a_retransmitted_rename_that_fails_has_worked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def twice(source: str, target: str) -> None:
        rename(source, target)
        if "claim-1" in target and not target.endswith(".json"):
            rename(source, target)

    monkeypatch.setattr(os, "rename", twice)

    assert claim.take(str(tmp_path), 1, FIRST) == "same"


def test_without_a_submit_time_a_fresh_claim_is_taken_and_an_old_one_is_unclear(tmp_path: Path) -> None:
    unknown = FIRST | {"submitTime": ""}

    assert claim.take(str(tmp_path), 1, unknown) == "fresh"
    with pytest.raises(claim.Unknown):
        claim.take(str(tmp_path), 1, FIRST)


def test_an_attempt_leaves_where_a_later_one_has_begun(tmp_path: Path) -> None:
    claim.take(str(tmp_path), 10, FIRST | {"jobId": "9"})

    with pytest.raises(claim.Lost, match="attempt 10"):
        claim.take(str(tmp_path), 2, FIRST)
    assert claim.superseded(str(tmp_path), 2, FIRST) == "attempt 10 has begun"


def test_a_claim_without_a_readable_owner_stops_the_job_as_the_sites_fault(tmp_path: Path, scontrol: Path) -> None:
    (tmp_path / "claim-1" / "something").mkdir(parents=True)

    done = subprocess.run(
        words("take", str(tmp_path), "1", f"{tmp_path}/own"), env=environment(scontrol, 1), check=False, timeout=30
    )

    assert done.returncode == SITE_FAULT


def test_what_cannot_be_written_is_the_sites_fault(tmp_path: Path, scontrol: Path) -> None:
    done = subprocess.run(
        words("take", str(tmp_path), "1", f"{tmp_path}/nowhere/own"),
        env=environment(scontrol, 1),
        check=False,
        timeout=30,
    )

    assert done.returncode == SITE_FAULT


def test_the_watcher_tells_the_batch_shell_of_a_stop_request_once_and_goes_on(tmp_path: Path) -> None:
    claim.take(str(tmp_path), 1, FIRST)
    (tmp_path / "own").write_text(json.dumps(FIRST))
    (tmp_path / "stop-2").touch()
    told: list[int] = []
    signals = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.signal(each, lambda number, _: told.append(number)) for each in signals]
    try:
        watcher = subprocess.Popen(
            words("watch", str(tmp_path), "1", f"{tmp_path}/own", str(os.getpid()), "300", "0.05"),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        )
        time.sleep(0.5)
        assert told == [], "another attempt's"
        (tmp_path / "stop-1").touch()
        time.sleep(0.5)
        assert told == [signal.SIGUSR1]
        claim.take(str(tmp_path), 2, FIRST | {"jobId": "8"})
        assert watcher.wait(20) == 0
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)

    assert told == [signal.SIGUSR1, signal.SIGUSR2]


def test_the_watcher_tells_the_batch_shell_of_a_later_attempt(tmp_path: Path) -> None:
    claim.take(str(tmp_path), 1, FIRST)
    (tmp_path / "own").write_text(json.dumps(FIRST))
    told: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: told.append(number))
    try:
        watcher = subprocess.Popen(
            words("watch", str(tmp_path), "1", f"{tmp_path}/own", str(os.getpid()), "300", "0.05"),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        )
        time.sleep(0.3)
        assert watcher.poll() is None
        claim.take(str(tmp_path), 2, FIRST | {"jobId": "8"})
        assert watcher.wait(20) == 0
    finally:
        signal.signal(signal.SIGUSR2, before)

    assert told == [signal.SIGUSR2]
