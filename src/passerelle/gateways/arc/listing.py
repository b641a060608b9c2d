"""What A-REX tells of a directory, in XML -> what is in it. Pure.

Asked as our user it lists files with their sizes, and directories, and leaves links out. PROPFIND tells of all names.
"""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree as ET

from passerelle.errors import Rejected, Unavailable
from passerelle.gateways.base import Entry

_DAV = "{DAV:}"


def entries(document: bytes, path: str) -> dict[str, Entry]:
    """By name: of `<list><file size="5">x</file><dir>y</dir></list>`."""
    found = {}
    for each in _read(document, path):
        if each.tag in ("file", "dir") and each.text:
            size, is_directory = each.get("size") or "", each.tag == "dir"
            if not is_directory and not size.isdecimal():
                raise _unreadable(path)
            found[each.text] = Entry(name=each.text, size=0 if is_directory else int(size), is_directory=is_directory)
    return found


def others(document: bytes, path: str) -> dict[str, bool]:
    """Every name in a multistatus of DAV, but the directory's own, which comes first: whether something is there."""
    found = {}
    for each in list(_read(document, path))[1:]:
        last = (each.findtext(f"{_DAV}href") or "").rstrip("/").rpartition("/")[2]
        try:
            name = unquote(last, errors="strict")
        except UnicodeDecodeError:
            raise _no_utf8(path) from None
        found[name] = each.find(f"{_DAV}propstat") is not None
    return found


def _read(document: bytes, path: str) -> ET.Element:
    """Entities can do harm by a document type alone, and that is refused."""
    try:
        text = document.decode("utf-8-sig")  # first: in another encoding a document type would not be seen
    except UnicodeDecodeError:
        raise _no_utf8(path) from None
    if "<!DOCTYPE" in text:
        raise _unreadable(path)
    try:
        return ET.fromstring(text)  # noqa: S314 -- see above
    except ET.ParseError:
        raise _unreadable(path) from None


def _no_utf8(path: str) -> Rejected:
    return Rejected(f"{path} has a file whose name is no UTF-8; rename it.", reason="InvalidPath")


def _unreadable(path: str) -> Unavailable:
    return Unavailable(f"ARC's list of {path} can't be read.", reason="UnexpectedAnswer")
