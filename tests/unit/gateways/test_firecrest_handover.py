"""Large files through FirecREST, before its own object store and Slurm: what is asked, and what its answers mean."""

from __future__ import annotations

import hashlib
import os

import pytest

from firecrest.bucket import Bucket
from firecrest.canned import LoginNode, Row
from firecrest.fake import Fake
from firecrest.login_node import Done
from firecrest.transfer import INGRESS, OUTGRESS
from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable
from passerelle.gateways.base import Entry
from passerelle.gateways.firecrest.arrange import SHOWN_BYTES
from passerelle.gateways.firecrest.driver import NO_STORE, Firecrest
from unit.gateways.test_firecrest_driver import at_once, client, closed, fake, node

__all__ = ["at_once", "closed", "fake", "node"]

MIB = 1024 * 1024
SECRET = "X-Amz-Signature=5ec2e7"


class Urls(Bucket):
    """A store that is nowhere."""

    def __init__(self) -> None:
        self.public, self.given = "https://store.example", []

    @property
    def authority(self) -> str:
        return ""

    def begin(self, bucket: str, key: str) -> str:
        return f"{bucket}-{key}"

    def url(self, method: str, bucket: str, key: str, query: dict[str, str] | None = None, *, inside: bool) -> str:
        where = "inside" if inside else "store"
        return f"https://{where}.example/{bucket}/{key}?{method}&{(query or {}).get('partNumber', '')}&{SECRET}"


@pytest.fixture
def door(fake: Fake, node: LoginNode) -> Firecrest:
    fake.bucket = Urls()
    fake.behaviour.home = "/site"
    node.sbatch = Done(0, "Submitted batch job 77\n", "")
    return client(fake)


async def test_a_server_with_a_store_lacks_nothing(door: Firecrest) -> None:
    assert (await door.probe()).lacks == ()


@pytest.mark.parametrize("snake", [False, True])
async def test_an_upload_has_as_many_parts_as_are_wanted(
    door: Firecrest, fake: Fake, node: LoginNode, snake: bool
) -> None:
    fake.behaviour.snake, fake.behaviour.part = snake, 64 * MIB
    found = await door.hand_in("/site/corpus.bin.part", 100 * MIB, 10, "g177")

    assert (found.job, len(found.parts), found.most_bytes) == ("77", 10, 64 * MIB)
    assert found.parts[0].startswith("https://store.example/ada/")
    assert "complete" not in found.complete
    assert "#SBATCH --account=g177" in node.scripts[0]
    assert 'target_file = "/site/corpus.bin.part"' in node.scripts[0]
    assert found.error_log.startswith("/site/ada/")
    assert SECRET not in repr(found)


async def test_a_file_of_many_parts_of_the_servers_has_no_fewer(door: Firecrest, fake: Fake) -> None:
    fake.behaviour.part = 8 * MIB
    assert len((await door.hand_in("/site/corpus.bin.part", 100 * MIB, 2, "g177")).parts) == 13


async def test_a_download_tells_what_the_file_was(door: Firecrest, node: LoginNode) -> None:
    (node.root / "model.bin").write_bytes(b"x" * 100)
    found = await door.hand_out("/site/model.bin", "g177")
    assert found.url.startswith("https://store.example/")
    assert found.stamp == await door.stamp("/site/model.bin")
    assert SECRET not in repr(found)
    with pytest.raises(Missing):
        await door.hand_out("/site/nowhere", "g177")


@pytest.mark.parametrize("path", ["/site/a b", "/site/$(x)", "/site/a;b", "/site/a&b", "/site/a'b"])
async def test_a_path_that_a_shell_would_read_is_never_given_to_a_job(door: Firecrest, fake: Fake, path: str) -> None:
    with pytest.raises(Invalid, match="use letters, digits and"):
        await door.hand_in(path, 1, 1, "g177")
    assert "transfer_upload" not in fake.asked


async def test_an_account_that_is_needed_is_asked_for(door: Firecrest) -> None:
    with pytest.raises(Rejected, match="write one into the Site's admission") as told:
        await door.hand_in("/site/x", 1, 1, "")
    assert told.value.reason == "AccountNeeded"


