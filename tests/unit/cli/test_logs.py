"""`passerelle logs`, against a cluster of plain objects and a site in memory."""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from passerelle.cli import cluster, main
from passerelle.cli.logs import _period
from passerelle.errors import Unavailable
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.kube import REFUSED, Gone
from passerelle.objects import Key
from passerelle.slurm import RemoteJob
from passerelle.v1alpha1.site import SiteSpec
from site_api import SiteApi

LOG = "/scratch/runs/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-2-41.log"
FIRST_LOG = "/scratch/runs/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-1-40.log"
ATTEMPT = {
    "number": 2,
    "marker": "psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-2",
    "cluster": "lumi",
    "user": "startup",
    "runDirectory": "/scratch/runs/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "scriptDigest": "0" * 64,
    "jobId": "41",
    "logPath": LOG,
}
JOB: dict[str, Any] = {
    "metadata": {
        "namespace": "team",
        "name": "llm",
        "uid": "8a3c2b40-7d5f-4f0e-9c39-4b7b1d6c2a11",
        "resourceVersion": "1",
    },
    "spec": {"site": "lumi"},
    "status": {"attempts": [{**ATTEMPT, "number": 1, "jobId": "40", "logPath": FIRST_LOG}, ATTEMPT]},
}
SITE: dict[str, Any] = {
    "metadata": {"name": "lumi", "uid": "5", "resourceVersion": "1"},
    "spec": {
        "profile": "lumi-g",
        "gateway": {"driver": "slurmrestd", "url": "https://slurm.example.eu", "credentials": {"name": "lumi"}},
        "runRoot": "/scratch/runs",
    },
}


class Api(SiteApi):
    """With one TrainingJob, too."""

    def __init__(self) -> None:
        super().__init__(SITE)
        self.job = copy.deepcopy(JOB)
        self.asked = 0
        self.ends_after: int | None = None

    async def default_namespace(self) -> str:
        return "team"

    async def trainingjob(self, key: Key) -> dict[str, Any]:
        if str(key) != "team/llm":
            raise Gone
        self.asked += 1
        if self.ends_after is not None and self.asked > self.ends_after:
            self.job["status"]["attempts"][1]["endTime"] = "2026-01-01T00:00:00Z"
        return self.job


class NoFiles:
    """Every method of Gateway that a command may call, and none of Files."""

    async def close(self) -> None:
        return


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    found = Api()
    found.connect(monkeypatch)
    return found


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Memory:
    gateway = Memory(clock=lambda: 0.0, user="startup", cluster="lumi")
    monkeypatch.setattr(cluster, "open_gateway", lambda *_: gateway)
    monkeypatch.setattr("passerelle.cli.logs.LEAST_PAUSE", 0.0)
    monkeypatch.setattr("passerelle.cli.logs._period", lambda _: 0.0)
    return gateway


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    told = capsys.readouterr()
    code = ended.value.code
    assert "Traceback" not in told.err
    assert "hush" not in told.out + told.err
    return (code if isinstance(code, int) else 0), told.out, told.err


