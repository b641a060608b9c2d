"""Files through the door job's link, at an A-REX that answers from a script: what no live one shows in time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import httpx
import pytest

from passerelle.errors import Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.arc import listing, transfer
from passerelle.gateways.arc.credential import ArcCredential
from passerelle.gateways.arc.door import AGAIN_SECONDS, LOOK_SECONDS, NAME, Charge
from passerelle.gateways.arc.driver import Arc
from passerelle.gateways.base import NOT_OPENED, OPENING, SIZE_DIFFERS, TOO_MANY_ENTRIES, Entry
from unit.gateways.test_arc_driver import ID, OTHER, RECORD, Arex, bearer, local, phrase

DOOR, SECOND = "0d00dd00d001", "0d00dd00d002"
PLACE = "/scratch/p"


class Site(Arex):
    """An A-REX with a file system behind the link of each door job that has one. `gone` is removed as it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.tree: dict[str, bytes | None] = {"/": None, "/scratch": None, PLACE: None}
        """A file's content by its path, None for a directory."""
        self.links: set[str] = set()
        self.closed = frozenset({"/etc"})
        self.submitted = 0
        self.keeps: Callable[[bytes], bytes] = lambda content: content
        self.replies["POST 1.1/jobs new"] = self._new

    def door(self, job_id: str = DOOR, state: str = "FINISHED", submitted: int = 0, *, link: bool = True) -> None:
        told = local(name=NAME).replace("040029", f"04{submitted:02}29")
        self.job(job_id, state=state, diagnose_local=told)
        if link:
            self.links.add(job_id)

    def wipe(self, job_id: str = DOOR) -> None:
        self.links.discard(job_id)
        self.states.pop(job_id, None)

    def changes(self) -> list[str]:
        """What was asked to change something."""
        return [key for key in self.asked if key.split()[0] in ("PUT", "DELETE")]

    def _new(self, _: httpx.Request) -> httpx.Response:
        self.submitted += 1
        self.door(SECOND if self.submitted > 1 else DOOR, "ACCEPTING", self.submitted, link=False)
        job_id = SECOND if self.submitted > 1 else DOOR
        return httpx.Response(201, json={"job": [{"status-code": "201", "reason": "Created", "id": job_id}]})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        raw = unquote(request.url.raw_path.decode().partition("?")[0])
        found = re.fullmatch(r"/arex/rest/1\.1/jobs/([0-9a-f]+)/session/root(/.*)?", raw)
        key = f"{request.method} {raw.removeprefix('/arex/rest/')}"
        if found is None or key in self.replies:
            return super().__call__(request)
        self.asked.append(key)
        self.bodies.append(request.content)
        if found[1] not in self.links:
            return httpx.Response(404)
        return self._at((found[2] or "/").rstrip("/") or "/", request)

    def _at(self, path: str, request: httpx.Request) -> httpx.Response:
        there = path in self.tree
        content = self.tree.get(path)
        match request.method:
            case "HEAD" | "GET" | "PROPFIND" if request.method == "PROPFIND" or not there or content is None:
                return self._told(path, request, there=there)
            case "HEAD":
                return file(headers={"content-length": str(len(content or b""))})
            case "GET":
                return self._read(content or b"", request.headers.get("range", ""))
            case "PUT":
                return self._put(path, request)
            case "DELETE":
                if not there:
                    return phrase(500, "Failed to delete")(request)
                for each in [each for each in self.tree if each == path or each.startswith(f"{path}/")]:
                    del self.tree[each]
                return httpx.Response(202)
        raise AssertionError(request.method)

    def _told(self, path: str, request: httpx.Request, *, there: bool) -> httpx.Response:
        names = self._names(path)
        if request.method == "PROPFIND":
            return httpx.Response(207 if not there else 200, content=dav(path, dict.fromkeys(names, True)))
        if not there:
            return httpx.Response(404)
        if request.headers["accept"] == "application/json":
            return httpx.Response(200, headers={"content-type": "application/json", "content-length": "25"})
        rows = [
            f"<dir>{escape(name)}</dir>"
            if (content := self.tree[f"{path.rstrip('/')}/{name}"]) is None
            else f"<file size={quoteattr(str(len(content)))}>{escape(name)}</file>"
            for name in names
        ]
        return httpx.Response(200, text=f"<list>{''.join(rows)}</list>", headers={"content-type": "application/xml"})

    def _names(self, path: str) -> list[str]:
        above = path.rstrip("/") + "/"
        inside = {each[len(above) :] for each in self.tree if each.startswith(above)}
        return sorted(each for each in inside if each and "/" not in each)

    def _read(self, content: bytes, span: str) -> httpx.Response:
        begin, end = map(int, re.findall(r"\d+", span))
        if begin >= len(content):
            return file(416 if content else 200)
        return file(206, content=content[begin : end + 1])

    def _put(self, path: str, request: httpx.Request) -> httpx.Response:
        above = path.rpartition("/")[0]
        taken = any(self.tree.get(each) is not None for each in (above, above.rpartition("/")[0]))
        if taken or self.tree.get(path, b"") is None or any(path.startswith(each) for each in self.closed):
            return phrase(500, "Error creating file")(request)
        while above not in self.tree:
            self.tree[above] = None
            above = above.rpartition("/")[0]
        content = self.keeps(request.content)
        begin = int(re.findall(r"\d+", request.headers.get("content-range", "0"))[0])
        old = (self.tree.get(path) or b"").ljust(begin, b"\0")
        self.tree[path] = old[:begin] + content + old[begin + len(content) :]
        return httpx.Response(200)


