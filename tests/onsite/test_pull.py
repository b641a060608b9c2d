"""What a pull that failed says of the image, and what of the site; and that none is waited for without end."""

import base64
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from passerelle.onsite import pull
from passerelle.onsite.codes import IMAGE_NOT_FOUND, SITE_FAULT
from passerelle.plan import PULL_SECONDS
from passerelle.script import _spec
from plans import SOURCE, job, planned


@pytest.mark.parametrize(
    "said,code",
    [
        ("reading manifest sha256:12: manifest unknown", IMAGE_NOT_FOUND),
        ("NAME UNKNOWN: repository name not known to registry", IMAGE_NOT_FOUND),
        ("denied: requested access to the resource is denied", IMAGE_NOT_FOUND),
        ("reading manifest: unauthorized: authentication required", IMAGE_NOT_FOUND),
        ("unexpected status code 404", IMAGE_NOT_FOUND),
        ("received unexpected HTTP status: 404 Not Found", IMAGE_NOT_FOUND),
        ("mkdir /tmp/build: permission denied", SITE_FAULT),
        ('exec: "mksquashfs": executable file not found in $PATH', SITE_FAULT),
        ("connection reset by peer", SITE_FAULT),
    ],
)
def test_only_a_registrys_own_words_make_an_image_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:
    binary = tmp_path / "apptainer"
    binary.write_text(f"#!{sys.executable}\nprint({said!r})\nraise SystemExit(255)\n")
    binary.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setattr(pull, "report", lambda _, code=SITE_FAULT: code)

    container = {"image": f"{tmp_path}/a.sif", "binary": str(binary), "pull": "docker://a"}
    assert pull.pull(container, time.monotonic() + 60) == code


def test_neither_password_nor_what_http_makes_of_it_is_told() -> None:
    basic = base64.b64encode(b"alice:c4n4ry").decode()
    said = f"GET /v2/ Authorization: Basic {basic}: alice c4n4ry is wrong; also {basic.rstrip('=')}"

    assert pull._redacted(said, ["alice", "c4n4ry"]) == (
        "GET /v2/ Authorization: Basic [password]: alice [password] is wrong; also [password]"
    )
    assert pull._redacted("manifest unknown", ["alice", ""]) == "manifest unknown"
    assert pull._redacted("manifest unknown", []) == "manifest unknown"


@pytest.mark.parametrize("limit,seconds", [("1h", PULL_SECONDS), ("32m", 1800), ("30m", 28 * 60), ("3m", 90)])
def test_an_image_may_take_half_an_hour_and_less_than_the_time_limit(limit: str, seconds: int) -> None:
    container = _spec(planned(job(image="quay.io/team/train:1", timeLimit=limit)), None)["container"]

    assert container["pullSeconds"] == seconds < 1801


class Pulling:
    """Jobs that want the same image of a registry that says something, and then hangs."""

    def __init__(self, place: Path, seconds: float) -> None:
        self.place = place
        self.image = place / "images" / "train.sif"
        binary = place / "apptainer"
        binary.write_text(f'#!/bin/sh\necho connecting\necho x > "$3"\nsleep 600 &\necho $! > {place}/child\nwait\n')
        binary.chmod(0o755)
        container = {"image": str(self.image), "binary": str(binary), "pull": "docker://r/x", "pullSeconds": seconds}
        (place / "spec.json").write_text(json.dumps({"container": container}))

    def run(self) -> tuple[int, str]:
        """The step of a job, to its end."""
        code = (
            "import sys; from passerelle.onsite import pull\n"
            "pull.report = lambda text, code=212: (pull.tell(text), code)[1]\n"
            "sys.exit(pull.main(sys.argv[1:]))"
        )
        environ = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "SLURM_JOB_ID": "41"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(self.place / "spec.json")],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    def child_is_gone(self) -> bool:
        """Whether what the pull had started has ended."""
        try:
            stat = Path(f"/proc/{(self.place / 'child').read_text().strip()}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"


def test_a_pull_that_hangs_is_ended_with_all_that_it_started_and_says_so(tmp_path: Path) -> None:
    pulling = Pulling(tmp_path, 1)

    code, said = pulling.run()

    assert code == SITE_FAULT
    assert "docker://r/x can't be pulled: it did not come within 1 s." in said
    assert "connecting" in said, "what was heard of it helps whoever looks"
    assert sorted(file.name for file in pulling.image.parent.iterdir()) == ["train.sif.lock"]
    deadline = time.monotonic() + 10
    while not pulling.child_is_gone():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def lock_of_another(tmp_path: Path) -> Iterator[Path]:
    """The lock of the image, which another job holds; it lets go of it once the file that is told is gone."""
    (tmp_path / "images").mkdir()
    held = tmp_path / "held"
    code = (
        "import fcntl, os, sys, time\n"
        "lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); open(sys.argv[2], 'w').close()\n"
        "while os.path.exists(sys.argv[2]): time.sleep(0.05)\n"
    )
    lock = tmp_path / "images" / "train.sif.lock"
    with subprocess.Popen([sys.executable, "-c", code, str(lock), str(held)]) as holder:
        while not held.exists():
            time.sleep(0.02)
        yield held
        holder.kill()


def test_a_job_does_not_wait_without_end_for_anothers_pull(tmp_path: Path, lock_of_another: Path) -> None:
    code, said = Pulling(tmp_path, 1).run()

    assert code == SITE_FAULT
    assert "docker://r/x can't be pulled: another job that pulls it did not end within 1 s." in said


def test_a_job_that_waited_takes_what_the_other_has_made(tmp_path: Path, lock_of_another: Path) -> None:
    pulling = Pulling(tmp_path, 20)
    pulling.image.touch()
    lock_of_another.unlink()

    assert pulling.run() == (0, "")


def test_where_there_are_no_locks_it_is_pulled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "lockf", refused)
    with (tmp_path / "a.lock").open("w") as held:
        assert pull._locked(held, "a", time.monotonic())

    assert "a.lock can't be locked: Operation not supported" in capfd.readouterr().err
