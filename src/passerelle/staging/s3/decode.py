"""What S3 answers, read: listings, parts, errors. Pure. Elements are found by name, whatever their name space is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.parsers import expat

from passerelle.errors import Invalid, Unavailable
from passerelle.staging.place import Place
from passerelle.staging.store import Part, Stored

SHA256 = "x-amz-meta-sha256"
"""Metadata of the objects that we make: the SHA-256 of the whole, which no server computes of an upload in parts."""

FAULT_LIMIT = 64 * 1024
"""Bytes of an error, and of every answer that is no listing."""
MOST_ELEMENTS = 32_000
"""Of an answer: 1,000 objects have some 14 each. What has more is no listing, and would hold up everybody."""
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _NoXml(Exception):
    """It is no XML that S3 would send."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing; `more` is the token with which it goes on, "" at its end."""

    found: tuple[Stored, ...]
    more: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A part of the parts; `more` is the number after which it goes on, None at its end."""

    found: Mapping[int, Part]
    more: int | None


def page(body: bytes, bucket: str) -> Page:
    """An answer to ListObjectsV2, asked for with encoding-type=url."""
    root = _root(body, "ListBucketResult")
    quoted = _text(root, "EncodingType") == "url"
    found = []
    for each in _children(root, "Contents"):
        key = _text(each, "Key")
        key = unquote(key.replace("+", " ")) if quoted else key
        told = version(_text(each, "ETag"), Place(bucket, key))
        found.append(Stored(key=key, size=_number(_text(each, "Size")), version=told))
    more = _text(root, "NextContinuationToken") if _text(root, "IsTruncated") == "true" else ""
    return Page(tuple(found), more)


def stored(place: Place, headers: Mapping[str, str]) -> Stored:
    """An answer to HeadObject."""
    size = _number(headers.get("content-length", ""))
    told = version(headers.get("etag", ""), place)
    return Stored(key=place.key, size=size, version=told, sha256=headers.get(SHA256, "").lower())


def version(etag: str, place: Place) -> str:
    """An ETag, quoted as If-Match wants it: some stores leave the quotes out of their listings, and a proxy that
    compresses calls an ETag weak. Raises Invalid where there is none: a store that keeps files for others than S3 has
    such objects, and asking again makes them no others.
    """
    bare = etag.removeprefix("W/").strip('"')
    if not bare or not (bare.isascii() and bare.isprintable()) or '"' in bare:
        text = (
            f"The object store names no ETag of {str(place)[:300]!a}, which tells one version from another; upload the "
            "object again through S3."
        )
        raise Invalid(text, reason="EtagMissing")
    return f'"{bare}"'


def upload_id(body: bytes) -> str:
    """An answer to CreateMultipartUpload."""
    found = _text(_root(body, "InitiateMultipartUploadResult"), "UploadId")
    if not found:
        raise _strange("an upload without an id")
    return found


def parts(body: bytes) -> Parts:
    """An answer to ListParts."""
    root = _root(body, "ListPartsResult")
    found = [
        Part(
            number=_number(_text(each, "PartNumber")),
            size=_number(_text(each, "Size")),
            etag=_text(each, "ETag"),
            checksum=_text(each, "ChecksumSHA256"),
        )
        for each in _children(root, "Part")
    ]
    more = _number(_text(root, "NextPartNumberMarker")) if _text(root, "IsTruncated") == "true" else None
    return Parts({each.number: each for each in found}, more)


def completion(found: Iterator[Part] | tuple[Part, ...]) -> bytes:
    """The body of CompleteMultipartUpload."""
    root = ET.Element("CompleteMultipartUpload")
    for each in found:
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "PartNumber").text = str(each.number)
        ET.SubElement(part, "ETag").text = each.etag
        if each.checksum:
            ET.SubElement(part, "ChecksumSHA256").text = each.checksum
    return ET.tostring(root)


def fault(body: bytes) -> tuple[str, str]:
    """Code and region of an error's body; both "" where it is none."""
    if len(body) > FAULT_LIMIT:
        return "", ""
    try:
        root = _parsed(body)
    except _NoXml:
        return "", ""
    if _name(root) != "Error":
        return "", ""
    return _word(_text(root, "Code")), _word(_text(root, "Region"))


def _word(text: str) -> str:
    """As it may stand in a message and a log; "" for what is no word of S3's."""
    return text if _WORD.fullmatch(text) else ""


def _root(body: bytes, name: str) -> ET.Element:
    try:
        root = _parsed(body)
    except _NoXml:
        raise _strange("an answer that is no XML") from None
    if _name(root) != name:
        raise _strange(f"another answer than {name}")
    return root


def _parsed(body: bytes) -> ET.Element:
    """The document's element. Entities can do harm by a document type alone, and that is refused wherever it begins."""
    builder, count = ET.TreeBuilder(), 0

    def start(tag: str, _: object) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise _NoXml
        builder.start(tag, {})

    def refuse(*_: object) -> None:
        raise _NoXml

    parser = expat.ParserCreate("utf-8", "}")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body.lstrip(), True)  # white space comes before an answer that took long
    except expat.ExpatError:
        raise _NoXml from None
    return builder.close()


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (each for each in element if _name(each) == name)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element, name: str) -> str:
    return next(((each.text or "").strip() for each in _children(element, name)), "")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004 -- 64 bits
        raise _strange("a size that is no number")
    return int(text)


def _strange(what: str) -> Unavailable:
    return Unavailable(f"The object store's answer is not understood: it sent {what}.", reason="UnexpectedAnswer")
