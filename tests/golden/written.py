"""A batch as the golden files hold it: the program of onsite/ is left out, for its sources are in the repository."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from passerelle.batch import Batch

RECORD = os.environ.get("PASSERELLE_RECORD") == "1"
_PROGRAM = re.compile(r"(^base64 -d > \"\$lib\" [^\n]*\n)(?:[A-Za-z0-9+/=]+\n)+", re.MULTILINE)


def script(batch: Batch) -> str:
    """The whole script, with a word in the place of the program."""
    text, count = _PROGRAM.subn(r"\1PROGRAM\n", batch.script)
    assert count == 1
    return text


def options(batch: Batch) -> str:
    told = {"options": dataclasses.asdict(batch.options), "environment": dict(batch.environment)}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def differing(batches: dict[str, Batch]) -> str:
    """What varies between scripts: options, the script's own values, spec.json. What all have stands there once, and
    words stand for their own names.
    """
    flat = {name: _flat(_parts(batch)) for name, batch in batches.items()}
    first = next(iter(flat.values()))
    shared = {key: value for key, value in first.items() if all(each.get(key, ...) == value for each in flat.values())}
    told = {"all": shared} | {
        name: {key: value for key, value in each.items() if key not in shared} for name, each in flat.items()
    }
    return yaml.safe_dump(told, sort_keys=False, width=4096, allow_unicode=True)


def agrees(file: Path, text: str) -> bool:
    """Whether a file holds the text; it is written anew where that is asked for."""
    if RECORD:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return file.read_text(encoding="utf-8") == text


def _parts(batch: Batch) -> dict[str, Any]:
    marker = batch.options.name
    lines = [_nameless(line, marker) for line in batch.script.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("marker="))
    end = next(number for number, line in enumerate(lines) if line.startswith("here="))
    spec = next(line for line in lines if line.startswith('{"agent":'))
    return {
        "options": json.loads(_nameless(json.dumps(dataclasses.asdict(batch.options)), marker)),
        "shell": lines[0],
        "values": dict(line.split("=", 1) for line in lines[begin:end]),
        "spec": json.loads(spec),
    }


def _nameless(text: str, marker: str) -> str:
    return text.replace(marker, "MARKER").replace(marker.rpartition("-")[0], "RUN")


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Keys joined by dots; lists stay whole."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{before}{key}.") if isinstance(each, dict) and each else {before + key: each}
    return found