def file(status: int = 200, **more: Any) -> httpx.Response:
    headers = {"content-type": "application/octet-stream", **more.pop("headers", {})}
    return httpx.Response(status, headers=headers, **more)


def dav(path: str, names: dict[str, bool]) -> bytes:
    """A multistatus; whether something is there, by name."""
    root = ET.Element("{DAV:}multistatus")
    for name, there in {"": True, **names}.items():
        response = ET.SubElement(root, "{DAV:}response")
        ET.SubElement(response, "{DAV:}href").text = f"https://inside:1/arex{httpx.URL(path=f'{path}/{name}').path}"
        ET.SubElement(response, "{DAV:}href" if not there else "{DAV:}propstat")
    return ET.tostring(root)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(site: Site, credentials: Callable[[], ArcCredential] = bearer, **more: Any) -> tuple[Arc, Clock]:
    arc = Arc("http://127.0.0.1:1/arex", credentials, transport=httpx.MockTransport(site), **more)
    clock = Clock()
    arc._door.clock = clock
    return arc, clock


@pytest.fixture
def site() -> Site:
    made = Site()
    made.door()
    return made


@pytest.fixture
def arc(site: Site) -> Arc:
    return opened(site)[0]


async def opening(call: Awaitable[object]) -> str:
    """The sentence of an error that passes by itself when the door is open."""
    with pytest.raises(Unavailable) as caught:
        await call
    assert caught.value.reason == OPENING
    return caught.value.message


async def test_a_door_job_is_submitted_once_and_waited_for() -> None:
    site = Site()
    arc, clock = opened(site, charge=Charge(partition="gpu"))
    assert "was submitted" in await opening(arc.write(f"{PLACE}/x", b"x"))
    told = site.bodies[site.asked.index("POST 1.1/jobs new")].decode()
    assert f"<Name>{NAME}</Name>" in told
    assert "<Argument>ln -s / root</Argument>" in told
    assert "<QueueName>gpu</QueueName>" in told
    assert "<NumberOfSlots>1</NumberOfSlots>" in told

    asked = len(site.asked)
    assert "was submitted" in await opening(arc.append(f"{PLACE}/x", 0, b"x"))
    assert len(site.asked) == asked, "a moment later nothing is asked"
    clock.now += LOOK_SECONDS
    assert "waits in its queue" in await opening(arc.make_directory(f"{PLACE}/d"))
    assert not [key for key in site.asked if key.startswith("HEAD")], "a job that waits has no link"
    site.states[DOOR] = "RUNNING"
    clock.now += LOOK_SECONDS
    assert " runs: " in await opening(arc.entries(PLACE))
    site.links.add(DOOR)
    clock.now += LOOK_SECONDS
    await arc.write(f"{PLACE}/x", b"x")
    assert site.tree[f"{PLACE}/x"] == b"x"
    assert site.submitted == 1