async def test_a_server_without_a_store_says_so(door: Firecrest, fake: Fake) -> None:
    for way, words in (("streamer", "by streamer alone"), ("s3", "in no way")):
        fake.behaviour.way = way
        if way == "s3":
            fake.bucket = None
        with pytest.raises(Rejected, match=words) as told:
            await client(fake).hand_in("/site/x", 1, 1, "g177")
        assert told.value.reason == "NoObjectStore"
        assert NO_STORE in (await client(fake).probe()).lacks


async def test_a_lost_answer_is_unknown_and_what_came_before_is_not(
    door: Firecrest, fake: Fake, node: LoginNode
) -> None:
    fake.behaviour.lost_answers = 1
    with pytest.raises(Unavailable) as told:
        await door.hand_in("/site/x", 1, 1, "g177")
    assert told.value.sent
    assert len(node.scripts) == 1

    fake.behaviour.unwell = "down"
    with pytest.raises(Unavailable) as told:
        await client(fake).hand_in("/site/x", 1, 1, "g177")
    assert not told.value.sent


async def test_a_look_that_comes_before_a_download_asks_for_nothing(door: Firecrest, node: LoginNode) -> None:
    (node.root / "model.bin").write_bytes(b"x" * 100)
    node.hung.add("stat")
    with pytest.raises(Unavailable) as told:
        await door.hand_out("/site/model.bin", "g177")
    assert not told.value.sent


