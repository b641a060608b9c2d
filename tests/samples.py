"""Values made from a structural schema: small ones, and ones at every bound. So a new field needs no new test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]

_WORDS = (
    *("a", "b", "/a", "/b", "1h", "2h", "1Gi", "2Gi", "https://a.example", "https://b.example", "1", "2"),
    *("ssh://a.example", "ssh://b.example", "s3://bucket/a", "s3://bucket/b"),
)
_MOMENT = "2026-01-02T03:04:05.000000+00:00"
_INT = 2**31 - 1
_ONE_OF = re.compile(r"has\(self\.(\w+)\) != has\(self\.(\w+)\)")
_NOT_BOTH = re.compile(r"!has\(self\.(\w+)\) \|\| !has\(self\.(\w+)\) .*")
"""Rules on two fields that exclude each other; those on the size of a TrainingJob are of another form."""


def sample(schema: Schema, which: int = 0) -> Any:
    """A valid value; `which` 0 and 1 give two that differ, where the schema allows two."""
    match schema["type"]:
        case "object" if "additionalProperties" in schema:
            return {"key": sample(schema["additionalProperties"], which)}
        case "object":
            left_out = {pair[1 - which] for pair in alternatives(schema)}
            return {name: sample(child, which) for name, child in schema["properties"].items() if name not in left_out}
        case "array":
            return [sample(schema["items"], which)]
        case "integer":
            return schema.get("minimum", 0) + which
        case "boolean":
            return bool(which)
        case _ if "enum" in schema:
            return schema["enum"][min(which, len(schema["enum"]) - 1)]
        case _ if schema.get("format") == "date-time":
            return _MOMENT.replace("05.", f"0{which}.")
        case _:
            fits = [word for word in _WORDS if _taken(schema, word) and len(word) >= schema.get("minLength", 0)]
            return fits[which]


def alternatives(schema: Schema, *rules: re.Pattern[str]) -> list[tuple[str, str]]:
    """The pairs of fields of which one may be written; a sample 0 has the first ones, a sample 1 the others."""
    told = [each["rule"] for each in schema.get("x-kubernetes-validations", ())]
    found = (rule.fullmatch(each) for each in told for rule in rules or (_ONE_OF, _NOT_BOTH))
    return [(each[1], each[2]) for each in found if each]


def standing(schema: Schema) -> list[Path]:
    """The places that there are in sample 0."""
    full = sample(schema)
    return [path for path in places(schema) if _stands(full, path)]


def _stands(value: Any, path: Path) -> bool:
    try:
        for step in path:
            value = value[step]
    except KeyError:
        return False
    return True


def sites(schema: Schema) -> list[Any]:
    """A full Site of each driver: what belongs to the one has no place in the other."""
    drivers: list[str] = at(schema, ("gateway", "driver"))["enum"]
    return [_site(schema, driver) for driver in drivers]


OF_ONE_DRIVER = {
    ("gateway", "jump"): {"ssh"},
    ("gateway", "tls", "clientSecret"): {"slurmrestd", "unicore", "firecrest"},
    ("gateway", "tls"): {"slurmrestd", "unicore", "firecrest", "arc"},
    ("gateway", "runtimeEnvironment"): {"arc"},
    ("gateway", "doorPartition"): {"arc"},
}
"""Fields that only some drivers may have."""


def _site(schema: Schema, driver: str) -> Any:
    made = put(sample(schema, int(driver == "ssh")), ("gateway", "driver"), driver)
    if driver == "ssh":
        made = put(made, ("gateway", "url"), "ssh://a.example")
    for place, drivers in OF_ONE_DRIVER.items():
        if driver not in drivers:
            made = take(made, place)
    return made


def _taken(schema: Schema, word: str) -> bool:
    """Whether the pattern takes the word, and each rule that is one: `self.matches(r'…')`, or its opposite."""
    told = [each["rule"] for each in schema.get("x-kubernetes-validations", ())]
    wanted = [re.fullmatch(r"(!?)self\.matches\(r'(.*)'\)", each) for each in told]
    assert all(wanted), f"a rule that is no pattern: {told}"
    patterns = [("", schema.get("pattern", "")), *(each.groups() for each in wanted if each)]
    return all(bool(re.search(pattern, word)) is not bool(unwanted) for unwanted, pattern in patterns)


def at_bounds(schema: Schema) -> Any:
    """The largest value: every field set, every string and list as long as may be."""
    match schema["type"]:
        case "object":
            return {name: at_bounds(child) for name, child in schema["properties"].items()}
        case "array":
            items = [at_bounds(schema["items"]) for _ in range(schema["maxItems"])]
            told = schema.get("x-kubernetes-list-map-keys", ())
            keys = [key for key in told if "enum" not in schema["items"]["properties"][key]]
            return [_keyed(item, keys, place) for place, item in enumerate(items)] if keys else items
        case "integer":
            return schema.get("maximum", _INT)
        case "boolean":
            return True
        case _:
            return _longest(schema)


def _keyed(item: Any, keys: Iterable[str], place: int) -> Any:
    """The item of a list that is a map, with keys of its own."""
    return item | {key: place + 1 if isinstance(item[key], int) else f"{place:02d}{item[key][2:]}" for key in keys}


def _longest(schema: Schema) -> str:
    if schema.get("format") == "date-time":
        return _MOMENT
    if "enum" in schema:
        words: list[str] = schema["enum"]
        return max(words, key=len)
    length: int = schema["maxLength"]
    return next(c * length for c in "x1" if re.fullmatch(schema.get("pattern", ".*"), c * length))


def status_at_bounds(schema: Schema, character: str) -> Any:
    """The largest status; the texts that people and sites write are made of one character."""
    told = at_bounds(schema)
    texts = [
        *((condition, "message") for condition in told["conditions"]),
        *((metric, "name") for metric in told["progress"]["metrics"]),
        *((attempt, key) for attempt in told["attempts"] for key in ("runDirectory", "logPath")),
        (told, "lastHandledRetryAt"),
    ]
    for owner, key in texts:
        owner[key] = character * len(owner[key])
    return told


def places(schema: Schema, path: Path = ()) -> Iterator[Path]:
    """Every field below, lists by their first item: containers and leaves."""
    if path:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from places(child, (*path, name))
    if "items" in schema:
        yield from places(schema["items"], (*path, 0))


def at(schema: Schema, path: Path) -> Schema:
    """The schema of a place."""
    for step in path:
        schema = schema["items"] if isinstance(step, int) else schema["properties"][step]
    return schema


def required(schema: Schema, path: Path) -> bool:
    """Whether the place may not be left out where its parent stands; an item of a list that stands always may."""
    return path[-1] in at(schema, path[:-1]).get("required", ())


def one_of_two(schema: Schema, path: Path) -> bool:
    """Whether the place may not be left out unless another one takes its place."""
    return any(path[-1] in pair for pair in alternatives(at(schema, path[:-1]), _ONE_OF))


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy with another value at a place; the place just after a list's end is made."""
    if not path:
        return new
    copy = value.copy()
    below = put(value[path[0]] if len(path) > 1 else None, path[1:], new)
    if isinstance(path[0], int):
        copy[path[0] : path[0] + 1] = [below]
    else:
        copy[path[0]] = below
    return copy


def take(value: Any, path: Path) -> Any:
    """A copy without the place."""
    copy = value.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = take(value[path[0]], path[1:])
    return copy


def name_of(path: Path) -> str:
    """A place as the API server writes it: `files[0].path`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def complaints(told: str) -> list[str]:
    """Each complaint of a refusal, as kubectl prints it: one behind `is invalid:`, several as a list below it."""
    _, _, rest = told.strip().partition(" is invalid: ")
    return [each.removeprefix("* ") for each in rest.strip().splitlines()]
