"""Reads documents that nobody has checked: whatever has an unexpected shape is refused with its place, never guessed.

A place that is missing or null is empty, as the Kubernetes API reads it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from passerelle.errors import Invalid


class Fields:
    """A mapping and its path in the document."""

    def __init__(self, value: object, path: str = "") -> None:
        if value is not None and not isinstance(value, Mapping):
            raise Invalid(f"{path or 'The document'} is {_shape(value)}; write a mapping of fields.")
        self._value: Mapping[Any, Any] = value or {}
        self.path = path

    def __bool__(self) -> bool:
        return bool(self._value)

    def __contains__(self, key: str) -> bool:
        return self._value.get(key) is not None

    def names(self) -> list[str]:
        """The fields that are set, as text, in the document's order."""
        return [str(key) for key, value in self._value.items() if value is not None]

    def all_names(self) -> list[str]:
        """All fields, those set to null among them."""
        return [str(key) for key in self._value]

    def raw(self, key: str) -> object:
        return self._value.get(key)

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def under(self, key: str) -> Fields:
        """The mapping of a field. Raises Invalid where it is none."""
        return Fields(self._value.get(key), self.at(key))

    def each(self, key: str) -> Iterator[Fields]:
        """The mappings of a list. Raises Invalid where it is none."""
        for place, item in enumerate(self._list(key, "mappings")):
            yield Fields(item, f"{self.at(key)}[{place}]")

    def texts(self, key: str) -> list[str]:
        """The texts of a list. Raises Invalid where it is none."""
        found = []
        for place, item in enumerate(self._list(key, "texts")):
            text = scalar(item)
            if text is None:
                raise Invalid(f"{self.at(key)}[{place}] is {_shape(item)}; write a text.")
            found.append(text)
        return found

    def text(self, key: str) -> str | None:
        """A text; numbers and booleans as YAML writes them. Raises Invalid where it is a list or a mapping."""
        value = self._value.get(key)
        text = scalar(value)
        if text is None and value is not None:
            raise Invalid(f"{self.at(key)} is {_shape(value)}; write a text.")
        return text

    def count(self, key: str) -> int | None:
        """A whole number from 0 on, also where it stands as text. Raises Invalid otherwise."""
        text = self.text(key)
        if text is None:
            return None
        number = whole(text)
        if number is None:
            raise Invalid(f"{self.at(key)} is {_shape(text)}; write a whole number.")
        return number

    def flag(self, key: str) -> bool:
        """True or false; false where missing. Raises Invalid otherwise."""
        value = self._value.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise Invalid(f"{self.at(key)} is {_shape(value)}; write true or false.")

    def _list(self, key: str, of: str) -> list[object]:
        value = self._value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise Invalid(f"{self.at(key)} is {_shape(value)}; write a list of {of}.")
        return value


def whole(text: str) -> int | None:
    """A whole number of at most nine digits, which is more than there are of anything; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def scalar(value: object) -> str | None:
    """A scalar of YAML as text, or None where it is none."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dt.date():
            return value.isoformat()
    return None


def _shape(value: object) -> str:
    match value:
        case list():
            return "a list"
        case Mapping():
            return "a mapping"
    text = str(scalar(value))
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


_DIGITS = 9
_SHOWN = 40
"""Characters of a wrong value that a message repeats."""