async def test_a_refusal_of_sbatch_is_one(door: Firecrest, node: LoginNode) -> None:
    node.sbatch = Done(
        1, "", "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    )
    with pytest.raises(Rejected):
        await door.hand_in("/site/x", 1, 1, "g177")


async def test_a_job_is_known_by_the_path_in_its_script(door: Firecrest, node: LoginNode) -> None:
    await door.hand_in("/site/corpus.bin.part", 1, 1, "g177")
    node.scripts[:0] = ["", ""]  # job 2 has this script
    await door.hand_in("/site/corpus.bin.part.1", 1, 1, "g177")
    ended = Row("1", INGRESS, state="COMPLETED", end="1000")
    node.rows = [Row("2", INGRESS), Row("3", INGRESS), ended, Row("4", "psr-x")]

    assert await door.waiting_for("/site/corpus.bin.part") == ["2"]
    assert await door.find() == [], "none of them is an attempt"


async def test_what_a_job_could_not_do_is_somebodys(door: Firecrest, node: LoginNode) -> None:
    assert await door.complaint("/site/nowhere.log") is None
    for words, reason in (
        ("cat: write error: Disk quota exceeded", "NoRoom"),
        ("cat: write error: No space left on device", "NoRoom"),
        ("bash: /site/x: Permission denied", "FileRefused"),
    ):
        (node.root / "job.log").write_text(f"{SECRET}\n{words}\n")
        found = await door.complaint("/site/job.log")
        assert isinstance(found, Rejected)
        assert (found.reason, SECRET in found.message) == (reason, False)
    (node.root / "job.log").write_text("Download failed: part 1\n")
    assert await door.complaint("/site/job.log") is None


@pytest.mark.parametrize("name", ["set é.bin", 'so "x" $(y) %41', "-rf", "x" * 200])
async def test_a_file_gets_its_name_and_loses_the_first(door: Firecrest, node: LoginNode, name: str) -> None:
    (node.root / "d").mkdir()
    (node.root / "d" / f"{name}.part").write_bytes(b"whole")

    await door.rename(f"/site/d/{name}.part", f"/site/d/{name}")

    assert [each.name for each in (node.root / "d").iterdir()] == [name]
    assert (node.root / "d" / name).read_bytes() == b"whole"
    with pytest.raises(Missing):
        await door.rename(f"/site/d/{name}.part", f"/site/d/{name}")


async def test_a_name_that_can_not_be_given_leaves_the_file(door: Firecrest, node: LoginNode) -> None:
    (node.root / "d").mkdir()
    (node.root / "d" / "x.part").write_bytes(b"whole")
    node.down.add("tar")
    with pytest.raises(PasserelleError):
        await door.rename("/site/d/x.part", "/site/d/x")
    assert [each.name for each in (node.root / "d").iterdir()] == ["x.part"]


async def test_a_file_that_came_meanwhile_keeps_its_name(door: Firecrest, node: LoginNode) -> None:
    (node.root / "d").mkdir()
    (node.root / "d" / "x.part").write_bytes(b"whole")
    (node.root / "d" / "x").write_bytes(b"somebody's")
    with pytest.raises(Unavailable) as told:
        await door.rename("/site/d/x.part", "/site/d/x")
    assert told.value.reason == "DataInTheWay"
    assert {each.name: each.read_bytes() for each in (node.root / "d").iterdir()} == {
        "x.part": b"whole",
        "x": b"somebody's",
    }


async def test_a_name_that_was_given_before_is_enough(door: Firecrest, node: LoginNode) -> None:
    """Whoever gave it died before the first name went."""
    (node.root / "d").mkdir()
    (node.root / "d" / "x.part").write_bytes(b"whole")
    (node.root / "d" / "x").hardlink_to(node.root / "d" / "x.part")
    await door.rename("/site/d/x.part", "/site/d/x")
    assert [each.name for each in (node.root / "d").iterdir()] == ["x"]


async def test_jobs_are_known_by_their_names_and_by_whose_they_are(door: Firecrest) -> None:
    assert door.transfer_names == {INGRESS, OUTGRESS}
    who = await door.whose()
    assert who == (await door.probe()).identity


async def test_entries_are_told_with_what_links_lead_to(door: Firecrest, node: LoginNode) -> None:
    (node.root / "d" / "below").mkdir(parents=True)
    (node.root / "d" / "a é\n.bin").write_bytes(b"1234")
    for name, target in (("link", "below"), ("file", "a é\n.bin"), ("broken", "nowhere")):
        (node.root / "d" / name).symlink_to(target)
    os.mkfifo(node.root / "d" / "pipe")

    found = await door.entries("/site/d")

    assert found is not None
    told = {each.name: each for each in found}
    assert told["below"] == Entry(name="below", size=0, is_directory=True)
    assert told["link"].is_directory
    assert (told["file"].size, told["broken"].broken) == (4, "a link that leads to nothing")
    assert "pipe" not in told
    assert await door.entries("/site/d/file") is None
    assert await door.entries("/site/nowhere") is None


async def test_nothing_but_a_file_is_removed(door: Firecrest, node: LoginNode) -> None:
    (node.root / "d").mkdir()
    (node.root / "d" / "x").write_bytes(b"1")
    with pytest.raises(Rejected, match="is no file"):
        await door.remove("/site/d")
    await door.remove("/site/d/x")
    await door.remove("/site/d/x")
    assert list((node.root / "d").iterdir()) == []


async def test_a_digest_is_the_sites_or_none_where_it_takes_too_long(
    door: Firecrest, fake: Fake, node: LoginNode
) -> None:
    (node.root / "x").write_bytes(b"content")
    assert await door.digest("/site/x") == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(Missing):
        await door.digest("/site/nowhere")

    node.hung.add("timeout")
    with pytest.raises(Unavailable):
        await door.digest("/site/x")
    os.truncate(node.root / "x", 300 * MIB)
    assert await door.digest("/site/x") is None


@pytest.mark.parametrize("offset", [0, 1, 5000, 3 * SHOWN_BYTES])
@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_bytes_are_compared_as_far_as_they_are_shown(
    door: Firecrest, node: LoginNode, offset: int, kind: str
) -> None:
    content = ("é日x" * 20_000).encode() if kind == "text" else hashlib.shake_256(b"2").digest(100_000)
    (node.root / "x").write_bytes(content)
    piece = content[offset : offset + 8 * SHOWN_BYTES]
    assert await door.resembles("/site/x", offset, piece)
    ahead = -offset % SHOWN_BYTES + 100
    assert not await door.resembles("/site/x", offset, piece[:ahead] + b"????????" + piece[ahead + 8 :])
    os.truncate(node.root / "x", offset + 10)
    assert not await door.resembles("/site/x", offset, piece)
