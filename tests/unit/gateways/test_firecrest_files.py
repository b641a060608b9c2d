"""Files by ranges, against the fake server, whose commands run on a directory of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from firecrest.canned import USER, LoginNode
from firecrest.fake import Fake
from passerelle.errors import Invalid, Missing, Rejected, Unavailable
from passerelle.gateways import meter
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.credential import FirecrestCredential
from passerelle.gateways.firecrest.files import RemoteFiles

LIMIT = 400_000
"""Of the fake: large files are small ones here."""

TEXT = "".join(f"{number:06d} déjà vu 日本 🚀\n" for number in range(40_000)).encode()
BYTES = bytes(range(256)) * 40


@pytest.fixture
def node(tmp_path: Path) -> LoginNode:
    return LoginNode(tmp_path)


@pytest.fixture
def fake(node: LoginNode) -> Iterator[Fake]:
    made = Fake("alps", node, USER)
    made.behaviour.limit = LIMIT
    yield made
    made.end()
    assert made.violations == []


@pytest.fixture
async def files(fake: Fake) -> AsyncIterator[RemoteFiles]:
    credential = FirecrestCredential(user=USER, token=fake.issuer.token(3600))
    calls = Calls(fake.url, lambda: credential)
    yield RemoteFiles(calls, "alps", lambda: LIMIT)
    await calls.close()


async def whole(files: RemoteFiles, path: str, length: int) -> bytes:
    """The file as somebody reads it who follows it."""
    content = b""
    while piece := await files.read(path, len(content), length):
        assert len(piece) <= length
        content += piece
    return content


async def test_small_file_is_exact_whatever_it_holds(files: RemoteFiles, node: LoginNode) -> None:
    (node.root / "log").write_bytes(BYTES)
    for offset, length in ((0, 10_240), (250, 20), (10_235, 100), (10_239, 1), (10_240, 1), (20_000, 1), (5, 0)):
        assert await files.read("/site/log", offset, length) == BYTES[offset : offset + length]


async def test_end_of_a_file_is_read_without_the_rest(files: RemoteFiles, node: LoginNode, fake: Fake) -> None:
    (node.root / "log").write_bytes(TEXT[:200_000])
    fake.asked.clear()

    assert await files.read("/site/log", 199_000, 1_000) == TEXT[199_000:200_000]
    assert fake.asked == ["stat", "tail"]


async def test_large_text_is_followed_to_its_end(files: RemoteFiles, node: LoginNode, fake: Fake) -> None:
    (node.root / "log").write_bytes(TEXT)
    assert len(TEXT) > 2.5 * LIMIT

    assert await whole(files, "/site/log", 50_000) == TEXT
    assert {"view", "tail"} <= set(fake.asked)


@pytest.mark.parametrize("before", [30_100, 100_000, 350_000])
@pytest.mark.parametrize("length", [4_000, 30_000])
async def test_part_of_a_large_text_is_read_with_little_beside_it(
    files: RemoteFiles, node: LoginNode, before: int, length: int
) -> None:
    """Wherever it begins, be it in a character."""
    (node.root / "log").write_bytes(TEXT)
    for offset in range(len(TEXT) - before, len(TEXT) - before + 30, 3):
        with meter.metered() as wire:
            piece = await files.read("/site/log", offset, length)
        text = piece.lstrip(b"?")
        assert length - 3 <= len(piece) <= length
        assert text == TEXT[offset : offset + len(piece)][len(piece) - len(text) :]
        assert wire.received < 2.2 * length + 1_000


async def test_byte_that_is_no_text_is_one_question_mark(files: RemoteFiles, node: LoginNode) -> None:
    at = len(TEXT) - 1000
    spoilt = TEXT[:at] + b"\xff\xfe" + TEXT[at:]
    (node.root / "log").write_bytes(spoilt)

    assert await whole(files, "/site/log", 70_000) == TEXT[:at] + b"??" + TEXT[at:]


async def test_broken_character_is_repeated_in_no_part(files: RemoteFiles, node: LoginNode) -> None:
    """One U+FFFD stands for two bytes of it."""
    at = len(TEXT) - 1_000
    (node.root / "log").write_bytes(TEXT[:at] + b"\xe2\x82" + TEXT[at:])

    assert await files.read("/site/log", at, 100) == b"?"
    assert await files.read("/site/log", at + 1, 101) == b"?" + TEXT[at : at + 100]


async def test_large_file_of_bytes_is_refused_not_made_up(files: RemoteFiles, node: LoginNode) -> None:
    (node.root / "log").write_bytes(b"\xff" * 3 * LIMIT)
    with pytest.raises(Unavailable, match="Copy it at the site") as caught:
        await files.read("/site/log", 10, 10)

    assert caught.value.reason == "FileNotReadable"


async def test_file_is_private_before_it_has_content(files: RemoteFiles, node: LoginNode) -> None:
    await files.write("/site/spec", b"hush")
    commands = [command.split()[0] for command in node.commands]

    assert commands == ["stat", "base64", "chmod", "base64"]
    assert (node.root / "spec").read_bytes() == b"hush"
    assert (node.root / "spec").stat().st_mode & 0o777 == 0o600
    await files.write("/site/spec", b"new", mode=0o644)
    assert (node.root / "spec").read_bytes() == b"new"
    assert (node.root / "spec").stat().st_mode & 0o777 == 0o644


async def test_file_of_no_bytes(files: RemoteFiles, node: LoginNode) -> None:
    await files.write("/site/empty", b"")

    assert await files.size("/site/empty") == 0


async def test_file_that_is_too_large_is_not_sent(files: RemoteFiles, fake: Fake) -> None:
    with pytest.raises(Invalid, match="takes 400000 at once"):
        await files.write("/site/large", b"x" * (LIMIT + 1))

    assert fake.asked == []


async def test_missing_file_or_directory(files: RemoteFiles) -> None:
    assert await files.size("/site/nothing") is None
    assert await files.size("/site/nothing/in/it") is None
    with pytest.raises(Missing):
        await files.read("/site/nothing", 0, 1)
    with pytest.raises(Rejected, match="no directory for /site/nothing/in/it"):
        await files.write("/site/nothing/in/it", b"x")


async def test_directory_is_made_with_those_above_it(files: RemoteFiles, node: LoginNode, fake: Fake) -> None:
    await files.make_directory("/site/a b/é")
    await files.make_directory("/site/a b/é")

    made = [command.split()[0] for command in node.commands if not command.startswith("stat")]
    assert made[-4:] == ["mkdir", "chmod", "mkdir", "chmod"]
    assert fake.asked[-1] == "stat", "what is there is left as it is"
    assert (node.root / "a b" / "é").stat().st_mode & 0o777 == 0o750
    assert await files.size("/site/a b") is None
    (node.root / "file").write_bytes(b"x")
    for taken in ("/site/file", "/site/file/below"):
        with pytest.raises(Rejected, match="/site/file is a file"):
            await files.make_directory(taken)


@pytest.mark.parametrize("name", ['so "quoted"', "back\\slash"])
async def test_name_that_a_form_would_change_is_not_written(files: RemoteFiles, node: LoginNode, name: str) -> None:
    with pytest.raises(Invalid, match="no quotes and no backslash"):
        await files.write(f"/site/{name}", b"x")

    assert list(node.root.iterdir()) == []


async def test_hung_file_system_is_no_answer(files: RemoteFiles, node: LoginNode) -> None:
    node.hung.add("stat")
    with pytest.raises(Unavailable):
        await files.size("/site/log")


@pytest.mark.parametrize("path", ["relative", "/site/it's", "/site/two\nlines", ""])
async def test_path_that_would_be_a_command_is_refused(files: RemoteFiles, fake: Fake, path: str) -> None:
    for call in (files.size(path), files.read(path, 0, 1), files.write(path, b"x")):
        with pytest.raises(Invalid, match="absolute"):
            await call

    assert fake.asked == []
