"""The S3 client and a real server: what is written is what is read, and each refusal is somebody's to mend."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from functools import partial

import pytest

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.staging.s3.client import S3
from passerelle.staging.store import LEAST_PART_BYTES, Changed
from passerelle_sandbox import ports
from passerelle_sandbox.object_store.serve import ObjectStore
from staging.engine import BUCKET, known

pytestmark = pytest.mark.contract


@pytest.fixture
async def s3(store: ObjectStore) -> AsyncIterator[S3]:
    client = S3(BUCKET, known(store))
    yield client
    await client.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("key", ["plain", "a/b c/ü+~%41&=?#.bin", "x" * 200])
async def test_an_object_is_put_told_and_read_in_ranges(s3: S3, store: ObjectStore, key: str) -> None:
    content = secrets.token_bytes(100_000)
    key = f"{secrets.token_hex(4)}/{key}"

    await s3.put(key, content, sha256(content))

    found = await s3.head(key)
    assert found is not None
    assert (found.key, found.size, found.sha256) == (key, 100_000, sha256(content))
    assert await s3.read(found, 0, 100_000) == content
    assert await s3.read(found, 99_990, 10) == content[-10:]
    assert await s3.read(found, 5, 0) == b""
    assert store.digest(BUCKET, key) == sha256(content)
    assert [each.key for each in await s3.list(key, 10)] == [key]


async def test_an_empty_object_is_one(s3: S3) -> None:
    await s3.put("empty", b"", sha256(b""))
    found = await s3.head("empty")
    assert found is not None
    assert (found.size, found.sha256) == (0, sha256(b""))


async def test_what_is_compressed_by_its_owner_comes_as_it_lies(s3: S3) -> None:
    content = b"\x1f\x8bnot really gzip"
    await s3._ask("PUT", "log.gz", headers={"content-encoding": "gzip"}, payload=content)
    found = await s3.head("log.gz")
    assert found is not None
    assert await s3.read(found, 0, found.size) == content


async def test_a_listing_goes_on_over_pages_and_has_an_end(s3: S3) -> None:
    for number in range(1_203):
        await s3.put(f"many/{number:05}", b"x", "")

    found = await s3.list("many/", 2_000)

    assert [each.key for each in found] == [f"many/{number:05}" for number in range(1_203)]
    with pytest.raises(Rejected, match=r"more than 1200 objects; pack them") as refused:
        await s3.list("many/", 1_200)
    assert refused.value.reason == "TooManyObjects"


async def test_an_upload_in_parts_goes_on_where_it_stopped(s3: S3, store: ObjectStore) -> None:
    content = secrets.token_bytes(2 * LEAST_PART_BYTES + 7)
    pieces = [content[start : start + LEAST_PART_BYTES] for start in range(0, len(content), LEAST_PART_BYTES)]
    upload = await s3.begin("big/model.bin", sha256(content))
    await s3.upload("big/model.bin", upload, 2, pieces[1])
    await s3.upload("big/model.bin", upload, 1, pieces[0])
    assert await s3.head("big/model.bin") is None, "nothing appears before it is whole"

    known_parts = await s3.parts("big/model.bin", upload)
    assert known_parts is not None
    assert {number: part.size for number, part in known_parts.items()} == {1: LEAST_PART_BYTES, 2: LEAST_PART_BYTES}
    assert known_parts[1].checksum == base64.b64encode(hashlib.sha256(pieces[0]).digest()).decode()
    last = await s3.upload("big/model.bin", upload, 3, pieces[2])
    await s3.complete("big/model.bin", upload, [known_parts[1], known_parts[2], last])

    found = await s3.head("big/model.bin")
    assert found is not None
    assert (found.size, found.sha256) == (len(content), sha256(content))
    assert store.digest(BUCKET, "big/model.bin") == sha256(content)
    assert await s3.parts("big/model.bin", upload) is None


async def test_an_upload_that_is_dropped_leaves_nothing(s3: S3) -> None:
    upload = await s3.begin("dropped", sha256(b""))
    await s3.upload("dropped", upload, 1, b"some")
    await s3.abort("dropped", upload)
    await s3.abort("dropped", upload)
    assert await s3.parts("dropped", upload) is None
    assert await s3.head("dropped") is None


async def test_a_part_that_was_changed_on_the_way_is_refused(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await s3.begin("tampered", sha256(b""))
    carrier = s3._carrier
    send = carrier.send

    async def other(method: str, path: str, **words: object) -> object:
        return await send(method, path, **{**words, "payload": b"other"})  # type: ignore[arg-type]

    monkeypatch.setattr(carrier, "send", other)
    with pytest.raises(PasserelleError):
        await s3.upload("tampered", upload, 1, b"what was meant"[:5])
    monkeypatch.setattr(carrier, "send", send)
    assert await s3.parts("tampered", upload) == {}


async def test_an_object_that_was_replaced_is_not_read_on(s3: S3) -> None:
    await s3.put("moving", b"first", sha256(b"first"))
    before = await s3.head("moving")
    assert before is not None
    await s3.put("moving", b"again", sha256(b"again"))
    with pytest.raises(Changed, match="replaced while it was copied"):
        await s3.read(before, 0, 5)


async def test_what_is_not_there_is_missing(s3: S3) -> None:
    assert await s3.head("nowhere") is None
    assert await s3.list("nowhere/", 10) == []
    await s3.put("gone", b"x", sha256(b"x"))
    found = await s3.head("gone")
    assert found is not None
    await s3._ask("DELETE", "gone")
    with pytest.raises(Missing, match="put it there, or correct the url"):
        await s3.read(found, 0, 1)


@pytest.mark.parametrize(
    "other, kind, reason, words",
    [
        ({"AWS_ACCESS_KEY_ID": "NOBODY"}, Unauthorized, "InvalidAccessKeyId", "correct it in the Secret team/s3."),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, Unauthorized, "SignatureDoesNotMatch", "it in the Secret team/s3."),
        ({"AWS_REGION": "mars-1"}, Invalid, "WrongRegion", "write AWS_REGION eu-sandbox-1 into the Secret team/s3."),
        ({"ca.crt": ""}, Unavailable, "Unreachable", "certificate into the Secret team/s3 under ca.crt."),
    ],
)
async def test_a_wrong_secret_says_what_to_mend(
    store: ObjectStore, other: dict[str, str], kind: type[PasserelleError], reason: str, words: str
) -> None:
    client = S3(BUCKET, known(store, **other))
    for ask in (partial(client.list, "", 1), partial(client.head, "anything")):
        with pytest.raises(kind) as told:
            await ask()
        assert told.value.reason == reason
        assert words in told.value.message
        assert store.secret_access_key not in told.value.message
        assert store.access_key_id not in told.value.message
    await client.close()


async def test_a_missing_bucket_is_named(store: ObjectStore) -> None:
    client = S3("nobodys-bucket", known(store))
    for ask in (partial(client.list, "", 1), partial(client.head, "a"), partial(client.begin, "a", "")):
        with pytest.raises(Invalid, match=r"has no bucket nobodys-bucket; create it"):
            await ask()
    await client.close()


async def test_a_server_that_is_away_is_nobodys_mistake(store: ObjectStore) -> None:
    client = S3(BUCKET, known(store, AWS_ENDPOINT_URL=f"https://127.0.0.1:{ports.free(1)[0]}"))
    with pytest.raises(Unavailable, match="check the port in AWS_ENDPOINT_URL of the Secret team/s3") as told:
        await client.list("", 1)
    assert not told.value.sent
    await client.close()
