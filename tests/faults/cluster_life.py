"""What happens between the operator and the site, and to the operator's cluster: how each is done, and undone.

Each tells whom it struck, `""` where there was nobody to strike, and notes what that excuses.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from faults import gates
from faults.events import Happening, Row
from faults.history import What
from faults.life import Life, told
from faults.stage import Object
from passerelle_sandbox import deploy, ports
from passerelle_sandbox.control_plane import backup
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.config import DATABASE_SOCKET

CLOCKS = Path(__file__).parent / "clocks"
OTHER_USER = "nobody"
"""Another user whom the site knows: a valid token of another identity."""
OTHER_CLUSTER = "other"
SUBMITTED_SECONDS = 30
_ROWS = """\
REPLACE INTO {other}_job_table SELECT * FROM {mine}_job_table WHERE job_name='{name}';
UPDATE {other}_job_table SET state=3, exit_code=0, time_start=time_submit, time_end=time_submit+1,
  id_assoc=(SELECT id_assoc FROM {other}_assoc_table WHERE user='{user}' LIMIT 1) WHERE job_name='{name}';
"""
"""State 3 is slurm.h's JOB_COMPLETE."""


async def clock_off(life: Life, happening: Happening) -> str:
    """The operator's clock is five minutes off the site's and kube-apiserver's, for all of its life."""
    await life.stage.mutate([CLOCKS / f"{happening.way}.py"])
    try:
        await asyncio.sleep(happening.lasts)
    finally:
        await life.stage.mutate([])
    return "all"


async def site_moved(life: Life, happening: Happening) -> str:
    """The Site's address changes under live jobs, and back: to another one of the same gateway, or to nobody's."""
    before = life.applied["Site"]
    other = await life.stage.door(life.plan)
    await other.start()
    port = other.port if happening.way == "other-address" else ports.free(1)[0]
    try:
        await life.apply(moved(before, gates.address(port)))
        await asyncio.sleep(happening.lasts)
    finally:
        await life.apply(before)
        await other.stop()
    return "all"


async def secret_changed(life: Life, happening: Happening) -> str:
    """The Site's Secret changes under live jobs, and back."""
    site = life.stage.site
    if happening.way == "other-user" and not await _all_submitted(life):
        return ""  # what is submitted meanwhile would be that user's
    async with life.scheduler:
        good = await asyncio.to_thread(site.token, 36_000)
        other = {
            "renewed": (site.user, good),
            "expired": (site.user, await asyncio.to_thread(site.token, 1)),
            "garbage": (site.user, "garbage"),
            "other-user": (OTHER_USER, await asyncio.to_thread(site.token, 600, OTHER_USER)),
        }[happening.way]
    await life.apply(deploy.credentials(life.name, *other))
    try:
        await asyncio.sleep(happening.lasts)
    finally:
        await life.apply(deploy.credentials(life.name, site.user, good))
    return "all"


async def restored(life: Life, happening: Happening) -> str:
    """etcd is as it was some seconds ago. Who was deleted since is there again, and is deleted again; and whatever of
    the Site and its Secret was changed since is applied again.
    """
    there = life.stage.there
    plane, place = there.control_plane, there.directory / f"backup-{life.name}"
    if plane is None:
        raise SandboxError("A cluster that was there before can't be restored.")
    async with life.cluster:
        await asyncio.to_thread(backup.take, plane, there.name, place)
    await asyncio.sleep(happening.lasts)
    async with life.cluster:
        await asyncio.to_thread(backup.restore, plane, there.name, place)
        await life.stage.apply(*life.applied.values())
        life.again |= {task.name for task in life.tasks if task.wanted == "deleted"}
        life.restored = True
    return "all"


async def same_name(life: Life, happening: Happening) -> str:
    """A second cluster submits under the same account, user and job name: the same script, as one that was made from
    our backup; or something else, later than ours; or it is another Slurm cluster of the same accounting.
    """
    if happening.way == "same-script":
        rows = await life.victims(happening, ("PENDING", "RUNNING"), most=2)
        for row in rows:
            await _submit_again(life, row)
    elif happening.way == "other-job":
        rows = await life.victims(happening, ("RUNNING",))
        for row in rows:
            await _submit(life, row, f"--wrap=sleep {happening.lasts + 5:.0f}")
    else:
        rows = await life.victims(happening, ("PENDING", "RUNNING"), most=3)
        for row in rows:
            await _elsewhere(life, row)
    return told(rows)


async def _submit_again(life: Life, row: Row) -> None:
    """The very script, which holds the fence."""
    path = f"/scratch/{row.job.name}.sh"
    if await life.tried("scontrol", "write", "batch_script", row.job.job_id, path):
        await life.must("chmod", "644", path)
        await _submit(life, row, path)


async def _submit(life: Life, row: Row, *what: str) -> None:
    site = life.stage.site
    asked = ("--gres=gpu:1", "--ntasks=1", "--cpus-per-task=2", "--mem=1G", "--time=10", "--no-requeue")
    about = (f"--job-name={row.job.name}", f"--account={site.account}", f"--output={life.root}/others-%j.log")
    words = ["sbatch", "--parsable", "--partition=gpu", "--export=NIL", f"--chdir={life.root}", *about, *asked, *what]
    async with life.scheduler:
        done = await asyncio.to_thread(site.run, words, site.user)
    if done.returncode != 0:
        raise SandboxError(f"sbatch: {done.stderr.strip()}")
    life.strike(Row(type(row.job)(done.stdout.strip().split(";")[0], row.job.name, "")), What.FOREIGN)


async def _elsewhere(life: Life, row: Row) -> None:
    """A job that another cluster of the same slurmdbd has completed, as its database has it."""
    site = life.stage.site
    async with life.database:
        there = await life.must("sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster")
        if OTHER_CLUSTER not in there.split():
            for words in (
                f"add cluster {OTHER_CLUSTER}",
                f"add account {site.account} cluster={OTHER_CLUSTER}",
                f"add user {site.user} account={site.account} cluster={OTHER_CLUSTER}",
            ):
                await asyncio.to_thread(site.manage, words)
    sql = _ROWS.format(mine=site.cluster, other=OTHER_CLUSTER, user=site.user, name=row.job.name)
    await life.must("mariadb", f"--socket={DATABASE_SOCKET}", "slurm_acct_db", "--execute", sql)


async def _all_submitted(life: Life) -> bool:
    """Whether every TrainingJob has a job at the site or has ended, once that is so."""
    for _ in range(SUBMITTED_SECONDS):
        async with life.cluster:
            found = json.loads(await life.stage.kubectl("-n", life.name, "get", "tj", "-o", "json"))["items"]
        if all(_has_job(each.get("status", {})) for each in found):
            return True
        await asyncio.sleep(1)
    return False


def _has_job(status: dict[str, Any]) -> bool:
    attempts = status.get("attempts") or [{}]
    return bool(attempts[-1].get("jobId"))


def moved(site: Object, url: str) -> Object:
    """This Site, whose gateway is at this URL."""
    spec = site["spec"]
    return {**site, "spec": {**spec, "gateway": {**spec["gateway"], "url": url}}}
