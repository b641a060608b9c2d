"""The way of secrets at the site, in the real script: taken once, given to trainers alone, gone when the job ends."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from passerelle.batch import Batch
from passerelle.brought import Brought, Sealed
from passerelle.onsite.codes import SITE_FAULT
from passerelle.parcels import Parcel, payload, sealed
from passerelle.plan import Plan
from passerelle.progress import parse_comment
from passerelle.registry import Login
from passerelle.render import packed, render
from plans import job, planned, profile, site
from stubs import TELL, Stubs, attempt_directory, wait_for

CANARY = "c4n4ry-v4lue 'quoted' $HOME\nsecond line é"
FOLDER = "/workspace/keys"
SECRETS = Sealed(variables={"WANDB_API_KEY": CANARY, "RANK_": "x"}, files=((f"{FOLDER}/token", CANARY.encode()),))

LOOK = """\
import json, os
here = os.environ["PASSERELLE_ATTEMPT_DIR"]
path = here + "/files/0/keys/token"
told = [open(path).read(), oct(os.stat(path).st_mode & 0o777), dict(os.environ)]
with open(here + "/told-" + os.environ["RANK"], "w") as file:
    json.dump(told, file)
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def plan_of(stubs: Stubs, code: str = LOOK, **more: Any) -> Plan:
    base = {"image": str(stubs.image), "command": [sys.executable, "-c", code], "gpus": 4, "gpusPerNode": 2}
    brought = Brought(files=(("/workspace/x.py", b"x"),), sealed=SECRETS, sealed_folders=(FOLDER,))
    return planned(job(**base | more), site(runRoot=str(stubs.root), progressPeriod="1s"), brought=brought)


def delivered(parcel: Parcel) -> Path:
    path = Path(parcel.path)
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(parcel.content)
    path.chmod(parcel.mode)
    return path


def sent(stubs: Stubs, **more: Any) -> tuple[Batch, Path]:
    """The batch, and the file that lies beside it at the site."""
    plan = plan_of(stubs, **more)
    return render(plan), delivered(sealed(plan, SECRETS))


def everything(stubs: Stubs) -> str:
    """All that is left of a job: names and contents of its files, what its tools were asked."""
    left = [path for path in stubs.place.parent.rglob("*") if path.is_file() and "told-" not in path.name]
    return "\n".join(f"{path}: {path.read_bytes().decode('utf-8', 'replace')}" for path in left)


@pytest.mark.parametrize("facts", ["sandbox", "sandbox-bare"])
def test_every_trainer_gets_the_variables_and_nothing_else_has_them(stubs: Stubs, facts: str) -> None:
    plan = planned(
        job(image=str(stubs.image), command=[sys.executable, "-c", TELL], gpus=4, gpusPerNode=2),
        site(runRoot=str(stubs.root)),
        profile(facts, gpus_per_node=2),
        brought=Brought(sealed=Sealed(variables=SECRETS.variables)),
    )
    delivered(sealed(plan, Sealed(variables=SECRETS.variables)))

    done = stubs.run(render(plan))

    assert done.returncode == 0, done.stdout
    here = attempt_directory(stubs)
    for rank in range(4):
        _, environ, _ = json.loads((here / f"told-{rank}").read_text(encoding="utf-8"))
        assert environ["WANDB_API_KEY"] == CANARY
        assert environ["RANK"] == str(rank)
        assert "PASSERELLE_SEALED" not in environ
    assert "c4n4ry" not in done.stdout + everything(stubs)


def test_a_secret_s_files_are_there_for_the_trainer_alone_and_gone_at_the_end(stubs: Stubs) -> None:
    batch, beside = sent(stubs)

    done = stubs.run(batch)

    assert done.returncode == 0, done.stdout
    here = attempt_directory(stubs)
    content, mode, environ = json.loads((here / "told-0").read_text(encoding="utf-8"))
    assert (content, mode, environ["WANDB_API_KEY"]) == (CANARY, "0o600", CANARY)
    assert not beside.exists()
    assert not (here / "files" / "0" / "keys").exists()
    assert (here / "files" / "0" / "x.py").exists()
    assert f"{here}/files/0:/workspace:ro" in "".join(stubs.asked("entered"))
    assert "c4n4ry" not in done.stdout + everything(stubs)


