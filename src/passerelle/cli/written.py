"""A TrainingJob as YAML that people like to read and to change. Equal manifests are equal text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

_WIDTH = 118
_FLOW_WIDTH = 96


class _Dumper(yaml.SafeDumper):
    """Block style; lists of plain words on one line, texts of several lines as blocks."""


_NUMBER = re.compile(r"[-+]?[.0-9][0-9a-fA-FxXoO_.+-]*|[yYnN]")
"""What some reader of YAML takes for a number or a truth: kubectl's reads 1e-4 as one, PyYAML does not."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _NUMBER.fullmatch(text) or not all(c.isprintable() or c == "\n" for c in text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    block = "\n" in text and not any(line != line.rstrip() for line in text.split("\n")) and "\t" not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


def _list(dumper: yaml.SafeDumper, items: Sequence[Any]) -> yaml.SequenceNode:
    short = all(isinstance(item, str) and "\n" not in item for item in items)
    flow = short and sum(len(item) + 2 for item in items) <= _FLOW_WIDTH
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def written(manifest: dict[str, Any], notes: Sequence[str] = (), title: str = "") -> str:
    """The manifest, with a title and notes as comments in front."""
    lines = textwrap.wrap(title, width=_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    for note in notes:
        lines += textwrap.wrap(
            note, width=_WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False
        )
    body = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return "".join(f"{line}\n" for line in lines) + body
