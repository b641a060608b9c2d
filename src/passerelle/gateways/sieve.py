"""A large answer, read as it comes: the elements of one of its lists are handed over one by one, and none is kept.

A site's full listing has 8 KiB for each job of everybody's: 15,000 of them are 120 MB, which lay in memory three times
before the first one was looked at, and held the operator up for seconds. The rest of the answer, in which errors stand,
is kept, with an empty list in the place of that one.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Any

PIECE = 64 * 1024
"""Characters that are gathered before elements are looked for: an element that is cut off is read again."""

ELEMENT_LIMIT = 4 * 1024 * 1024
"""Characters of one element: what is longer is no list of records, and is kept as it is."""

_GAP = re.compile(r"[\s,]*")


class Sieve:
    """Of a JSON object, the elements of the list `name`, which stands at the top. `take` gets those that are objects.

    Text that is no JSON is kept as far as it was not handed over: then rest() is no JSON, either.
    """

    def __init__(self, name: str, take: Callable[[dict[str, Any]], None]) -> None:
        self._begins = re.compile(rf'"{re.escape(name)}"\s*:\s*\[')  # in a text of JSON, quotes have backslashes
        self._take = take
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._rest: list[str] = []
        self._inside = False
        self._done = False

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        self._text += self._decoder.decode(piece)
        if len(self._text) >= PIECE or self._done:
            self._sift()

    def rest(self) -> bytes:
        """After the last bytes: what else the object holds."""
        self._text += self._decoder.decode(b"", final=True)
        self._sift()
        self._rest.append(self._text)
        self._text = ""
        return "".join(self._rest).encode()

    def _sift(self) -> None:
        if not self._inside and not self._done and (found := self._begins.search(self._text)) is not None:
            self._rest.append(self._text[: found.end()])
            self._text, self._inside = self._text[found.end() :], True
        if self._inside:
            self._elements()
        if self._done:
            self._rest.append(self._text)
            self._text = ""

    def _elements(self) -> None:
        """Hand over those that are whole."""
        place = 0
        while True:
            start = _GAP.match(self._text, place).end()  # type: ignore[union-attr]  # it matches nothing, too
            if self._text[start : start + 1] == "]":
                place, self._inside, self._done = start, False, True
                break
            try:
                element, end = self._scan(self._text, start)
            except ValueError:  # it is cut off, or no JSON at all
                if len(self._text) - start > ELEMENT_LIMIT:
                    self._inside, self._done = False, True
                break
            if end == len(self._text):
                break  # a number may go on
            place = end
            if isinstance(element, dict):
                self._take(element)
        self._text = self._text[place:]