def test_nothing_is_left_of_a_job_that_is_cancelled(stubs: Stubs) -> None:
    batch, beside = sent(stubs, code="import os, time; open('began', 'w').close(); time.sleep(60)")
    process = stubs.start(batch)
    wait_for(beside.parent / "attempt-1-41-0" / "work" / "began")
    assert (attempt_directory(stubs) / "files" / "0" / "keys" / "token").exists()

    stubs.end_job(process)
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 143, said
    assert not beside.exists()
    assert "c4n4ry" not in said + everything(stubs)


def test_a_script_of_the_user_s_own_gets_the_variables(stubs: Stubs) -> None:
    text = (
        '#!/bin/bash\nprintf %s "$WANDB_API_KEY" > "$PASSERELLE_ATTEMPT_DIR/told-0"\nenv | grep -c ^PASSERELLE_SEALED'
    )
    only = Sealed(variables=SECRETS.variables)
    spec = job(image=str(stubs.image), launcher="script", command=["/w/job.sh"])
    brought = Brought(files=(("/w/job.sh", text.encode()),), sealed=only)
    plan = planned(spec, site(runRoot=str(stubs.root)), brought=brought)
    delivered(sealed(plan, only))

    done = stubs.run(render(plan))

    assert done.returncode == 1, done.stdout  # grep has found none
    assert (attempt_directory(stubs) / "told-0").read_text(encoding="utf-8") == CANARY
    assert "c4n4ry" not in done.stdout + everything(stubs)


def test_a_requeued_life_ends_as_the_site_s_fault(stubs: Stubs) -> None:
    batch, _ = sent(stubs)
    assert stubs.run(batch).returncode == 0

    done = stubs.run(batch, SLURM_RESTART_COUNT="1")

    assert done.returncode == SITE_FAULT, done.stdout
    told = parse_comment(stubs.comments()[-1])
    assert told.stderr == (
        "The job was started again, and its secrets went to its first start: only another attempt brings them."
    )
    assert told.exit is not None
    assert told.exit.code == SITE_FAULT
    assert not list(stubs.root.glob("psr-*/attempt-1-41-1/told-*"))


def test_without_its_secrets_no_job_begins(stubs: Stubs) -> None:
    batch, beside = sent(stubs)
    beside.unlink()

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert parse_comment(stubs.comments()[-1]).stderr == f"There is no file with the job's secrets at {beside}."


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_file_that_others_could_read_or_write_is_not_taken(stubs: Stubs, mode: int) -> None:
    batch, beside = sent(stubs)
    beside.chmod(mode)

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert "by others than the job's user" in parse_comment(stubs.comments()[-1]).stderr
    assert not beside.exists()


@pytest.mark.parametrize("content", [b"\n", b"[]", b'{"marker": "psr-other", "variables": {}, "files": []}', b"\xff"])
def test_a_file_of_something_else_is_not_taken(stubs: Stubs, content: bytes) -> None:
    batch, beside = sent(stubs)
    beside.write_bytes(content)

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert "does not hold the secrets of this attempt" in parse_comment(stubs.comments()[-1]).stderr


def test_a_link_in_the_place_of_the_file_is_not_followed(stubs: Stubs) -> None:
    batch, beside = sent(stubs)
    elsewhere = stubs.root / "elsewhere"
    beside.rename(elsewhere)
    beside.symlink_to(elsewhere)

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert elsewhere.exists()


def test_a_duplicate_leaves_the_secrets_to_the_attempt(stubs: Stubs) -> None:
    batch, beside = sent(stubs)
    claim = beside.parent / "claim-1"
    claim.mkdir()
    (claim / "owner.json").write_text(json.dumps({"cluster": "lumi", "jobId": "40", "restartCount": 0}))

    stubs.run(batch)

    assert beside.exists()


