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
from plans import SOURCE, job, planned, profile
from stubs import wait_for


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


def disks(name: str) -> list[list[str]]:
    """Where a site's nodes may unpack an image, as the job is told."""
    facts = profile(name)
    facts = facts.model_copy(update={"egress": facts.egress.model_copy(update={"compute": True})})
    told = _spec(planned(job(image="quay.io/team/train:1"), facts=facts), None)["container"]
    return [list(each) for each in told.get("disks", [])]


def test_only_a_disk_of_the_node_that_is_no_memory_is_one_on_which_an_image_is_unpacked() -> None:
    assert disks("marenostrum5-acc") == [["TMPDIR", ""]]
    assert disks("leonardo-booster") == disks("lumi-g") == [], "their /tmp is memory"
    assert disks("vega-gpu") == [], "it tells of a disk, and not where"


class Pulling:
    """Jobs that want the same image of a registry that says something, and then hangs."""

    def __init__(self, place: Path, seconds: float, then: str = "sleep 600 &\necho $! > {place}/child\nwait") -> None:
        self.place = place
        self.image = place / "images" / "train.sif"
        binary = place / "apptainer"
        unpacks = 'mkdir "$APPTAINER_TMPDIR/rootfs" && touch "$APPTAINER_TMPDIR/rootfs/x"'
        told = f'echo connecting\n{unpacks}\necho "$APPTAINER_TMPDIR" > {place}/unpacked\necho x > "$3"\n'
        binary.write_text(f"#!/bin/sh\n{told}{then.format(place=place)}\n")
        binary.chmod(0o755)
        container: dict[str, object] = {"image": str(self.image), "binary": str(binary), "pull": "docker://r/x"}
        container["pullSeconds"] = seconds
        container["disks"] = [["NODE_DISK", str(place / "disk")]]
        (place / "spec.json").write_text(json.dumps({"container": container}))

    def start(self, room: int = 2**80, locks: bool = True, **more: str) -> "subprocess.Popen[str]":
        """The step of a job, where a node's disk must have so much room."""
        code = (
            "import sys; from passerelle.onsite import pull\n"
            f"pull._ROOM_BYTES = {room}\n"
            "pull.report = lambda text, code=212: (pull.tell(text), code)[1]\n"
            f"{'' if locks else 'pull._locked = lambda *_: pull._NONE'}\n"
            "sys.exit(pull.main(sys.argv[1:]))"
        )
        own = {"SLURM_JOB_ID": "41", "SLURM_CLUSTER_NAME": "lumi"}
        return subprocess.Popen(
            [sys.executable, "-c", code, str(self.place / "spec.json")],
            env={"PYTHONPATH": str(SOURCE), "PATH": f"{self.place}/bin:{os.environ['PATH']}"} | own | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, room: int = 2**80, locks: bool = True, **more: str) -> tuple[int, str]:
        """The step to its end."""
        with self.start(room, locks, **more) as step:
            said, _ = step.communicate(timeout=30)
        return step.returncode, said

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


def left(pulling: Pulling) -> list[str]:
    return sorted(file.name for file in pulling.image.parent.iterdir())


def test_a_pull_whose_job_is_cancelled_is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    pulling = Pulling(tmp_path, 600)
    with pulling.start() as step:
        wait_for(tmp_path / "child")
        step.terminate()
        step.terminate()
        said, _ = step.communicate(timeout=20)

    assert step.returncode == 143, said
    assert "Traceback" not in said
    assert left(pulling) == ["train.sif.lock"]
    deadline = time.monotonic() + 10
    while not pulling.child_is_gone():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_that_waits_for_anothers_pull_leaves_when_it_is_cancelled(tmp_path: Path, lock_of_another: Path) -> None:
    with Pulling(tmp_path, 600).start() as step:
        time.sleep(1)
        step.terminate()

        assert step.wait(20) == 143


@pytest.mark.parametrize("own", ["variable", "path"])
def test_an_image_is_unpacked_on_the_nodes_own_disk(tmp_path: Path, own: str) -> None:
    disk = tmp_path / ("disk" if own == "path" else "of-this-job")
    disk.mkdir()
    pulling = Pulling(tmp_path, 600, "exit 0")

    code, said = pulling.run(0, NODE_DISK=str(disk) if own == "variable" else "")

    assert code == 0, said
    assert Path((tmp_path / "unpacked").read_text().strip()).parent == disk
    assert list(disk.iterdir()) == []
    assert left(pulling) == ["train.sif", "train.sif.lock"]


@pytest.mark.parametrize("room", [0, 2**80], ids=["no disk", "no room"])
def test_without_room_on_a_nodes_disk_an_image_is_unpacked_beside_its_place(tmp_path: Path, room: int) -> None:
    if room:
        (tmp_path / "disk").mkdir()
    pulling = Pulling(tmp_path, 600, "exit 0")

    assert pulling.run(room)[0] == 0
    assert Path((tmp_path / "unpacked").read_text().strip()).parent == pulling.image.parent
    assert left(pulling) == ["train.sif", "train.sif.lock"]


LEFT = {
    "train.sif.lumi-7.work": "JobId=7 JobState=CANCELLED Restarts=0",
    "train.sif.lumi-8.new": "slurm_load_jobs error: Invalid job id specified",
    "train.sif.lumi-9.work": "JobId=9 JobState=RUNNING Restarts=0",
    "train.sif.lumi-10.work": "slurm_load_jobs error: Unable to contact slurm controller",
    "train.sif.lumi-11.new": "JobId=11 JobState=PENDING Restarts=1",
    "train.sif.leonardo-7.work": "",
    "other.sif.lumi-7.work": "",
}
"""What jobs have left, and what is said of them."""
NOBODYS = ("train.sif.lumi-7.work", "train.sif.lumi-8.new")


def leave(pulling: Pulling) -> None:
    pulling.image.parent.mkdir()
    for name, said in LEFT.items():
        path = pulling.image.parent / name
        if name.endswith(".work"):
            (path / "cache").mkdir(parents=True)
            (path / "cache" / "x").touch()
        else:
            path.touch()
        if said:
            job = name.split("-")[1].split(".")[0]
            (pulling.place / f"job-{job}").write_text(said)
    tool = pulling.place / "bin" / "scontrol"
    tool.parent.mkdir()
    answer = 'cat "$0.d/job-$4" | tee /dev/stderr | grep -q JobState'
    tool.write_text(f"#!/bin/sh\n{answer}\n".replace("$0.d", str(pulling.place)))
    tool.chmod(0o755)


def test_who_pulls_removes_what_killed_pulls_have_left_and_nothing_else(tmp_path: Path) -> None:
    gone = " || ".join(f"[ -e {tmp_path}/images/{name} ]" for name in NOBODYS)
    pulling = Pulling(tmp_path, 20, f"while {gone}; do sleep 0.05; done")
    leave(pulling)

    code, said = pulling.run()

    assert code == 0, said
    assert left(pulling) == sorted([*(set(LEFT) - set(NOBODYS)), "train.sif", "train.sif.lock"])


def test_without_a_lock_nothing_of_others_is_removed(tmp_path: Path) -> None:
    pulling = Pulling(tmp_path, 20, "sleep 1")
    leave(pulling)

    code, said = pulling.run(locks=False)

    assert code == 0, said
    assert set(LEFT) <= set(left(pulling))


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
