"""Parts that are added to a file of a UNICORE storage: one transfer each, and none that comes twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
import pytest

from passerelle.errors import Missing, Rejected, Unavailable
from passerelle.gateways import second_try
from passerelle.gateways.base import SIZE_DIFFERS, Entry
from passerelle.gateways.unicore import transfer
from passerelle.gateways.unicore.driver import Unicore
from unit.gateways.unicore_server import BY_TOKEN, ELSEWHERE, NOW, Server


@dataclass
class Disk:
    """One storage, whose transfers add to files. `late` comes behind the next part; `lost`: the next answer is."""

    inside: Server = field(default_factory=Server)
    files: dict[str, bytes] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    transfers: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    late: bytes = b""
    lost: bool = False
    refusal: str = ""
    page: int = 3

    def __post_init__(self) -> None:
        self.inside.replies["GET storages"] = {"storages": [f"{ELSEWHERE}/storages/HOME"]}
        self.inside.replies["GET storages/HOME"] = {"mountPoint": "/p/ada"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        if path.startswith("/rest/files/"):
            return self.part(path.removeprefix("/rest/files/"), request.content)
        path = path.removeprefix("/rest/core/")
        if path == "storages/HOME/imports":
            if self.refusal:
                return httpx.Response(500, json={"errorMessage": self.refusal})
            asked = json.loads(request.content)
            assert (asked["protocol"], asked["overwrite"]) == ("BFT", "false")
            name = f"t{len(self.steps)}"
            self.transfers[name] = asked["file"]
            self.steps.append("import")
            return httpx.Response(200, json={"accessURL": f"https://unicore.invalid:1/rest/files/{name}"})
        if path.startswith("client-server-transfers/"):
            del self.transfers[path.rpartition("/")[2]]
            return httpx.Response(204)
        if path == "storages/HOME/actions/rename":
            asked = json.loads(request.content)
            self.files[asked["to"]] = self.files.pop(asked["from"])
            return httpx.Response(204)
        if path.startswith("storages/HOME/files"):
            return self.file(request, path.removeprefix("storages/HOME/files"))
        return self.inside(request)

    def part(self, name: str, content: bytes) -> httpx.Response:
        self.steps.append("part")
        path = self.transfers[name]
        self.files[path] = self.files.get(path, b"") + content + self.late
        self.late = b""
        if self.lost:
            self.lost = False
            raise httpx.ReadError("cut")
        return httpx.Response(204)

    def file(self, request: httpx.Request, path: str) -> httpx.Response:
        if request.method == "DELETE":
            self.files.pop(path, None)
            return httpx.Response(204)
        if request.method == "PUT":
            self.files[path] = request.content
            return httpx.Response(204)
        path = path.rstrip("/") or "/"
        if path in self.directories:
            names = sorted({*self.files, *(f"{each}/" for each in self.directories)} - {f"{path}/"}, reverse=True)
            inside = [each for each in names if each.rstrip("/").rpartition("/")[0] == path]
            begin = int(request.url.params.get("offset", 0))
            chosen = inside[begin : begin + self.page]
            content = {
                each: {"size": len(self.files.get(each, b"")), "isDirectory": each[-1] == "/"} for each in chosen
            }
            return httpx.Response(200, json={"isDirectory": True, "size": 40, "content": content})
        if path not in self.files:
            return httpx.Response(404)
        return httpx.Response(200, json={"isDirectory": False, "size": len(self.files[path])})


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture(autouse=True)
def door(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Unicore:
    monkeypatch.setattr(second_try, "JITTER", (0.0, 0.0))
    monkeypatch.setattr(transfer, "REST_SECONDS", 0.0)
    return Unicore(
        "http://127.0.0.1:1/rest/core", lambda: BY_TOKEN, transport=httpx.MockTransport(disk), clock=lambda: NOW
    )


async def test_each_part_has_a_transfer_of_its_own(door: Unicore, disk: Disk) -> None:
    await door.append("/p/ada/a é", 0, b"01234")
    await door.append("/p/ada/a é", 5, b"56789")

    assert disk.files == {"/a é": b"0123456789"}
    assert disk.steps == ["import", "part"] * 2
    assert disk.transfers == {}, "none is left behind"


async def test_what_has_another_size_is_left_alone(door: Unicore, disk: Disk) -> None:
    disk.files["/a"] = b"01234"
    for wrong in (0, 4, 6):
        with pytest.raises(Rejected, match="has 5 bytes") as caught:
            await door.append("/p/ada/a", wrong, b"x")
        assert caught.value.reason == SIZE_DIFFERS

    assert (disk.files, disk.steps) == ({"/a": b"01234"}, [])


async def test_a_file_of_no_bytes_is_made(door: Unicore, disk: Disk) -> None:
    await door.append("/p/ada/a", 0, b"")
    await door.append("/p/ada/a", 0, b"")

    assert disk.files == {"/a": b""}


async def test_a_part_whose_answer_is_lost_is_gone_on_from(door: Unicore, disk: Disk) -> None:
    disk.lost = True
    with pytest.raises(Unavailable):
        await door.append("/p/ada/a", 0, b"01234")

    assert disk.transfers == {}
    with pytest.raises(Rejected) as caught:
        await door.append("/p/ada/a", 0, b"01234")
    assert caught.value.reason == SIZE_DIFFERS
    await door.append("/p/ada/a", 5, b"56789")
    assert disk.files == {"/a": b"0123456789"}


async def test_after_a_doubt_a_file_is_waited_for_until_it_is_at_rest(door: Unicore, disk: Disk) -> None:
    disk.lost = True
    with pytest.raises(Unavailable):
        await door.append("/p/ada/a", 0, b"01")
    asked = 0

    def growing(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += request.method == "GET"
        if asked == 2:
            disk.files["/a"] += b"2"
        return Disk.__call__(disk, request)

    slow = Unicore("http://127.0.0.1:1/rest/core", lambda: BY_TOKEN, transport=httpx.MockTransport(growing))
    slow._restless, slow._mounts = door._restless, door._mounts
    with pytest.raises(Rejected, match="has 3 bytes"):
        await slow.append("/p/ada/a", 2, b"2")
    assert disk.steps == ["import", "part"], "nothing was added while it grew"


async def test_a_file_with_bytes_too_many_is_begun_again(door: Unicore, disk: Disk) -> None:
    disk.files["/a"] = b"01"
    disk.late = b"2"
    with pytest.raises(Unavailable, match="begun again"):
        await door.append("/p/ada/a", 2, b"234")

    assert disk.files == {}
    await door.append("/p/ada/a", 0, b"01234")
    assert disk.files == {"/a": b"01234"}


async def test_an_import_that_is_refused_says_why(door: Unicore, disk: Disk) -> None:
    disk.refusal = "Invalid target filename /set: is a directory."
    with pytest.raises(Rejected, match="is a directory"):
        await door.append("/p/ada/set", 0, b"x")


async def test_a_directory_is_read_page_by_page(door: Unicore, disk: Disk) -> None:
    disk.directories = {"/set", "/set/sub"}
    disk.files = {f"/set/{number} é": b"x" * number for number in range(8)}

    assert await door.entries("/p/ada/set") == [
        *(Entry(name=f"{number} é", size=number, is_directory=False) for number in range(8)),
        Entry(name="sub", size=0, is_directory=True),
    ]
    assert await door.entries("/p/ada/set/sub/") == []
    assert await door.entries("/p/ada/nowhere") is None
    assert await door.entries("/p/ada/set/1 é") is None


async def test_the_server_is_not_let_move_into_a_directory_or_remove_one(door: Unicore, disk: Disk) -> None:
    disk.directories = {"/set"}
    disk.files = {"/a": b"a", "/set/b": b"b"}
    for call in (door.rename("/p/ada/a", "/p/ada/set"), door.remove("/p/ada/set")):
        with pytest.raises(Rejected, match="/p/ada/set is a directory"):
            await call
    with pytest.raises(Missing):
        await door.rename("/p/ada/none", "/p/ada/a")
    await door.rename("/p/ada/a", "/p/ada/c")
    await door.remove("/p/ada/none")
    await door.remove("/p/ada/c")

    assert disk.files == {"/set/b": b"b"}
    assert await door.digest("/p/ada/set/b") is None