def test_the_login_of_a_registry_reaches_the_pull_alone(stubs: Stubs) -> None:
    secrets = Sealed(variables={"A": "1"}, login=Login("alice", CANARY))
    spec = job(image="ghcr.io/lab/train:7", command=[sys.executable, "-c", TELL], gpus=1)
    plan = planned(spec, site(runRoot=str(stubs.root)), brought=Brought(sealed=secrets))
    delivered(sealed(plan, secrets))

    done = stubs.run(render(plan))

    assert done.returncode == 0, done.stdout
    assert stubs.asked("logins") == [f"alice {len(CANARY)}"]
    _, environ, _ = json.loads((attempt_directory(stubs) / "told-0").read_text(encoding="utf-8"))
    assert environ["A"] == "1"
    assert [name for name in environ if "DOCKER" in name or "LOGIN" in name] == []
    assert "c4n4ry" not in done.stdout + everything(stubs) + json.dumps(environ)


def test_a_registry_that_repeats_the_password_tells_it_to_nobody(stubs: Stubs) -> None:
    secrets = Sealed(login=Login("alice", "c4n4ry-v4lue"))
    spec = job(image="ghcr.io/lab/train:7", command=["true"], gpus=1)
    plan = planned(spec, site(runRoot=str(stubs.root)), brought=Brought(sealed=secrets))
    delivered(sealed(plan, secrets))
    (stubs.place / "registry-says").write_text("invalid username/password: alice c4n4ry-v4lue")

    done = stubs.run(render(plan))
    (stubs.place / "registry-says").unlink()

    assert done.returncode != 0
    assert "alice [password]" in done.stdout
    assert "c4n4ry" not in done.stdout + everything(stubs)


def large(stubs: Stubs) -> tuple[Batch, Path]:
    """A batch whose files lie beside its script."""
    files = (("/workspace/data.bin", os.urandom(100_000)), ("/workspace/sub/x.py", b"print('x')\n"))
    code = (
        "import hashlib, os; here = os.environ['PASSERELLE_ATTEMPT_DIR'] + '/files/0/'; "
        "print(hashlib.sha256(open(here + 'data.bin', 'rb').read()).hexdigest(), open(here + 'sub/x.py').read())"
    )
    spec = job(image=str(stubs.image), command=[sys.executable, "-c", code], gpus=1)
    plan = planned(spec, site(runRoot=str(stubs.root)), files=files)
    batch, beside = packed(plan, carried=True)
    assert beside is not None
    assert beside == payload(plan)
    stubs.digest = hashlib.sha256(files[0][1]).hexdigest()  # type: ignore[attr-defined]
    return batch, delivered(beside.parcel)


def test_files_beside_the_script_reach_the_trainer(stubs: Stubs) -> None:
    batch, beside = large(stubs)

    done = stubs.run(batch)

    assert done.returncode == 0, done.stdout
    assert stubs.digest in done.stdout  # type: ignore[attr-defined]
    assert hashlib.sha256(beside.read_bytes()).hexdigest() in batch.script
    assert stubs.run(batch, SLURM_RESTART_COUNT="1").returncode == 0  # it is there for another start


def test_files_that_are_others_than_were_sent_are_the_site_s_fault(stubs: Stubs) -> None:
    batch, beside = large(stubs)
    beside.write_bytes(beside.read_bytes()[:-1])

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert "its SHA-256 differs" in parse_comment(stubs.comments()[-1]).stderr


def test_files_that_are_missing_are_the_site_s_fault(stubs: Stubs) -> None:
    batch, beside = large(stubs)
    beside.unlink()

    done = stubs.run(batch)

    assert done.returncode == SITE_FAULT
    assert parse_comment(stubs.comments()[-1]).stderr.startswith(f"The job's files can't be read at {beside}: No such")
