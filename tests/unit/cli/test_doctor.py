"""`passerelle sites doctor`, against a cluster of plain objects, or files, and a site in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from passerelle import flight
from passerelle.cli import main
from passerelle.errors import Unavailable
from passerelle.examination import examine
from passerelle.gateways.memory import Memory, Shape
from passerelle.gateways.surveys import Survey
from passerelle.kube import REFUSED, Gone
from site_api import SiteApi

SITE: dict[str, Any] = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "mine", "uid": "5", "resourceVersion": "1", "generation": 1},
    "spec": {
        "profile": "sandbox",
        "gateway": {"driver": "slurmrestd", "url": "http://127.0.0.1:1", "credentials": {"name": "secret"}},
        "contact": "ml-platform@example.eu",
        "runRoot": "/scratch/runs",
        "admission": [{"namespaces": ["team-a"], "accounts": ["startup"], "qos": ["normal"]}],
    },
    "status": {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Answering",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> SiteApi:
    found = SiteApi(SITE)
    found.connect(monkeypatch)
    return found


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Memory:
    gateway = Memory(clock=lambda: 0.0, shape=Shape(gpus_per_node=4))
    assert examine.__kwdefaults__ is not None
    monkeypatch.setitem(examine.__kwdefaults__, "opener", lambda *_: gateway)
    monkeypatch.setitem(examine.__kwdefaults__, "now", lambda: 0.0)
    return gateway


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets" / "secret").mkdir(parents=True)
    (tmp_path / "secrets" / "secret" / "username").write_text("startup")
    (tmp_path / "secrets" / "secret" / "token").write_text("hush")
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["sites", "doctor", *words])
    told = capsys.readouterr()
    code = ended.value.code
    assert "Traceback" not in told.err
    assert "hush" not in told.out + told.err
    return (code if isinstance(code, int) else 0), told.out, told.err


def test_a_site_that_is_well(api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "mine")

    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()[:-1]} == {"ok"}
    assert out.splitlines()[-1] == "Site mine: ready for TrainingJobs"


def test_what_only_a_job_can_tell_is_not_called_ready(
    api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def survey(_: Memory) -> Survey:
        return Survey()

    monkeypatch.setattr(Memory, "survey", survey)
    monkeypatch.setattr(flight, "LOOK_SECONDS", 0.0)
    times = iter(range(1000))
    site.clock = lambda: float(next(times))

    code, out, _ = said(capsys, "mine")
    sent, after, _ = said(capsys, "mine", "--canary", "--yes")

    assert (code, out.splitlines()[-1]) == (
        0,
        "Site mine: nothing wrong found; only a job can tell: accounts, qos, partition (--canary sends one)",
    )
    assert (sent, after.splitlines()[-1]) == (0, "Site mine: ready for TrainingJobs, 1 warning")


def test_what_is_wrong_is_an_exit_code(api: SiteApi, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "mine")

    assert code == 1
    assert "wrong   address    Unreachable: The gateway can't be reached at 127.0.0.1:1" in out
    assert out.splitlines()[-1] == "Site mine: 1 thing to put right"


def test_a_warning_is_none(api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    api.site_body["spec"]["suspend"] = True

    code, out, _ = said(capsys, "mine")

    assert code == 0
    assert out.splitlines()[-1] == "Site mine: ready for TrainingJobs, 1 warning"


def test_a_file_needs_no_cluster(folder: Path, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    file = ("--file", str(folder / "site.yaml"))
    code, out, _ = said(capsys, *file, "--secret-dir", str(folder / "secrets"))
    without, _, why = said(capsys, *file)
    other, _, there = said(capsys, "other", *file, "--secret-dir", str(folder / "secrets"))

    assert (code, out.splitlines()[-1]) == (0, "Site mine: ready for TrainingJobs")
    assert (without, "--secret-dir" in why) == (2, True)
    assert (other, "holds the Sites mine" in there) == (2, True)


@pytest.mark.parametrize("words, sentence", [((), "Name a Site"), (("gone",), "There is no Site gone")])
def test_a_site_must_be_named(
    words: tuple[str, ...], sentence: str, api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, *words)

    assert (code, sentence in err) == (2, True)


def test_a_spec_that_does_not_fit_is_named(api: SiteApi, capsys: pytest.CaptureFixture[str]) -> None:
    del api.site_body["spec"]["runRoot"]

    code, _, err = said(capsys, "mine")

    assert (code, "spec.runRoot is missing; write it" in err) == (2, True)


def test_a_cluster_that_does_not_answer(api: SiteApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.trouble = Unavailable("kube-apiserver can't be asked.", reason="KubernetesUnavailable")

    code, _, err = said(capsys, "mine")

    assert (code, "kube-apiserver can't be asked" in err) == (3, True)


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (Gone(), 1, "SecretMissing: The Secret passerelle-system/secret does not exist"),
        (Unavailable("403", reason=REFUSED), 2, "You may not read the Secret passerelle-system/secret"),
        (Unavailable("kube-apiserver is away."), 3, "kube-apiserver is away."),
    ],
)
def test_a_secret_that_can_not_be_read(
    error: Exception, code: int, sentence: str, api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    api.secret_error = error

    found, out, err = said(capsys, "mine")

    assert (found, sentence in out + err) == (code, True)


def test_nothing_is_submitted_without_a_yes(api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "mine", "--canary")

    assert (code, "write --yes" in err) == (2, True)
    assert "The canary asks for 1 node with 1 GPU for at most 1 min" in err
    assert "submit" not in site.calls


def test_a_canary_is_sent_once_it_is_agreed_to(
    api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "LOOK_SECONDS", 0.0)
    times = iter(range(1000))
    site.clock = lambda: float(next(times))

    code, out, err = said(capsys, "mine", "--canary", "--yes")

    assert code == 0
    assert site.calls.count("submit") == 1
    assert "Canary: job 1000 is submitted; Ctrl-C cancels it." in err
    assert "CommentMissing" in out  # a site in memory runs no probe


def test_no_canary_is_sent_to_a_site_that_is_ill(
    api: SiteApi, site: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    api.site_body["spec"]["admission"][0]["qos"] = ["large"]

    code, out, _ = said(capsys, "mine", "--canary", "--yes")

    assert (code, "put right what is wrong first" in out) == (1, True)
    assert "submit" not in site.calls
