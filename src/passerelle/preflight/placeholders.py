"""Placeholders: what an example, a site's guide or an import leaves to be written, and nobody wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.preflight.finding import Finding, error, graded
from passerelle.preflight.request import Request

_PLAIN = re.compile(
    r"(?<![A-Za-z0-9])(?:CHANGE[-_]?ME|REPLACE[-_]?ME|change[-_]?me|replace[-_]?me)(?![A-Za-z0-9])"
    r"|<[A-Za-z][\w .-]*>|(?<![A-Za-z])project_[0-9]*[xX]{3,}(?![A-Za-z0-9])"
)
"""What is the name of nothing."""
_LIKELY = re.compile(r"(?<![A-Za-z0-9])(?:TODO|FIXME|[0-9]*X{3,})(?![A-Za-z0-9])|(?<=[0-9])x{3,}(?![A-Za-z0-9])")
"""What no account is called, while a directory might be."""
_YOURS = re.compile(r"<your[-_ ][\w .-]*>|(?<![A-Za-z0-9])(?:CHANGE[-_]ME|REPLACE[-_]ME)(?![A-Za-z0-9])")
"""The same among words and variables, where a tokenizer has its <pad> and mktemp its XXXX."""


def findings(request: Request) -> Iterator[Finding]:
    job = request.job
    names = [("spec.account", job.account), ("spec.qos", job.qos), ("spec.reservation", job.reservation)]
    for field, name in names:
        if name is not None and (found := _PLAIN.search(name) or _LIKELY.search(name)):
            yield error("Placeholder", field, _text(found[0]), _FIX)
    paths = [("spec.image", job.image), ("spec.workingDir", job.working_dir or "")]
    paths += [(f"spec.data[{place}].path", each.path) for place, each in enumerate(job.data)]
    paths += [("site.spec.runRoot", request.site.run_root)]
    for field, path in paths:
        certain = _PLAIN.search(path)
        if found := certain or _LIKELY.search(path):
            yield graded(certain=certain is not None)("Placeholder", field, _text(found[0]), _FIX)
    words = [(f"spec.env[{place}]", each.value) for place, each in enumerate(job.env)]
    words += [(word.field, word.text) for word in request.words]
    for field, text in words:
        if found := _YOURS.search(text):
            yield graded(certain=text == found[0] and text == job.command[0])(
                "Placeholder", field, _text(found[0]), _FIX
            )


def _text(found: str) -> str:
    return f"{found} is a placeholder that nobody has replaced."


_FIX = "Write what belongs in its place."
