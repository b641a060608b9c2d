"""What happens to the jobs and the daemons of a site: how each is done, and undone. cluster_life.py has the rest.

Each tells whom it struck, `""` where there was nobody to strike, and notes what that excuses.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from faults import accounts
from faults.events import Happening, Row, Window, forgotten
from faults.history import What
from faults.life import LOOK_AGAIN_SECONDS, Life, told
from passerelle_sandbox import processes
from passerelle_sandbox.errors import SandboxError

NODES_SECONDS = 60.0
ORPHANS_SECONDS = 30.0
PURGE_SECONDS = 90.0
QUIET_SECONDS = 0.5
"""What a call takes that was under way when its server was stopped."""
_RUNNING = ("RUNNING",)
_WAITING = ("PENDING",)


async def restarted(life: Life, happening: Happening) -> str:
    """slurmctld is away for a while, and comes back with all that it knew."""
    site = life.stage.site
    async with life.scheduler:
        frozen = happening.way == "frozen"
        await asyncio.to_thread(site.pause if frozen else site.stop, "slurmctld")
        try:
            await asyncio.sleep(happening.lasts)
        finally:
            if frozen:
                await asyncio.to_thread(site.resume, "slurmctld")
            else:
                await asyncio.to_thread(_start_scheduler, life)
    return "all"


async def state_lost(life: Life, happening: Happening) -> str:
    """slurmctld begins with empty files: it knows no job, and its ids start again."""
    site = life.stage.site
    async with life.scheduler:
        await asyncio.to_thread(site.pause, "slurmrestd")  # so that nobody submits between the look and the end
        try:
            await asyncio.sleep(QUIET_SECONDS)
            known = [row.job for row in await life.queue(accounts.ALL)]
            await asyncio.to_thread(site.stop, "slurmctld")
            rows = await life.accounted() if site.health()["slurmdbd"] == "ok" else []
            lost = forgotten(known, rows)
            life.blows += lost
            for each in (site.directory / "state").iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            await asyncio.sleep(happening.lasts)
        finally:
            await asyncio.to_thread(_start_scheduler, life)
            await asyncio.to_thread(_end_orphans, life)
            await asyncio.to_thread(_forget_credentials, life)
            await asyncio.to_thread(site.resume, "slurmrestd")
    return ", ".join(f"{blow.name}={blow.job_id}" for blow in lost) or "nobody's job"


async def database_down(life: Life, happening: Happening) -> str:
    """slurmdbd is away, while slurmctld keeps for it what it must know."""
    site = life.stage.site
    async with life.database:
        await asyncio.to_thread(site.pause if happening.way == "frozen" else site.stop, "slurmdbd")
        try:
            await asyncio.sleep(happening.lasts)
        finally:
            await asyncio.to_thread(site.resume if happening.way == "frozen" else site.start_component, "slurmdbd")
    return "all"


async def purged(life: Life, happening: Happening) -> str:
    """The operator stands still while jobs end and the scheduler forgets them."""
    conf = life.stage.site.directory / "etc" / "slurm.conf"
    kept = conf.read_text(encoding="utf-8")
    with life.stage.operators.asleep():
        before = {row.job.name for row in await _queue(life)}
        conf.write_text(re.sub(r"(?m)^MinJobAge=.*$", "MinJobAge=2", kept), encoding="utf-8")
        try:
            await life.must("scontrol", "reconfigure")
            gone = await _forgotten(life, before, time.monotonic() + PURGE_SECONDS)
        finally:
            conf.write_text(kept, encoding="utf-8")
            await life.must("scontrol", "reconfigure")
    return ", ".join(sorted(gone))


async def node_failed(life: Life, happening: Happening) -> str:
    """A node's jobs end with it. `dead`: its processes are killed first, and Slurm is told only afterwards."""
    rows = await life.victims(happening, _RUNNING)
    if not rows:
        return ""
    node, began = rows[0].node, time.time()
    if happening.way == "dead":
        await asyncio.to_thread(_kill_node, life, node)
        await asyncio.sleep(1.0)
    await life.must("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=faults")
    life.windows.append(Window(What.NODE_FAIL, node, began, time.time()))
    try:
        await asyncio.sleep(happening.lasts)
    finally:
        if happening.way == "dead":
            life.stage.site.namespace.spawn(("nice", "-n", "19", "slurmd", "-N", node), "/var/log/slurm/slurmd.log")
        # With ReturnToService=2 one whose slurmd has registered anew is back by itself, and can't be resumed.
        await life.tried("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return node


async def preempted(life: Life, happening: Happening) -> str:
    """Somebody's urgent job takes a node."""
    rows = await life.victims(happening, _RUNNING)
    if not rows:
        return ""
    node, began = rows[0].node, time.time()
    await _urgent_qos(life)
    wanted = ("--qos=urgent", f"--account={life.stage.site.account}", f"--nodelist={node}", "--exclusive")
    said = await life.must(
        *("sbatch", "--parsable", *wanted, "--partition=gpu", "--time=1", "--chdir=/tmp"),
        *("--output=/dev/null", f"--wrap=sleep {happening.lasts:.0f}"),
    )
    for _ in range(60):
        if not (await life.must("squeue", "--noheader", f"--jobs={said.strip()}", "--states=PENDING")).strip():
            break
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    life.windows.append(Window(What.PREEMPTED, node, began, time.time()))
    return node


async def requeued(life: Life, happening: Happening) -> str:
    """Somebody has a running job begin anew; our jobs ask Slurm never to do so (`--no-requeue`)."""
    rows = await life.victims(happening, _RUNNING)
    if not rows:
        return ""
    (row,), how = rows, happening.way
    job_id = row.job.job_id
    before = await _restarts(life, job_id)
    if how in ("forced", "held"):
        await life.tried("scontrol", "update", f"JobId={job_id}", "Requeue=1")
    verb = "requeuehold" if how == "held" else "requeue"
    await life.tried("scontrol", verb, job_id, user=life.stage.site.user if how == "by-user" else None)
    risen = before is not None and (await _restarts(life, job_id) or 0) > before
    if risen:
        life.strike(row, What.REQUEUED)
    if how == "held":
        await asyncio.sleep(happening.lasts)
        await life.tried("scontrol", "release", job_id)
    await life.tried("scontrol", "update", f"JobId={job_id}", "Requeue=0", "StartTime=now")
    return f"{told(rows)}{'' if risen else ' was refused'}"


async def held(life: Life, happening: Happening) -> str:
    """Waiting jobs are held, and released."""
    rows = await life.victims(happening, _WAITING, most=3)
    user = life.stage.site.user if happening.way == "by-user" else None
    ids = [row.job.job_id for row in rows]
    for job_id in ids:
        await life.tried("scontrol", "hold", job_id, user=user)
    await asyncio.sleep(happening.lasts if rows else 0)
    for job_id in ids:
        await life.tried("scontrol", "release", job_id, user=user)
    return told(rows)


async def cancelled(life: Life, happening: Happening) -> str:
    """The site's user, at a login node, ends jobs of ours."""
    rows = await life.victims(happening, _WAITING if happening.way == "waiting" else _RUNNING, most=2)
    for row in rows:
        life.strike(row, What.CANCELLED)
        await life.tried("scancel", f"--name={row.job.name}", row.job.job_id, user=life.stage.site.user)
    return told(rows)


async def suspended(life: Life, happening: Happening) -> str:
    """Slurm stops running jobs, and lets them go on."""
    rows = await life.victims(happening, _RUNNING, most=2)
    for row in rows:
        await life.tried("scontrol", "suspend", row.job.job_id)
    await asyncio.sleep(happening.lasts if rows else 0)
    for row in rows:
        await life.tried("scontrol", "resume", row.job.job_id)
    return told(rows)


async def updated(life: Life, happening: Happening) -> str:
    """An administrator changes what jobs may; `ended`: so that their time is over."""
    ended = happening.way == "ended"
    rows = await life.victims(happening, _RUNNING if ended else (*_RUNNING, *_WAITING), most=1 if ended else 3)
    for row in rows:
        if ended:
            life.strike(row, What.TIMEOUT)
        change = {
            "longer": "TimeLimit=+10",
            "shorter": "TimeLimit=3",
            "qos": "QOS=debug",
            "ended": f"EndTime={_local(time.time() + 2)}",
        }[happening.way]
        await life.tried("scontrol", "update", f"JobId={row.job.job_id}", change)
    return told(rows)


async def maintenance(life: Life, happening: Happening) -> str:
    """All nodes are reserved for a while: what runs goes on, what waits waits longer."""
    name = f"maintenance-{life.name}"
    await life.must(
        *("scontrol", "create", "reservation", f"ReservationName={name}", "StartTime=now", "Duration=10"),
        *("Users=root", "Flags=MAINT,IGNORE_JOBS", "Nodes=ALL"),
    )
    try:
        await asyncio.sleep(happening.lasts)
    finally:
        await life.tried("scontrol", "delete", f"ReservationName={name}")
    return "all"


def _start_scheduler(life: Life) -> None:
    """Until its nodes are up, too: before, nothing can start."""
    site = life.stage.site
    site.start_component("slurmctld")
    site.namespace.wait_until(lambda: site.health()["nodes"] == "ok", NODES_SECONDS, "all nodes to be up")


def _end_orphans(life: Life) -> None:
    """What ran for jobs that nobody knows any more is ended by Slurm as its nodes come back: before that, a new job of
    the same id could not begin there.
    """
    namespace = life.stage.site.namespace
    namespace.wait_until(lambda: not namespace.pids("slurmstepd"), ORPHANS_SECONDS, "the lost jobs to end")


def _forget_credentials(life: Life) -> None:
    """A slurmd remembers for minutes which jobs have ended, and has a later one of the same id killed (seen with
    26.05): whoever empties a slurmctld starts the nodes anew, too.
    """
    site = life.stage.site
    site.stop("slurmd")
    for each in (site.directory / "spool").glob("*/cred_state*"):
        each.unlink()
    site.start_component("slurmd")


async def _queue(life: Life) -> list[Row]:
    async with life.scheduler:
        return await life.queue()


async def _forgotten(life: Life, before: set[str], until: float) -> set[str]:
    """Those of these jobs that the scheduler knows no more, once there are some."""
    while time.monotonic() < until:
        shown = await life.must("squeue", "--noheader", "--states=all", "--format=%j")
        gone = before - set(shown.split())
        if gone:
            return gone
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return set()


def _kill_node(life: Life, node: str) -> None:
    """slurmd, its jobs' keepers and all that these started, as if the machine had lost its power: nobody may tell of
    another's end.
    """
    for what in (signal.SIGSTOP, signal.SIGKILL):
        for pid in _of_node(life, node):
            with suppress(ProcessLookupError):
                os.kill(pid, what)


def _of_node(life: Life, node: str) -> list[int]:
    namespace = life.stage.site.namespace
    daemons = [pid for pid in namespace.pids("slurmd") if node in _argv(pid)]
    own = Path(f"/proc/{namespace.init_pid}/ns/pid").readlink()
    started = [pid for pid in processes.find("SLURMD_NODENAME", lambda name: name == node) if _space(pid) == own]
    parents = {_parent(pid) for pid in started}
    return [*daemons, *(pid for pid in namespace.pids("slurmstepd") if pid in parents), *started]


def _parent(pid: int) -> int:
    with suppress(OSError):
        # proc_pid_stat(5), field 4; the name before it may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return 0


def _argv(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return []


def _space(pid: int) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").readlink()
    return None


async def _urgent_qos(life: Life) -> None:
    """By root, whom the site lets use a QoS that ours may not; made at the first time."""
    site = life.stage.site
    async with life.database:
        if "urgent" in await life.must("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=name"):
            return
        for words in (
            "add qos urgent preempt=normal,debug",
            f"add user root account={site.account} qos=urgent defaultqos=urgent",
        ):
            await asyncio.to_thread(site.manage, words)


async def _restarts(life: Life, job_id: str) -> int | None:
    with suppress(SandboxError):
        found = re.search(r"\bRestarts=(\d+)", await life.must("scontrol", "--oneliner", "show", "job", job_id))
        return int(found[1]) if found else None
    return None


def _local(epoch: float) -> str:
    """As Slurm's commands take a time; a site's clock is this machine's."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(epoch))