async def test_many_that_ask_at_the_same_time_submit_one() -> None:
    site = Site()
    arc, _ = opened(site)
    await asyncio.gather(*(opening(arc.open_files()) for _ in range(20)))
    assert site.submitted == 1


async def test_a_door_that_is_there_is_used_the_newest_first(site: Site) -> None:
    site.door(SECOND, submitted=30)
    site.door("0d00dd00d003", state="FINISHED", submitted=40, link=False)
    arc, _ = opened(site)
    await arc.write(f"{PLACE}/x", b"x")
    assert site.changes() == [f"PUT 1.1/jobs/{SECOND}/session/root{PLACE}/x"]
    assert site.submitted == 0


async def test_without_what_an_option_needs_the_site_is_asked_for_it() -> None:
    site = Site()
    arc, _ = opened(site, charge=Charge(account="startup"))
    with pytest.raises(Rejected, match=r"no words for --account.*runtimeEnvironment"):
        await arc.open_files()
    arc, _ = opened(site, charge=Charge(account="startup"), environment="PASSERELLE")
    await opening(arc.open_files())
    assert b"--account=startup" in site.bodies[site.asked.index("POST 1.1/jobs new")]


async def test_a_door_that_failed_is_told_and_another_comes_later() -> None:
    site = Site()
    site.door(state="FAILED", link=False)
    site.files[f"{DOOR}/diagnose/failed"] = "Job submission to LRMS failed\n"
    site.files[f"{DOOR}/diagnose/errors"] = "sbatch: error: Invalid qos specification\n"
    arc, clock = opened(site)
    for _ in range(3):
        with pytest.raises(Rejected, match=r"failed: .*Invalid qos specification") as caught:
            await arc.open_files()
        assert caught.value.reason == NOT_OPENED
        clock.now += LOOK_SECONDS
    assert await arc.size("/run/some.log") is None, "who reads a log is not told of it"
    clock.now += AGAIN_SECONDS
    await opening(arc.open_files())
    assert site.submitted == 1


@pytest.mark.parametrize("state, words", [("FINISHED", "left no link; .* scratchdir"), ("KILLED", "failed")])
async def test_a_door_that_left_no_link_is_none(state: str, words: str) -> None:
    site = Site()
    site.door(state=state, link=False)
    with pytest.raises(Rejected, match=words):
        await opened(site)[0].open_files()
    site.links.add(DOOR)
    await opened(site)[0].open_files()


async def test_a_lost_answer_to_a_door_is_looked_for_and_not_sent_again() -> None:
    site = Site()

    def lost(request: httpx.Request) -> httpx.Response:
        site._new(request)
        raise httpx.ReadTimeout("")

    site.replies["POST 1.1/jobs new"] = lost
    arc, clock = opened(site)
    with pytest.raises(Unavailable):
        await arc.open_files()
    clock.now += LOOK_SECONDS
    assert "waits" in await opening(arc.open_files())
    assert site.submitted == 1


async def test_a_door_that_is_gone_at_once_is_not_submitted_anew_for_ten_minutes() -> None:
    site = Site()
    arc, clock = opened(site)
    await opening(arc.open_files())
    for _ in range(5):
        del site.states[DOOR]
        clock.now += LOOK_SECONDS
        assert "ARC does not show it" in await opening(arc.open_files())
        site.states[DOOR] = "QUEUING"
    assert site.submitted == 1
    del site.states[DOOR]
    clock.now += AGAIN_SECONDS
    await opening(arc.open_files())
    assert site.submitted == 2


async def test_a_door_that_can_not_be_looked_at_hides_no_other(site: Site) -> None:
    site.door(SECOND, submitted=30)
    site.replies[f"HEAD 1.1/jobs/{SECOND}/session/root"] = lambda _: httpx.Response(500)
    arc, _ = opened(site)
    await arc.write(f"{PLACE}/x", b"x")
    assert site.changes() == [f"PUT 1.1/jobs/{DOOR}/session/root{PLACE}/x"]


