"""Files at the site, read: whole pieces, digests, and what receipts and notes say."""

from __future__ import annotations

from passerelle.errors import Missing
from passerelle.staging import receipt
from passerelle.staging.door import Door
from passerelle.staging.hashing import Hashed
from passerelle.staging.receipt import Receipt
from passerelle.staging.store import Changed
from passerelle.staging.turns import Turns

RECEIPT_LIMIT = 128 * 1024
"""A directory's tells of ten thousand files."""
_BACK = "\0back"
"""No path ends so: beside what the object's bytes are, by the same path."""


async def kept(site: Door, place: str) -> bytes:
    """What stands in a receipt or a note; nothing where there is none."""
    try:
        return await site.read(place, 0, RECEIPT_LIMIT)
    except Missing:
        return b""


async def kept_receipt(site: Door, run_root: str, path: str) -> Receipt | None:
    """What stands in the receipt of a path at the site, where there is one."""
    return receipt.receipt(await kept(site, receipt.receipt_place(run_root, path)), path)


async def site_digest(site: Door, turns: Turns, owner: str, path: str, size: int, hashes: dict[str, Hashed]) -> str:
    """SHA-256 of a file at the site, as the site computes it; else it is read for that, in this owner's turns. What was
    read stands in `hashes` by the path, and is not read again, until the caller takes it away.
    """
    told = await site.digest(path)
    if told is not None:
        return told
    return (await _hashed(site, turns, owner, path, size, hashes, path)).hexdigest


async def read_back(site: Door, turns: Turns, owner: str, path: str, size: int, hashes: dict[str, Hashed]) -> Hashed:
    """The first bytes of a file that we write, hashed as they are read. As above, what was read stands in `hashes`; who
    writes to the file, or is done with it, forgets it.
    """
    return await _hashed(site, turns, owner, path, size, hashes, path + _BACK)


def forget_back(path: str, hashes: dict[str, Hashed]) -> None:
    hashes.pop(path + _BACK, None)


async def _hashed(
    site: Door, turns: Turns, owner: str, path: str, size: int, hashes: dict[str, Hashed], key: str
) -> Hashed:
    done = hashes.get(key, Hashed())
    if done.offset > size:
        done = Hashed()
    while done.offset < size:
        async with turns.turn(owner):
            length = min(site.part_bytes, size - done.offset)
            done = hashes[key] = await done.after(await read_exactly(site, path, done.offset, length))
    return done


async def read_exactly(site: Door, path: str, offset: int, length: int) -> bytes:
    """So many bytes of a file at the site; a gateway may give fewer at a time. Raises Changed at its end."""
    found = bytearray()
    while len(found) < length:
        piece = await site.read(path, offset + len(found), length - len(found))
        if not piece:
            raise Changed(f"{path} has become shorter while it was copied; it is copied anew.", reason="OutputChanged")
        found += piece
    return bytes(found)
