"""One suite for every gateway: `memory`, slurmrestd and the login node of each Slurm release that the sandbox has, and
UNICORE.

`--gateway memory,sid` and `--rows cancel,adopt` choose; nothing is ever skipped: a site that can't be started fails
its rows. Rows of test_recorded.py run on answers that were written down, and are counted apart: no live server passed
them. The run ends with one line of JSON, a key for each driver and server version.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.arc_world import ArcWorld
from contract.firecrest_world import SETTING, FirecrestWorld
from contract.memory_world import MemoryWorld
from contract.recordings import RECORDINGS, Recorded
from contract.slurm_world import API_VERSIONS, SlurmWorld
from contract.ssh_world import SshWorld
from contract.tally import SERVER, SPEED, tally
from contract.unicore_world import UnicoreWorld
from contract.world import World
from passerelle_sandbox import processes

WORLDS: Mapping[str, Callable[[Path, dict[str, str]], World]] = {
    "memory": lambda *_: MemoryWorld(),
    **{release: partial(SlurmWorld.start, release, release) for release in API_VERSIONS},
    **{f"ssh-{release}": partial(SshWorld.start, f"ssh-{release}", release) for release in API_VERSIONS},
    "unicore": UnicoreWorld.start,
    "firecrest": partial(FirecrestWorld.start, "firecrest", "trixie"),
    "arc": ArcWorld.start,
}
"""By the word of --gateway: how a site is started, in a directory and with an environment of its own."""

OWN_ROWS: Mapping[str, frozenset[str]] = {"arc": ArcWorld.own_rows}
"""Rows that can't mean the same for a gateway: test_arc.py states them in words of its own."""
OWN_MODULES = {"test_arc.py": "arc", "test_faults.py": "sid"}
"""A module of rows for one gateway."""


def live_worlds(environ: Mapping[str, str]) -> set[str]:
    """Those behind which a real server answers; FirecREST's is a fake unless the environment names a real one."""
    made_up = {"memory"} if any(name.startswith(SETTING) for name in environ) else {"memory", "firecrest"}
    return WORLDS.keys() - made_up


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract")
    group.addoption("--gateway", default=",".join(WORLDS), help="which gateways, by comma: %(default)s")
    group.addoption("--rows", default="", help="which rows of the contract, by comma: all where unset")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = [word for word in metafunc.config.getoption("--gateway").split(",") if word]
    unknown = set(chosen) - WORLDS.keys()
    if unknown:
        raise pytest.UsageError(f"--gateway knows {', '.join(WORLDS)}, not {', '.join(sorted(unknown))}")
    if "world" in metafunc.fixturenames:
        metafunc.parametrize("world", chosen, indirect=True, scope="session")
    if "recorded" in metafunc.fixturenames:
        kept = [(word, name) for word, answers in RECORDINGS.items() if word in chosen for name in answers]
        metafunc.parametrize("recorded", kept, indirect=True, ids="-".join)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rows = {word for word in config.getoption("--rows").split(",") if word}
    here = Path(__file__).parent
    out = []
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.contract)
        mark = item.get_closest_marker("row")
        row = mark.args[0] if mark is not None else ""
        gateway = _gateway(item)
        own = OWN_MODULES.get(item.path.name)
        elsewhere = own is None and row in OWN_ROWS.get(gateway, ())
        if (rows and row not in rows) or elsewhere or (own is not None and own != gateway):
            out.append(item)
        params: Mapping[str, Any] = item.callspec.params if isinstance(item, pytest.Function) else {}
        kept = params.get("recorded")
        word = kept[0] if isinstance(kept, tuple) else params.get("world")
        if word is None:  # none of the chosen gateways has recordings
            out.append(item)
            continue
        item.user_properties += [("gateway", word), ("recorded", "recorded" in params)]
        item.add_marker(pytest.mark.xdist_group(word))  # one process has the site of a gateway, and its rows in order
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def _gateway(item: pytest.Item) -> str:
    """Of a row; "" of what is none."""
    called = getattr(item, "callspec", None)
    return str(called.params.get("world", "")) if called is not None else ""


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    started: dict[str, World] = {}
    yield started
    for each in started.values():
        each.end()


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, sites: dict[str, World], tmp_path_factory: pytest.TempPathFactory) -> World:
    name: str = request.param
    if name not in sites:
        env = {**os.environ, processes.SANDBOX: f"contract-{secrets.token_hex(3)}"}
        sites[name] = WORLDS[name](tmp_path_factory.mktemp(name), env)
    return sites[name]


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Recorded:
    word, name = request.param
    return RECORDINGS[word][name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [each for key in ("passed", "failed", "error", "skipped") for each in terminalreporter.stats.get(key, [])]
    reports = [each for each in told if isinstance(each, pytest.TestReport)]  # of a collection there are others
    for report in reports:
        for name, said in report.user_properties:
            if name == SPEED and report.when == "call":
                terminalreporter.write_line(str(said))
    terminalreporter.write_line(json.dumps({"contract": tally(reports, live=live_worlds(os.environ))}))


@pytest.fixture(autouse=True)
async def tidy(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After a row: the credential is good again, nothing of its jobs is left, and no field was ignored by the site."""
    if "world" not in request.fixturenames:
        yield
        return
    here: World = request.getfixturevalue("world")
    request.node.user_properties.append((SERVER, " ".join(dict.fromkeys((here.driver, await here.version())))))
    yield
    here.credential = here.good()
    try:
        await here.clear()
        last = here.door()
        for job in await here.left(last):
            if job.state.ending is None:
                await last.cancel(job.job_id)
        ignored = [field for door in here.opened for field in getattr(door, "not_understood", [])]
    finally:  # a door that stays open is closed after the next row, in an event loop that is not its own
        opened, here.opened = here.opened, []
        for door in opened:
            await door.close()
    assert ignored == [], f"{here.name} did not understand {ignored}"