async def test_a_read_submits_nothing_and_waits_for_a_door_that_is_under_way() -> None:
    site = Site()
    arc, clock = opened(site)
    assert await arc.size(f"{PLACE}/x") is None
    with pytest.raises(Missing):
        await arc.read(f"{PLACE}/x", 0, 1)
    assert site.submitted == 0
    site.door(state="QUEUING", link=False)
    clock.now += LOOK_SECONDS
    await opening(arc.size(f"{PLACE}/x"))
    site.tree[f"{PLACE}/x"] = b"there"
    site.links.add(DOOR)
    site.states[DOOR] = "FINISHED"
    clock.now += LOOK_SECONDS
    assert await arc.read(f"{PLACE}/x", 1, 3) == b"her"


async def test_a_log_is_read_from_its_own_job_while_the_door_waits() -> None:
    site = Site()
    site.door(state="QUEUING", link=False)
    site.job(OTHER, state="RUNNING", diagnose_local=local(), session_record=RECORD, session_log="0123456789")
    site.replies[f"HEAD 1.1/jobs/{OTHER}/session/log"] = lambda _: file(headers={"content-length": "10"})
    arc, _ = opened(site)
    assert await arc.size("/run/psr-3429035.out") == 10


async def test_what_is_missing_is_believed_only_while_the_link_stands(site: Site, arc: Arc) -> None:
    assert await arc.size(f"{PLACE}/x") is None or site.tree
    await arc.open_files()
    assert await arc.size(f"{PLACE}/x") is None
    site.tree[f"{PLACE}/x"] = b"there"
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: arc.size(f"{PLACE}/x"),
        lambda: arc.read(f"{PLACE}/x", 0, 1),
        lambda: arc.entries(PLACE),
        lambda: arc.remove(f"{PLACE}/x"),
        lambda: arc.append(f"{PLACE}/x", 0, b"x"),
        lambda: arc.write(f"{PLACE}/x", b"x"),
        lambda: arc.make_directory(f"{PLACE}/d"),
    ]
    for call in calls:
        site.links.add(DOOR)
        await arc.open_files()
        site.links.discard(DOOR)
        assert "is gone" in await opening(call())
    assert site.changes() == [], "A-REX would make directories of the link's name"


async def test_another_user_has_another_door(site: Site) -> None:
    who = [bearer("ada")]
    arc, _ = opened(site, lambda: who[0])
    await arc.open_files()
    assert arc._door.job == DOOR
    who[0] = bearer("bob")
    site.wipe()
    await opening(arc.open_files())
    assert site.submitted == 1


async def test_a_file_grows_by_parts_and_each_says_where_it_belongs(site: Site, arc: Arc) -> None:
    path = f'{PLACE}/ a "b" %41?#;é'
    await arc.append(path, 0, b"one")
    await arc.append(path, 3, b"two")
    assert site.tree[path] == b"onetwo"
    for wrong in (0, 5, 7):
        with pytest.raises(Rejected) as caught:
            await arc.append(path, wrong, b"x")
        assert caught.value.reason == SIZE_DIFFERS
    assert site.tree[path] == b"onetwo"
    await arc.append(f"{PLACE}/empty", 0, b"")
    assert site.tree[f"{PLACE}/empty"] == b""
    with pytest.raises(Rejected, match="is a directory"):
        await arc.append(PLACE, 0, b"x")


async def test_a_file_is_written_in_the_place_of_another_and_measured(site: Site, arc: Arc) -> None:
    path = f"{PLACE}/x"
    await arc.write(path, b"a longer one")
    await arc.write(path, b"short", mode=0o644)
    assert site.tree[path] == b"short"
    changes = len(site.changes())
    await arc.write(path, b"short")
    assert len(site.changes()) == changes, "what is there as it shall be is left"
    await arc.write(path, b"other")
    assert site.tree[path] == b"other"
    site.keeps = lambda content: content[:2]
    with pytest.raises(Unavailable, match="did not write all"):
        await arc.write(path, b"12345")
    with pytest.raises(Rejected, match="can't have 400"):
        await arc.write(path, b"x", mode=0o400)


