"""What a Secret's keys hold that is shown to a server, and how sentences name the Secret. Pure.

Whichever driver shows a token, it is read here: a word that no header can carry, or that holds more than the token, is
told before a request is made, for servers answer it in ways that differ and name no cause.
"""

from __future__ import annotations

from collections.abc import Mapping

from passerelle.errors import Unauthorized

TOKEN = "token"  # noqa: S105 -- a key's name
_SCHEME = "bearer"


def the_secret(name: str) -> str:
    """A Secret in a sentence, by its namespace/name."""
    return f"the Secret {name}".rstrip()


def line(name: str, data: Mapping[str, bytes], key: str) -> str:
    """One line of printable ASCII, which is what can stand in a header; or nothing."""
    try:
        text = data.get(key, b"").decode("ascii").strip()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        sentence = f"The Secret {name} has more than plain ASCII under {key}; write it without line breaks."
        raise Unauthorized(sentence, reason="TokenMalformed")
    return text


def token(name: str, data: Mapping[str, bytes]) -> str:
    """The token under `token`, which is one word; or nothing. Raises Unauthorized for what is no token."""
    text = line(name, data, TOKEN)
    scheme, *rest = text.split()[:2] or [""]
    if rest and scheme.rstrip(":").lower() == _SCHEME:
        sentence = (
            f"The Secret {name} has {scheme} before the token under {TOKEN}; leave that out: a token is one word."
        )
        raise Unauthorized(sentence, reason="TokenMalformed")
    if rest:
        sentence = f"The Secret {name} has several words under {TOKEN}; write the token alone, which is one word."
        raise Unauthorized(sentence, reason="TokenMalformed")
    return text
