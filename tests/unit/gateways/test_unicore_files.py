"""Files through storages: which one holds a path, ranges, and a write that is whole or not at all."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.http import Answer
from passerelle.gateways.unicore.errors import said
from unit.gateways.unicore_server import ELSEWHERE, Server, client

STORAGES = {"HOME": "/p/ada", "SCRATCH": "/e/scratch", "PROJECT": "/e/scratch/proj/", "s-uspace": "n/a"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))


@pytest.fixture
def server() -> Server:
    made = Server()
    made.replies["GET storages"] = {"storages": [f"{ELSEWHERE}/storages/{name}" for name in STORAGES]}
    made.replies |= {f"GET storages/{name}": {"mountPoint": mount} for name, mount in STORAGES.items()}
    return made


def stat(size: int, *, folder: bool = False) -> dict[str, Any]:
    return {"size": size, "isDirectory": folder}


@pytest.mark.parametrize(
    "path, address",
    [
        ("/p/ada/x", "HOME/files/x"),
        ("/e/scratch/a/b", "SCRATCH/files/a/b"),
        ("/e/scratch/proj/b", "PROJECT/files/b"),
        ("/e/scratch/project/b", "SCRATCH/files/project/b"),
        ("/p/ada/a é?#&", "HOME/files/a%20%C3%A9%3F%23%26"),
    ],
)
async def test_the_closest_storage_is_asked(server: Server, path: str, address: str) -> None:
    server.replies[f"GET storages/{address}"] = stat(7)

    assert await client(server).size(path) == 7


async def test_storages_are_looked_for_once(server: Server) -> None:
    server.replies |= {"GET storages/HOME/files/x": stat(1), "GET storages/HOME/files/y": stat(2)}
    gateway = client(server)

    assert [await gateway.size("/p/ada/x"), await gateway.size("/p/ada/y")] == [1, 2]
    assert server.asked.count("GET storages") == 1


@pytest.mark.parametrize("path", ["/elsewhere/x", "/p/ada", "x", "/p/ada/../bob/x", "/p/ada/a%2f", "/p/ada/it's"])
async def test_a_path_outside_all_storages_says_which_there_are(server: Server, path: str) -> None:
    with pytest.raises(Rejected) as caught:
        await client(server).size(path)

    assert caught.value.reason == "NoSuchStorage"
    assert re.search("/e/scratch|absolute|percent", caught.value.message)


async def test_a_missing_file_and_a_directory_have_no_size(server: Server) -> None:
    server.replies["GET storages/HOME/files/d"] = stat(4096, folder=True)
    gateway = client(server)

    assert await gateway.size("/p/ada/none") is None
    assert await gateway.size("/p/ada/d") is None


def holding(server: Server, reply: httpx.Response, size: int = 8) -> None:
    """A file of so many bytes, whose bytes come as this reply."""
    server.replies["GET storages/HOME/files/x"] = [httpx.Response(200, json=stat(size)), reply]


async def test_a_range_is_asked_for_and_cut(server: Server) -> None:
    holding(server, httpx.Response(206, content=b"cdefgh"))

    assert await client(server).read("/p/ada/x", 2, 4) == b"cdef"
    assert server.requests[-1].headers["range"] == "bytes=2-5"
    assert server.requests[-1].headers["accept"] == "application/octet-stream"


@pytest.mark.parametrize("offset", [8, 9, 1000])
async def test_nothing_is_asked_for_at_the_end_or_behind_it(server: Server, offset: int) -> None:
    """UNICORE/X 3.0.0 never answers that, and is left with a thread that spins."""
    server.replies["GET storages/HOME/files/x"] = stat(8)

    assert await client(server).read("/p/ada/x", offset, 4) == b""
    assert "range" not in server.requests[-1].headers


async def test_a_whole_file_in_place_of_a_range_is_cut_here(server: Server) -> None:
    holding(server, httpx.Response(200, content=b"abcdefgh"))

    assert await client(server).read("/p/ada/x", 2, 4) == b"cdef"


@pytest.mark.parametrize("status", [404, 406])
async def test_a_file_that_goes_meanwhile_is_missing(server: Server, status: int) -> None:
    holding(server, httpx.Response(status))

    with pytest.raises(Missing, match="/p/ada/x"):
        await client(server).read("/p/ada/x", 0, 4)


@pytest.mark.parametrize("length", [0, 4])
@pytest.mark.parametrize("reply", [httpx.Response(404), stat(4096, folder=True)], ids=["nothing", "directory"])
async def test_what_is_no_file_is_missing(server: Server, reply: httpx.Response | dict[str, Any], length: int) -> None:
    server.replies["GET storages/HOME/files/x"] = reply

    with pytest.raises(Missing, match="/p/ada/x"):
        await client(server).read("/p/ada/x", 0, length)


class Disk:
    """The answers of one storage that keeps files."""

    def __init__(self, server: Server) -> None:
        self.steps: list[str] = []
        self.fail = ""
        self.inside = server

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/rest/core/storages/HOME")
        if not path.startswith(("/files", "/actions")) or request.method == "GET":
            return self.inside(request)
        body = json.loads(request.content) if "json" in request.headers.get("content-type", "") else {}
        what = "content" if path.endswith("/content") else "folder"
        step = f"{request.method} {what} {body.get('permissions', '')}".strip()
        self.steps.append(f"rename to {body['to']}" if "to" in body else step)
        if self.fail and self.steps[-1].startswith(self.fail):
            return httpx.Response(500, json={"errorMessage": "Permission denied"})
        return httpx.Response(200, json={"permissions": "OK"}) if body else httpx.Response(204)


async def test_a_write_is_closed_to_others_before_it_has_content_and_then_renamed(server: Server) -> None:
    disk = Disk(server)
    gateway = client(disk)  # type: ignore[arg-type]  # a server with a disk

    await gateway.write("/p/ada/x", b"secret", mode=0o640)

    assert disk.steps == [
        "POST folder",
        "PUT folder rwx------",
        "PUT content",
        "PUT content rw-r-----",
        "rename to /x",
        "DELETE folder",
    ]


@pytest.mark.parametrize("fail", ["POST folder", "PUT folder", "PUT content", "PUT content rw", "rename"])
async def test_a_write_that_fails_leaves_nothing(server: Server, fail: str) -> None:
    disk = Disk(server)
    disk.fail = fail

    with pytest.raises(Rejected, match="does not let /p/ada/x be written: Permission denied"):
        await client(disk).write("/p/ada/x", b"secret")  # type: ignore[arg-type]  # a server with a disk

    assert disk.steps[-1] == "DELETE folder"
    assert not any(step.startswith("rename") for step in disk.steps) or fail == "rename"


async def test_storages_that_can_t_be_read_are_not_none(server: Server) -> None:
    server.replies["GET storages/SCRATCH"] = httpx.Response(500, json={"errorMessage": "database"})

    with pytest.raises(Unavailable):
        await client(server).size("/e/scratch/x")


async def test_each_missing_directory_gets_its_permissions(server: Server) -> None:
    server.replies["GET storages/HOME/files/a"] = stat(0, folder=True)
    done = httpx.Response(200, json={"permissions": "OK"})
    server.replies |= {
        f"{how} storages/HOME/files/a/b%20c{deep}": done for how in ("POST", "PUT") for deep in ("", "/d")
    }

    await client(server).make_directory("/p/ada/a/b c/d/")

    made = [(request.method, request.url.path) for request in server.requests if request.method in ("POST", "PUT")]
    assert [(how, path.rpartition("HOME/files")[2]) for how, path in made] == [
        ("POST", "/a/b c"),
        ("PUT", "/a/b c"),
        ("POST", "/a/b c/d"),
        ("PUT", "/a/b c/d"),
    ]
    assert json.loads(server.requests[-1].content) == {"permissions": "rwxr-x---"}


async def test_a_directory_that_is_made_and_not_told_of_is_made(server: Server) -> None:
    place = "storages/HOME/files/a%20b"
    untold = httpx.Response(500, json={"errorMessage": "Illegal character in path"})
    server.replies |= {f"POST {place}": untold, f"PUT {place}": {"permissions": "OK"}}
    server.replies[f"GET {place}"] = [httpx.Response(404), stat(0, folder=True)]

    await client(server).make_directory("/p/ada/a b")
    assert server.asked[-1] == f"PUT {place}"

    server.replies[f"GET {place}"] = httpx.Response(404)
    with pytest.raises(Rejected, match="Illegal character"):
        await client(server).make_directory("/p/ada/a b")


async def test_a_file_is_no_directory_to_make_another_in(server: Server) -> None:
    server.replies["GET storages/HOME/files/a"] = stat(7)

    with pytest.raises(Rejected, match="a file is in its way"):
        await client(server).make_directory("/p/ada/a/b")


THROUGH_ALL_CLASSES = (
    "Cannot create directory <nowhere/.psr-01>: eu.unicore.xnjs.tsi.TSIProblem: TSI on <127.0.0.1>: Command failed: "
    "TSI_FAILED: bash -c #!/bin/bash -l:#TSI_EXECUTESCRIPT:#TSI_SCRIPT:/bin/mkdir -p -m 750 '/nowhere/.psr-01'::"
    "#TSI_IDENTITY startup DEFAULT_GID:: failed with code 1: mkdir: cannot create directory '/nowhere': Permission "
    "denied:\n (Command execution on TSI reported an error)."
)
"""As 11.0.0 says it."""


@pytest.mark.parametrize(
    "message, words",
    [
        (THROUGH_ALL_CLASSES, "mkdir: cannot create directory '/nowhere': Permission denied"),
        ("TSI_FAILED: bash -c x failed with code 1: mv: cannot stat 'a'", "mv: cannot stat 'a'"),
        ("TSI_FAILED: bash -c x failed with code 1: ", "TSI_FAILED: bash -c x failed with code 1:"),
        ("The disk is full.", "The disk is full"),
    ],
)
def test_of_a_command_that_failed_its_own_words_are_told(message: str, words: str) -> None:
    body = json.dumps({"errorMessage": message}).encode()

    assert said(Answer(500, "application/json", body)) == words