@pytest.mark.parametrize("path", ["scratch/x", f"{PLACE}/../x", f"{PLACE}/./x", "/x\0y", ""])
async def test_an_odd_path_is_never_sent(site: Site, arc: Arc, path: str) -> None:
    for call in (arc.write(path, b"x"), arc.append(path, 0, b"x"), arc.remove(path), arc.entries(path)):
        with pytest.raises(Rejected) as caught:
            await call
        assert caught.value.reason == "InvalidPath"
    assert site.asked == []


async def test_a_directory_is_made_by_a_file_that_goes(site: Site, arc: Arc) -> None:
    await arc.make_directory(f"{PLACE}/a b/c/")
    assert site.tree[f"{PLACE}/a b/c"] is None
    assert [each for each in site.tree if ".psr-" in each] == []
    asked = len(site.asked)
    await arc.make_directory(f"{PLACE}/a b/c")
    assert len(site.asked) == asked, "A-REX would look at each file in it"
    changes = len(site.changes())
    await arc.make_directory(PLACE)
    assert len(site.changes()) == changes
    site.tree[f"{PLACE}/file"] = b"x"
    for taken in (f"{PLACE}/file", f"{PLACE}/file/below"):
        with pytest.raises(Rejected):
            await arc.make_directory(taken)


async def test_a_directory_that_went_comes_back_with_what_is_written(site: Site, arc: Arc) -> None:
    await arc.make_directory(f"{PLACE}/d")
    del site.tree[f"{PLACE}/d"]
    await arc.make_directory(f"{PLACE}/d")
    await arc.append(f"{PLACE}/d/x", 0, b"x")
    assert site.tree[f"{PLACE}/d"] is None


