"""The sandbox's UNICORE: what is configured, and the protocol of its TSI, spoken over a pair of sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from passerelle_sandbox.unicore import config, jars, tsi
from passerelle_sandbox.unicore.tsi import END, Worker

PORTS = config.Ports(server=20_001, tsi=20_002, reply=20_003)


def properties() -> dict[str, str]:
    lines = config.files(PORTS, "startup", "/scratch/startup")["uas.config"].splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_version_is_pinned_in_one_place() -> None:
    assert jars.version() == "3.0.0"


def test_it_listens_on_loopback_and_calls_itself_something_else() -> None:
    """So that a client which follows the server's own addresses is found out."""
    assert properties()["container.host"] == "127.0.0.1"
    assert "127.0.0.1" not in properties()["container.externalurl"]


def test_jobs_lie_where_the_site_s_user_may_write() -> None:
    assert properties()["XNJS.filespace"].startswith("/scratch/startup/")


def test_the_user_is_known_by_login_and_account() -> None:
    files = config.files(PORTS, "startup", "/scratch/startup")

    login, _, _, name = files["users.txt"].strip().split(":")
    assert login == config.LOGIN
    assert json.loads(files["attributes.json"])[name] == {"role": "user", "xlogin": ["startup"]}
    assert config.PASSWORD not in files["users.txt"]


class Peer:
    """The server's side."""

    def __init__(self) -> None:
        (ours, theirs), (data, their_data) = socket.socketpair(), socket.socketpair()
        for each in (ours, data):
            each.settimeout(10)
        self.worker = Worker(theirs, their_data)
        self.worker.start()
        self.commands, self.data = ours.makefile("rw", encoding="utf-8", newline="\n"), data.makefile("rwb")
        self.sockets = (ours, data, theirs, their_data)

    def send(self, *lines: str) -> None:
        self.commands.write("".join(f"{line}\n" for line in (*lines, "#TSI_IDENTITY startup NONE", END)))
        self.commands.flush()

    def heard(self) -> list[str]:
        found: list[str] = []
        while (line := self.commands.readline().rstrip("\n")) != END:
            found.append(line)
        return found

    def ask(self, *lines: str) -> list[str]:
        self.send(*lines)
        return self.heard()

    def close(self) -> None:
        for each in (self.commands, self.data):
            each.close()
        for end in self.sockets[:2]:
            end.close()
        self.worker.join(10)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()
    assert not made.worker.is_alive()
    for kept in (made.worker.lines, made.worker.answers, made.worker.data, *made.sockets[2:]):
        kept.close()


def test_a_ping_tells_the_version(peer: Peer) -> None:
    assert peer.ask("#TSI_PING") == ["TSI_OK", tsi.VERSION]


def test_an_unknown_command_fails_and_the_next_one_is_heard(peer: Peer) -> None:
    assert peer.ask("#TSI_DANCE") == ["TSI_FAILED: there is no such command here"]
    assert peer.ask("#TSI_PING")[0] == "TSI_OK"


def test_a_script_s_words_and_failure_come_back(peer: Peer) -> None:
    assert peer.ask("#TSI_EXECUTESCRIPT", "echo one; echo two") == ["TSI_OK", "one", "two", ""]
    (said,) = peer.ask("#TSI_EXECUTESCRIPT", "echo why >&2; exit 3")
    assert said.startswith("TSI_FAILED")
    assert "why" in said


def test_a_file_goes_in_and_comes_out_in_pieces(peer: Peer, tmp_path: Path) -> None:
    file = tmp_path / "a file"
    for action, piece in (("0", b"abc"), ("3", b"def")):
        peer.send("#TSI_PUTFILECHUNK", f"#TSI_FILESACTION {action}", f"#TSI_FILE {file} 640", "#TSI_LENGTH 3")
        assert peer.heard() == ["TSI_OK"]
        peer.data.write(piece)
        peer.data.flush()
        assert peer.heard() == []
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"abcdef", 0o640)

    peer.send("#TSI_GETFILECHUNK", f"#TSI_FILE {file}", "#TSI_START 4", "#TSI_LENGTH 10")
    assert peer.heard() == ["TSI_OK", "TSI_LENGTH 2"]
    assert peer.data.read(2) == b"ef"
    assert peer.heard() == []


def test_a_listing_has_two_lines_for_each_entry(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "x").write_bytes(b"abc")
    os.utime(tmp_path / "x", (5, 5))

    said = peer.ask("#TSI_LS", "#TSI_LS_MODE N", f"#TSI_FILE {tmp_path}")

    assert said[:2] == ["TSI_OK", "START_LISTING"]
    assert said[-1] == "END_LISTING"
    assert said[4].split() == ["RW", "O", "3", "5", str(tmp_path / "x")]
    assert said[5].startswith("--rw")
    assert said[2].startswith(" DRWXO ")
    assert peer.ask("#TSI_LS", "#TSI_LS_MODE A", f"#TSI_FILE {tmp_path}/none") == said[:2] + said[-1:]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands: each writes down how it was called, and says what stands in a file."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, said in {
        "sbatch": "Submitted batch job 77",
        "squeue": "77 RUNNING gpu\n78 PENDING gpu\n79 SPECIAL gpu",
        "scontrol": "JobId=77 JobState=RUNNING\n   StdOut=/a=b",
        "scancel": "",
    }.items():
        (commands / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/called\nprintf '%s\\n' '{said}'\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return tmp_path


def test_a_raw_job_is_the_batch_file_and_a_line_that_runs_the_server_s_part(peer: Peer, slurm: Path) -> None:
    (slurm / "batch.sh").write_text("#!/bin/bash\n#SBATCH --nodes=2")

    said = peer.ask("#TSI_SUBMIT", "#TSI_JOB_MODE raw", "#TSI_JOB_FILE batch.sh", f"#TSI_USPACE_DIR {slurm}", "echo it")

    assert said == ["TSI_OK", "77"]
    (submitted,) = slurm.glob("bss_submit_*")
    *before, last = submitted.read_text().split("\n")[:-1]
    assert before[:2] == ["#!/bin/bash", "#SBATCH --nodes=2"]
    assert "echo it\n" in Path(last).read_text()
    assert (slurm / "called").read_text() == f"sbatch ./{submitted.name}\n"


def test_other_jobs_are_refused(peer: Peer, slurm: Path) -> None:
    assert "raw jobs only" in peer.ask("#TSI_SUBMIT", f"#TSI_USPACE_DIR {slurm}")[0]
    assert not (slurm / "called").exists()


def test_slurm_is_asked_in_the_server_s_words(peer: Peer, slurm: Path) -> None:
    assert peer.ask("#TSI_GETSTATUSLISTING") == [
        "TSI_OK", "QSTAT", " 77 RUNNING gpu RUNNING", " 78 QUEUED gpu PENDING", " 79 UNKNOWN gpu SPECIAL", "",
    ]  # fmt: skip
    details = peer.ask("#TSI_GETJOBDETAILS", "#TSI_BSSID 77")
    assert json.loads(details[1]) == {"JobId": "77", "JobState": "RUNNING", "StdOut": "/a=b"}
    assert peer.ask("#TSI_ABORTJOB", "#TSI_BSSID 77")[0] == "TSI_OK"
    assert "scancel 77" in (slurm / "called").read_text()
