"""Errors, classed by who must act.

    PasserelleError
     ├── Invalid        the user: what was written can't be planned
     ├── Rejected       the user or the site: the scheduler read the request and said no
     ├── Unauthorized   the administrator: the credential is missing, wrong or expired
     ├── Missing        whoever asked: the site has no such file
     └── Unavailable    nobody: the loop asks again
          ├── Misaddressed    nobody at first, then the administrator: what answers is another server
          └── Deferred        nobody: the site is spared for a while, and was not asked

Every error carries a one-word CamelCase reason for a condition, and a message for a person. Messages hold no secret, no
script and at most :data:`MESSAGE_LIMIT` characters.
"""

from __future__ import annotations

import re

MESSAGE_LIMIT = 1024
"""Characters of a message that reach a condition or an event: the API server takes 32 KiB, a reader takes a
paragraph.
"""

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*")
"""A JSON Web Token: its header is a JSON object, so its base64 begins with eyJ."""


_SCRIPT = re.compile(r"#! ?/\S*?(\\n|\n).*", re.DOTALL)
"""A job's script, from its first line on, in a text that some server has repeated it in."""


def redact(text: str) -> str:
    """Text without JSON Web Tokens and without what follows a script's first line, in at most MESSAGE_LIMIT
    characters.
    """
    clean = _SCRIPT.sub("[script]", _TOKEN.sub("[token]", text))
    return clean if len(clean) <= MESSAGE_LIMIT else clean[: MESSAGE_LIMIT - 1] + "…"


class PasserelleError(Exception):
    """The root: catch it where any of ours may come, never `Exception`."""

    reason = "Error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(redact(message))
        if reason is not None:
            self.reason = reason

    @property
    def message(self) -> str:
        return str(self)


class Invalid(PasserelleError):
    """The user must change what was written; asking again changes nothing.

    `field` is where that stands, like spec.env[0], where the reason alone doesn't tell.
    """

    reason = "Invalid"

    def __init__(self, message: str, *, reason: str | None = None, field: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.field = field


class Rejected(PasserelleError):
    """The scheduler answered, well-formed, that it takes no such job.

    `transient` is True where the same request may pass later (a limit on the number of jobs, a policy of the moment).
    """

    reason = "Rejected"

    def __init__(self, message: str, *, reason: str | None = None, transient: bool = False) -> None:
        super().__init__(message, reason=reason)
        self.transient = transient


class Unauthorized(PasserelleError):
    """The credential is missing, wrong or expired: an administrator must renew it."""

    reason = "Unauthorized"


class Missing(PasserelleError):
    """The site has no such file for us: none is there, or not yet, or we may not read it."""

    reason = "FileMissing"


class Unavailable(PasserelleError):
    """No usable answer came.

    `sent` is True when the first byte may have left: a submit may then have been accepted all the same.
    `retry_after` is what the server asked for, in seconds.
    """

    reason = "Unavailable"

    def __init__(
        self, message: str, *, reason: str | None = None, sent: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.sent = sent
        self.retry_after = retry_after


class Misaddressed(Unavailable):
    """What answers is no gateway of this kind. A gateway that begins looks so for a moment; where it lasts, the address
    is wrong.
    """

    reason = "Misaddressed"


class Deferred(Unavailable):
    """The site is spared: nothing was sent, and nothing is known by it. `retry_after` is when to ask again."""

    reason = "Deferred"

    def __init__(self, message: str, *, reason: str | None = None, retry_after: float) -> None:
        super().__init__(message, reason=reason, sent=False, retry_after=retry_after)


def unsent(error: Unavailable) -> Unavailable:
    """The same, of a call in which nothing of consequence was sent, whatever was asked before that."""
    if not error.sent:
        return error
    return Unavailable(error.message, reason=error.reason, sent=False, retry_after=error.retry_after)
