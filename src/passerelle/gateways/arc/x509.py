"""What an X.509 certificate says of itself: whose it is, and until when. Nothing is proven here: the server does that.

A proxy (RFC 3820) is a certificate that a user's certificate has signed, for a few hours: its subject is its issuer's
with one more common name. A chain of them speaks for the user at its end, and only while all of them are valid.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)

_INTEGER, _OID, _SEQUENCE, _UTC_TIME, _VERSION = 0x02, 0x06, 0x30, 0x17, 0xA0
_LONG, _MULTI = 0x80, 0x1F
_CENTURY = 50
"""A UTCTime's year of two digits is of this century below it (RFC 5280, 4.1.2.5.1)."""

_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""What names are made of; another attribute is told by its number."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The user at the end of a chain of proxies, in grid's own notation `/C=SI/O=Example/CN=Ada`, and the first moment
    at which one of the chain's certificates ends, in epoch seconds.
    """

    subject: str
    expires: float


def holder(pem: bytes) -> Holder:
    """Whose a chain is; its first certificate is the one that is shown. Raises ValueError where there is none."""
    chain = [_read(block) for block in _blocks(pem)]
    if not chain:
        raise ValueError("no certificate")
    subject = ""
    for certificate in chain:
        if subject and certificate.subject != subject:
            continue
        subject = certificate.subject
        if subject.startswith(f"{certificate.issuer}/CN="):
            subject = certificate.issuer
    return Holder(subject, min(certificate.expires for certificate in chain))


@dataclass(frozen=True, slots=True)
class _Certificate:
    subject: str
    issuer: str
    expires: float


def _blocks(pem: bytes) -> Iterator[bytes]:
    for found in _BLOCK.finditer(pem):
        try:
            yield base64.b64decode(b"".join(found[1].split()), validate=True)
        except binascii.Error:
            raise ValueError("a certificate is no base64") from None


def _read(der: bytes) -> _Certificate:
    """Certificate ::= { { [version], serial, algorithm, issuer, { begin, end }, subject, … }, … }"""
    try:
        ((_, certificate),) = _items(der)
        (_, signed), *_ = _items(certificate)
        fields = list(_items(signed))
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        (_, _), (_, _), (_, issuer), (_, validity), (_, subject), *_ = fields
        _, (kind, end) = _items(validity)
        return _Certificate(_name(subject), _name(issuer), _time(kind, end.decode("ascii")))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("a certificate is cut off") from error


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of a sequence."""
    place = 0
    while place < len(der):
        tag, length, place = der[place], der[place + 1], place + 2
        if tag & _MULTI == _MULTI:
            raise ValueError("a tag of several bytes stands in no certificate")
        if length & _LONG:
            size = length ^ _LONG
            length, place = int.from_bytes(der[place : place + size], "big"), place + size
        if place + length > len(der):
            raise ValueError("a certificate is cut off")
        yield tag, der[place : place + length]
        place += length


def _name(der: bytes) -> str:
    text = ""
    for _, parts in _items(der):
        for _, pair in _items(parts):
            (_, oid), (_, value) = _items(pair)
            number = _dotted(oid)
            text += f"/{_ATTRIBUTES.get(number, number)}={value.decode('utf-8', 'replace')}"
    return text


def _dotted(oid: bytes) -> str:
    numbers, value = [], 0
    for byte in oid:
        value = value << 7 | byte & 0x7F
        if not byte & _LONG:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _time(kind: int, text: str) -> float:
    if kind == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
