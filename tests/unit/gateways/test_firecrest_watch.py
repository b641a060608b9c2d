"""What a Site behind FirecREST costs, look by look: it tells no submit times, and a list is two commands over SSH."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firecrest.canned import USER, LoginNode, Row
from firecrest.fake import Fake
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.driver import Firecrest
from passerelle.marker import Run
from passerelle.progress import parse_comment
from passerelle.slurm import Stage
from passerelle.v1alpha1.trainingjob_status import Progress
from passerelle.views import Inquiry
from passerelle.watch import SiteWatch

FIRST, SECOND = Run("psr-" + "a" * 26), Run("psr-" + "b" * 26)
A_LOOK = ["systems", "partitions"]


def write(node: LoginNode, run: Run, told: dict[str, object]) -> None:
    """What the first one's job has to tell."""
    file = node.root / run.key / "report-1.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"jobId": "1", "restartCount": 0, "record": told}))


@pytest.fixture
def node(tmp_path: Path) -> LoginNode:
    return LoginNode(tmp_path, [Row("1", FIRST.marker(1)), Row("2", SECOND.marker(1))])


@pytest.fixture
def fake(node: LoginNode) -> Fake:
    return Fake("alps", node, USER)


@pytest.fixture
async def watch(fake: Fake) -> AsyncIterator[SiteWatch]:
    credential = FirecrestCredential(user=USER, token=fake.issuer.token(3600))

    async def renewed() -> None:
        pass

    made = SiteWatch(
        "alps",
        Firecrest(fake.url, "alps", lambda: credential),
        period=0.0,
        progress_period=3600.0,
        renew=renewed,
        run_directory=lambda run, _: f"/site/{run.key}",
        on_change=lambda _: None,
        on_site=lambda: None,
    )
    for run in (FIRST, SECOND):
        made.look_up(run, Inquiry(highest=1, thorough=False))
    yield made
    await made.gateway.close()
    fake.end()
    assert fake.violations == []


def a_progress_period_later(watch: SiteWatch) -> None:
    watch._looks._next_progress = 1.0  # long ago


async def test_runs_are_looked_up_by_two_lists_and_watched_by_one(watch: SiteWatch, fake: Fake) -> None:
    await watch.look()
    assert watch.trouble is None
    assert fake.asked == ["systems", "userinfo", "partitions", "list", "list"], "accounting's week, and the last hour"
    a_progress_period_later(watch)
    for files in (["stat", "stat"], [], []):
        fake.asked.clear()
        await watch.look()

        assert fake.asked == [*A_LOOK, "list", *files], "though jobs tell no submit time; files once a progress period"


async def test_end_is_seen_in_the_next_look(watch: SiteWatch, node: LoginNode) -> None:
    await watch.look()
    node.rows[0].state, node.rows[0].exit_code, node.rows[0].end = "FAILED", "85:0", str(int(time.time()))
    await watch.look()
    ((_, ended),) = watch.seen(FIRST).jobs
    ((_, other),) = watch.seen(SECOND).jobs

    assert (ended.stage, ended.exit_code, ended.duplicate) == (Stage.ENDED, 213, True)
    assert other.stage is Stage.RUNNING


async def test_progress_is_read_from_the_report_files_by_two_small_commands_each(
    watch: SiteWatch, node: LoginNode, fake: Fake
) -> None:
    await watch.look()
    write(node, FIRST, {"v": 1, "s": 7})
    (node.root / SECOND.key).mkdir()
    fake.asked.clear()
    a_progress_period_later(watch)
    await watch.look()
    ((_, job),) = watch.seen(FIRST).jobs

    assert parse_comment(job.comment).progress == Progress(step=7)
    assert sorted(fake.asked) == sorted([*A_LOOK, "list", "stat", "stat", "download"]), "the other's is not there yet"


async def test_what_an_epilogue_left_is_told_with_the_end(watch: SiteWatch, node: LoginNode) -> None:
    await watch.look()
    write(node, FIRST, {"v": 1, "s": 7, "end": {"code": 3, "signal": None, "rank": 2, "err": "boom"}})
    node.rows[0].state, node.rows[0].exit_code, node.rows[0].end = "FAILED", "3:0", str(int(time.time()))
    await watch.look()
    ((_, ended),) = watch.seen(FIRST).jobs

    assert (ended.stage, parse_comment(ended.comment).stderr) == (Stage.ENDED, "boom")


async def test_files_that_fail_leave_the_site_in_sight(watch: SiteWatch, node: LoginNode) -> None:
    await watch.look()
    node.hung.add("stat")
    node.rows[0].state, node.rows[0].exit_code, node.rows[0].end = "FAILED", "3:0", str(int(time.time()))
    await watch.look()
    ((_, held),) = watch.seen(FIRST).jobs

    assert watch.trouble is None
    assert held.stage is Stage.ENDING


async def test_poisoned_list_stops_no_watch(watch: SiteWatch, node: LoginNode) -> None:
    node.rows.append(Row("66", "evil|name"))
    await watch.look()
    assert watch.trouble is None
    assert {job.job_id for run in (FIRST, SECOND) for _, job in watch.seen(run).jobs} == {"1", "2"}
    node.rows[1].state, node.rows[1].end = "COMPLETED", str(int(time.time()))
    await watch.look()
    ((_, ended),) = watch.seen(SECOND).jobs

    assert watch.trouble is None
    assert ended.stage is Stage.ENDED


async def test_dead_database_concludes_nothing(watch: SiteWatch, node: LoginNode) -> None:
    await watch.look()
    node.down.add("sacct")
    await watch.look()

    assert watch.trouble is not None
    assert watch.live_jobs == 2
    node.down.clear()
    await watch.look()
    assert watch.trouble is None
    assert watch.live_jobs == 2
