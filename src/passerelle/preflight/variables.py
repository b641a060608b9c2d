"""Keys of envFrom that can't be the name of a variable: left out, as in a Pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from passerelle.preflight.finding import Finding, warning

_NAMED = 10


def findings(passed_over: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """One for all: `passed_over` are the keys, each with what holds it."""
    if passed_over:
        told = [f"{key} of {origin.removeprefix('envFrom: ')}" for key, origin in passed_over]
        more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        yield warning(
            "VariableNameInvalid",
            "spec.envFrom",
            f"No variable can have these names, and they are left out: {', '.join(told[:_NAMED])}{more}.",
            "Take such a key by env with a name and valueFrom, or bring it by files.",
        )
