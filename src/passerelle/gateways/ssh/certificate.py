"""An OpenSSH user certificate: what it says of its time, read without its authority's key.

The format is OpenSSH's PROTOCOL.certkeys: after the nonce and the public key, whose length depends on its kind, follow
a serial number, the certificate's type, a key id, the principals and the two ends of its validity.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

_FIELDS = {
    "ssh-ed25519-cert-v01@openssh.com": 1,
    "ssh-rsa-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": 2,
}
"""Kind -> the number of strings that are its public key. Keys of a security token need a person, and are left out."""

_USER = 1
_FOR_EVER = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Validity:
    """In epoch seconds; `before` is None where the certificate never ends."""

    after: float
    before: float | None


def validity(text: str) -> Validity:
    """When a certificate, as the line that ssh-keygen writes, is valid. Raises ValueError for anything else."""
    kind, _, rest = text.strip().partition(" ")
    if kind not in _FIELDS:
        raise ValueError(f"{kind[:64]!r} is no kind of certificate that is known here")
    try:
        blob = _Reader(base64.b64decode(rest.split()[0], validate=True))
        if blob.string() != kind.encode("ascii"):
            raise ValueError("the certificate is of another kind than its line says")
        for _ in range(1 + _FIELDS[kind]):
            blob.string()
        _, of = blob.number(">Q"), blob.number(">I")
        blob.string()
        blob.string()
        after, before = blob.number(">Q"), blob.number(">Q")
    except (binascii.Error, IndexError, struct.error) as error:
        raise ValueError("the certificate is cut off or damaged") from error
    if of != _USER:
        raise ValueError("the certificate is a host's, not a user's")
    return Validity(float(after), None if before == _FOR_EVER else float(before))


class _Reader:
    """SSH's wire format, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(found)

    def string(self) -> bytes:
        size = self.number(">I")
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise IndexError(size)
        self._at += size
        return found
