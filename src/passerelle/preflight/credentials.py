"""Secrets that stand where everyone reads them: the job's script, Git, a command line on a shared node."""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.confidential import value_shows
from passerelle.preflight.finding import Finding, error, warning
from passerelle.preflight.request import Request

_PROMISE = re.compile(
    r"(?:^|_)(?:PASSPHRASE|PASSWD|PASSWORD|SECRET|TOKEN)(?:_|$)|(?:ACCESS|API|PRIVATE|SECRET)_KEY$", re.IGNORECASE
)
"""Narrower than what an import takes for a secret: there a guess costs a line, here it costs trust."""
_ELSEWHERE = re.compile(r"_(?:DIR|FILE|NAME|PATH|URL)$", re.IGNORECASE)
_WANDB = re.compile(r"[0-9a-f]{40}")
_SHORTEST = 8
_HARMLESS = re.compile(r"true|false|-?[0-9]+(\.[0-9]+)?|/.*|.*[<\s].*", re.IGNORECASE | re.DOTALL)
"""A number, a path, a text of a tokenizer."""
_UNTOLD = re.compile(r"(?<=://)[^/\s:@]*:(?:\$[\w{(][^/\s@]*|<[^/\s@>]*>|\{\{[^/\s@]*\}\})(?=@)")
"""A password that a shell or a template will put in."""
_OPEN = re.compile(r"(?<=://)(?:[^/\s:@]+@|[^/\s:@]*:[^/\s@]+@(?:localhost|127\.0\.0\.1|\[::1\])(?![\w.-]))")
"""The public key of an address without a password, as Sentry has it; the password of a service of the job's own."""
_FIX = "Put it into a Secret that env's valueFrom or envFrom names, and renew the one that stood here."


def findings(request: Request) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        field, name, value = f"spec.env[{place}]", variable.name, variable.value
        if _doubtful(value):
            text = f"{name} holds what may be a credential, and env stands in the job's script for others to read."
            yield warning("SecretInEnv", field, text, _FIX)
        elif value_shows(_UNTOLD.sub("", value)) or (name == "WANDB_API_KEY" and _WANDB.fullmatch(value)):
            text = f"{name} holds a credential, and env stands in the job's script for others to read."
            yield error("SecretInEnv", field, text, _FIX)
        elif _promises(name) and len(value) >= _SHORTEST and not _HARMLESS.fullmatch(value):
            text = f"{name} looks like a credential by its name, and env stands in the job's script for others to read."
            yield warning("SecretInEnv", field, text, _FIX)
    for word in request.words:
        if _doubtful(word.text):
            text = "A word holds what may be a credential, and everyone on a node can read command lines."
            yield warning("SecretInCommand", word.field, text, _FIX)
        elif value_shows(_UNTOLD.sub("", word.text)):
            text = "A word holds a credential, and everyone on a node can read command lines."
            yield error("SecretInCommand", word.field, text, _FIX)


def _doubtful(text: str) -> bool:
    """Whether the only thing in it is the user of an address, or a password that is everybody's on one host."""
    text = _UNTOLD.sub("", text)
    apart = _OPEN.sub(lambda found: re.sub("[:@]", " ", f" {found[0]}"), text)
    return value_shows(text) and not value_shows(apart)


def _promises(name: str) -> bool:
    return _PROMISE.search(name) is not None and _ELSEWHERE.search(name) is None