def test_the_end_of_the_newest_log_is_shown(api: Api, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    site.files[LOG] = File("".join(f"0: Schritt {number} läuft\n" for number in range(500)).encode())

    code, out, err = said(capsys, "logs", "llm", "--tail", "3")

    assert (code, err) == (0, "")
    assert out == "0: Schritt 497 läuft\n0: Schritt 498 läuft\n0: Schritt 499 läuft\n"


@pytest.mark.parametrize("refused", [False, True])
def test_its_job_is_asked_for_first_for_some_doors_find_the_log_by_it(
    api: Api, site: Memory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    site.files[FIRST_LOG] = File(b"0: out of memory\n")
    asked: list[object] = []
    read = Memory.read

    async def get(_: Memory, job_ids: Collection[str]) -> Sequence[RemoteJob]:
        asked.append(list(job_ids))
        if refused:
            raise Unavailable("It is gone.")
        return []

    async def noted(self: Memory, path: str, offset: int, length: int) -> bytes:
        asked.append(path)
        return await read(self, path, offset, length)

    monkeypatch.setattr(Memory, "get", get)
    monkeypatch.setattr(Memory, "read", noted)
    assert said(capsys, "logs", "llm", "--attempt", "1") == (0, "0: out of memory\n", "")
    assert asked[:2] == [["40"], FIRST_LOG]


@pytest.mark.parametrize(
    "spec,seconds",
    [
        ({"profile": "lumi-g"}, 120),
        ({"profile": "leonardo-booster", "pollingPeriod": "90s"}, 90),
        ({"profile": "our-own-image-has-it", "pollingPeriod": "5s"}, 30),
    ],
)
def test_a_log_is_followed_at_the_machine_s_pace(spec: dict[str, str], seconds: float) -> None:
    base = {"gateway": {"driver": "ssh", "url": "ssh://login", "credentials": {"name": "x"}}, "runRoot": "/scratch"}

    assert _period(SiteSpec.model_validate(base | spec)) == seconds


def test_an_earlier_attempt_is_shown_by_its_number(api: Api, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    site.files[FIRST_LOG] = File(b"0: out of memory\n")

    assert said(capsys, "logs", "llm", "--attempt", "1") == (0, "0: out of memory\n", "")
    code, _, err = said(capsys, "logs", "llm", "--attempt", "7")
    assert (code, "write one of 1, 2" in err) == (2, True)


def test_following_ends_with_the_attempt_and_shows_all(
    api: Api, site: Memory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "a\nzwei é drei\nthe end\n".encode()
    site.files[LOG] = File(whole[:9])
    api.ends_after = 6
    reads = Memory.size

    async def growing(self: Memory, path: str) -> int | None:
        grown = len(self.files[LOG].content) + 2
        self.files[LOG] = File(whole[:grown])
        return await reads(self, path)

    monkeypatch.setattr(Memory, "size", growing)

    code, out, _ = said(capsys, "logs", "llm", "-f", "--tail", "10")

    assert code == 0
    assert whole.decode().startswith(out)
    assert "zwei é drei" in out
    assert api.asked == 7


def test_a_log_that_is_not_written_yet_is_waited_for(
    api: Api, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    api.ends_after = 3

    code, out, err = said(capsys, "logs", "llm", "-f")
    once, _, why = said(capsys, "logs", "llm")

    assert (code, out) == (0, "")
    assert "has written no log yet" in err
    assert (once, f"there is no {LOG} at the site" in why) == (2, True)


@pytest.mark.parametrize("more", [(), ("-f",)])
def test_a_log_that_the_site_shows_to_another_alone_is_not_told_as_unwritten(
    more: tuple[str, ...], api: Api, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    site.cluster = "leonardo"

    code, out, err = said(capsys, "logs", "llm", *more)

    assert (code, out) == (2, "")
    assert "Attempt 2 is of startup on cluster lumi, and Site lumi leads to cluster leonardo as startup now" in err
    assert f"read {LOG} at the site" in err
    assert "no log yet" not in err


def test_a_door_without_files_tells_where_the_log_is(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "open_gateway", lambda *_: NoFiles())
    api.job["status"]["conditions"] = [
        {
            "type": "Succeeded",
            "status": "False",
            "reason": "Failed",
            "message": "rank 3 exited with code 1: ValueError",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]

    code, _, err = said(capsys, "logs", "llm")

    assert code == 2
    assert f"is {LOG} at the site" in err
    assert "rank 3 exited with code 1: ValueError" in err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("nothing",), "There is no TrainingJob nothing in namespace team"),
        (("llm", "-n", "other"), "There is no TrainingJob llm in namespace other"),
    ],
)
def test_what_is_not_there_is_named(
    words: tuple[str, ...], sentence: str, api: Api, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "logs", *words)

    assert (code, sentence in err) == (2, True)


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (Gone(), 2, "--operator-namespace"),
        (Unavailable("403", reason=REFUSED), 2, "You may not read the Secret passerelle-system/lumi"),
        (Unavailable("kube-apiserver is away."), 3, "kube-apiserver is away."),
    ],
)
def test_a_credential_that_can_not_be_read_is_explained(
    error: Exception, code: int, sentence: str, api: Api, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    api.secret_error = error

    found, _, err = said(capsys, "logs", "llm")

    assert (found, sentence in err) == (code, True)


def test_an_attempt_that_is_not_at_the_site_has_no_log(
    api: Api, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    api.job["status"]["attempts"] = []

    code, _, err = said(capsys, "logs", "llm")

    assert (code, "has no attempt yet" in err) == (2, True)


def test_a_site_that_is_gone_is_named(api: Api, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    api.job["spec"]["site"] = "gone"

    code, _, err = said(capsys, "logs", "llm")

    assert (code, "There is no Site gone" in err) == (2, True)


def test_the_screen_is_flushed_as_text_comes(api: Api, site: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files[LOG] = File(b"now\n")
    flushed = []
    monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(True))

    with pytest.raises(SystemExit):
        main(["logs", "llm"])

    assert flushed
