"""UNICORE's answers -> our errors.

What the server handled and failed at has a JSON body {"errorMessage", "status"}; 401, 403 and 404 have none. A refusal
of the job itself is no answer to its submit: it comes later, as the job's state (decode.py).
"""

from __future__ import annotations

from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import BUSY, Answer

OK, CREATED, NO_CONTENT, PARTIAL = 200, 201, 204, 206
NOT_FOUND = 404
SESSION_UNKNOWN = 432
"""UNICORE's own status for a security session that has ended: the request was not looked at."""
_REFUSED = frozenset({401, 403})
NOT_OURS = frozenset({403, 404})
"""Of one job or storage, to someone whom the server knows: there is none, or it is another's."""
SAID_LIMIT = 200
BUSY_STATUS = frozenset({429, 503})


def said(answer: Answer) -> str:
    """What the server says of its failure, or its status."""
    text = (answer.json() or {}).get("errorMessage")
    return text.rstrip(". ") if isinstance(text, str) and text.strip() else f"HTTP {answer.status}"


def failure(answer: Answer) -> PasserelleError:
    """The error for an answer that is not the one that was asked for: Unauthorized, or Unavailable(sent=True)."""
    if answer.status in _REFUSED:
        return refused()
    if answer.status in BUSY_STATUS:
        text = f"UNICORE is busy: {said(answer)}."
        return Unavailable(text, reason=BUSY, retry_after=answer.retry_after)
    text = f"UNICORE does not answer: {said(answer)}."
    return Unavailable(text, reason="UnexpectedAnswer", retry_after=answer.retry_after)


def refusal(answer: Answer) -> PasserelleError:
    """The error for a submit that was not taken. Submission that is switched off is told before anything is made."""
    if answer.status == 503 and isinstance((answer.json() or {}).get("errorMessage"), str):  # noqa: PLR2004
        text = f"The site takes no jobs at the moment: {said(answer)}."
        return Rejected(text, reason="SubmissionDisabled", transient=True)
    if answer.status in _REFUSED and isinstance((answer.json() or {}).get("errorMessage"), str):
        # A credential is refused without a word. This one is known, and has no target system now: one that the site
        # gave the login, but that begins anew or has lost its TSI for a moment, is not shown.
        text = f"UNICORE shows this login no target system to submit to: {said(answer)[:SAID_LIMIT]}."
        return Rejected(text, reason="NoTargetSystem", transient=True)
    return failure(answer)


def refused() -> Unauthorized:
    return Unauthorized(
        "UNICORE refused the credential: check username and password, or the token, in the Site's Secret.",
        reason="TokenRefused",
    )


def anonymous() -> Unauthorized:
    """The server took the call and knew no one: an unknown or expired token is no error to it."""
    return Unauthorized(
        "UNICORE does not know the holder of the credential: the token has expired, or the site has given the login no "
        "account; write a new token into the Site's Secret.",
        reason="Anonymous",
    )