async def test_only_so_many_directories_are_remembered(site: Site, arc: Arc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_DIRECTORIES", 2)
    for name in "abc":
        await arc.make_directory(f"{PLACE}/{name}")
    assert len(arc._directories) == 1


async def test_a_directory_is_never_removed(site: Site, arc: Arc) -> None:
    """A-REX would remove all that is in it."""
    site.tree |= {f"{PLACE}/d": None, f"{PLACE}/d/kept": b"kept"}
    for call in (arc.remove(f"{PLACE}/d"), arc.remove(f"{PLACE}/d/"), arc.write(f"{PLACE}/d", b"x")):
        with pytest.raises(Rejected, match="is a directory"):
            await call
    assert site.changes() == []
    site.tree[f"{PLACE}/x"] = b"x"
    await arc.remove(f"{PLACE}/x")
    assert len(site.changes()) == 1
    await arc.remove(f"{PLACE}/x")
    assert len(site.changes()) == 1, "what is not there is not removed"


async def test_a_removal_is_sent_once_and_looked_at_afterwards(site: Site, arc: Arc) -> None:
    path = f"{PLACE}/x"
    key = f"DELETE 1.1/jobs/{DOOR}/session/root{path}"

    def lost(_: httpx.Request) -> httpx.Response:
        del site.tree[path]
        raise httpx.ReadTimeout("")

    site.tree[path] = b"x"
    site.replies[key] = lost
    await arc.remove(path)
    assert site.asked.count(key) == 1
    site.tree[path] = b"x"
    site.replies[key] = phrase(500, "Failed to delete")
    with pytest.raises(Rejected, match=r"does not let /scratch/p/x be removed: ARC says 'Failed to delete'"):
        await arc.remove(path)


@pytest.mark.parametrize(
    "status, said, kind, reason",
    [
        (500, "Error creating file", Rejected, "NotWritten"),
        (500, "Error writing to file", Rejected, "NotWritten"),
        (500, "Internal Server Error", Unavailable, "UnexpectedAnswer"),
        (500, "User can't be assigned configuration", Unauthorized, "TokenRefused"),
        (503, "Service Unavailable", Unavailable, "Busy"),
    ],
)
async def test_a_part_that_is_refused_is_told_by_whose_turn_it_is(
    site: Site, arc: Arc, status: int, said: str, kind: type[PasserelleError], reason: str
) -> None:
    key = f"PUT 1.1/jobs/{DOOR}/session/root{PLACE}/x"
    site.replies[key] = phrase(status, said)
    with pytest.raises(kind) as caught:
        await arc.append(f"{PLACE}/x", 0, b"x")
    assert caught.value.reason == reason
    assert site.asked.count(key) == 1


async def test_nothing_is_renamed_and_no_digest_is_made(site: Site, arc: Arc) -> None:
    site.tree[f"{PLACE}/x"] = b"x"
    await arc.open_files()
    with pytest.raises(Rejected):
        await arc.rename(f"{PLACE}/x", f"{PLACE}/y")
    assert not arc.traits.renames
    assert await arc.digest(f"{PLACE}/x") is None
    with pytest.raises(Missing):
        await arc.digest(f"{PLACE}/y")
    with pytest.raises(Missing):
        await arc.read(PLACE, 0, 100)
    assert await arc.size(PLACE) is None


async def test_a_directory_is_listed_with_its_links(site: Site, arc: Arc) -> None:
    site.tree |= {f"{PLACE}/b & <c>": b"four", f"{PLACE}/d": None, "/scratch/far": b"linked"}
    key = f"PROPFIND 1.1/jobs/{DOOR}/session/root{PLACE}"
    names = {"b & <c>": True, "d": True, "far": True, "closed": True, "no": False}
    site.replies[key] = lambda _: httpx.Response(200, content=dav(PLACE, names))
    site.replies[f"HEAD 1.1/jobs/{DOOR}/session/root{PLACE}/far"] = lambda _: file(headers={"content-length": "6"})
    assert await arc.entries(PLACE) == [
        Entry(name="b & <c>", size=4, is_directory=False),
        Entry(name="closed", size=0, is_directory=False, broken="a link to what the site's user may not see"),
        Entry(name="d", size=0, is_directory=True),
        Entry(name="far", size=6, is_directory=False),
        Entry(name="no", size=0, is_directory=False, broken="a link that leads nowhere, or no file"),
    ]
    assert f"HEAD 1.1/jobs/{DOOR}/session/root{PLACE}/no" not in site.asked, "a pipe would never answer"
    assert await arc.entries(f"{PLACE}/nowhere") is None
    assert await arc.entries(f"{PLACE}/b & <c>") is None
    site.replies[key] = phrase(501, "Not Implemented")
    assert [each.name for each in await arc.entries(PLACE) or ()] == ["b & <c>", "d"]
    site.replies[key] = phrase(500, "Internal Server Error")
    with pytest.raises(Unavailable):
        await arc.entries(PLACE)


async def test_a_directory_of_too_many_files_is_refused(site: Site, arc: Arc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_ENTRIES", 2)
    site.tree |= {f"{PLACE}/{name}": b"" for name in "ab"}
    assert len(await arc.entries(PLACE) or ()) == 2
    site.tree[f"{PLACE}/c"] = b""
    with pytest.raises(Rejected) as caught:
        await arc.entries(PLACE)
    assert caught.value.reason == TOO_MANY_ENTRIES


@pytest.mark.parametrize(
    "document, kind",
    [
        (b"", Unavailable),
        (b"<list><file>x</file></list>", Unavailable),
        (b'<list><file size="-1">x</file></list>', Unavailable),
        (b'<!DOCTYPE l [<!ENTITY a "b">]><list><file size="1">&a;</file></list>', Unavailable),
        ('<!DOCTYPE l [<!ENTITY a "b">]><list><file size="1">&a;</file></list>'.encode("utf-16"), Rejected),
        (b'<list><file size="1">no\xffutf</file></list>', Rejected),
    ],
)
def test_a_list_that_can_not_be_read_is_none(document: bytes, kind: type[PasserelleError]) -> None:
    with pytest.raises(kind):
        listing.entries(document, "/d")


def test_a_name_that_is_no_utf8_is_told_wherever_it_stands() -> None:
    document = dav("/d", {"x": True}).replace(b"/d/x<", b"/d/no%FF<")
    with pytest.raises(Rejected, match="no UTF-8"):
        listing.others(document, "/d")


async def test_who_may_not_ask_is_told_so_and_not_that_the_door_is_shut(site: Site, arc: Arc) -> None:
    site.replies["GET 1.1/jobs"] = phrase(500, "User can't be assigned configuration")
    with pytest.raises(Unauthorized):
        await arc.write(f"{PLACE}/x", b"x")
    del site.replies["GET 1.1/jobs"]
    await arc.write(f"{PLACE}/x", b"x")
    assert ID not in site.states
