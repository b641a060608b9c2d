"""UNICORE's answers -> our errors.

What the server handled and failed at has a JSON body {"errorMessage", "status"}; 401, 403 and 404 have none. A refusal
of the job itself is no answer to its submit: it comes later, as the job's state (decode.py).
"""

from __future__ import annotations

import re

from passerelle.errors import PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import BUSY, Answer
from passerelle.gateways.secret import TOKEN
from passerelle.gateways.unicore.credential import PASSWORD, UID, USERNAME, UnicoreCredential

OK, CREATED, NO_CONTENT, PARTIAL = 200, 201, 204, 206
NOT_FOUND = 404
SESSION_UNKNOWN = 432
"""UNICORE's own status for a security session that has ended: the request was not looked at."""
_REFUSED = frozenset({401, 403})
NOT_OURS = frozenset({403, 404})
"""Of one job or storage, to someone whom the server knows: there is none, or it is another's."""
SAID_LIMIT = 200
BUSY_STATUS = frozenset({429, 503})


_OF_A_COMMAND = re.compile(
    r"TSI_FAILED: .* failed with code \d+: *(.*?)[:\s]*(?:\(Command execution on TSI.*)?", re.DOTALL
)
"""What a command said that UNICORE ran at the site, within the whole script and the classes that it came through."""


def said(answer: Answer) -> str:
    """What the server says of its failure, or its status; of a command that failed, the command's own words."""
    text = (answer.json() or {}).get("errorMessage")
    if not isinstance(text, str) or not text.strip():
        return f"HTTP {answer.status}"
    start = text.find("TSI_FAILED")
    found = _OF_A_COMMAND.fullmatch(text[start:]) if start >= 0 else None
    return ((found and found[1]) or text).rstrip(". ")


def failure(answer: Answer, held: UnicoreCredential) -> PasserelleError:
    """The error for an answer that is not the one that was asked for: Unauthorized, or Unavailable(sent=True)."""
    if answer.status in _REFUSED:
        return refused(held)
    if answer.status in BUSY_STATUS:
        text = f"UNICORE is busy: {said(answer)}."
        return Unavailable(text, reason=BUSY, retry_after=answer.retry_after)
    text = f"UNICORE does not answer: {said(answer)}."
    return Unavailable(text, reason="UnexpectedAnswer", retry_after=answer.retry_after)


def refusal(answer: Answer, held: UnicoreCredential) -> PasserelleError:
    """The error for a submit that was not taken. Submission that is switched off is told before anything is made."""
    if answer.status == 503 and isinstance((answer.json() or {}).get("errorMessage"), str):  # noqa: PLR2004
        text = f"The site takes no jobs at the moment: {said(answer)}."
        return Rejected(text, reason="SubmissionDisabled", transient=True)
    if answer.status in _REFUSED and isinstance((answer.json() or {}).get("errorMessage"), str):
        # A credential is refused without a word. This one is known, and has no target system now: one that the site
        # gave the login, but that begins anew or has lost its TSI for a moment, is not shown.
        text = f"UNICORE shows this login no target system to submit to: {said(answer)[:SAID_LIMIT]}."
        return Rejected(text, reason="NoTargetSystem", transient=True)
    return failure(answer, held)


def refused(held: UnicoreCredential) -> Unauthorized:
    return Unauthorized(f"UNICORE refused the credential: check {_shown(held)} in {held.place}.", reason="TokenRefused")


def anonymous(held: UnicoreCredential) -> Unauthorized:
    """The server took the call and knew no one: an unknown or expired token, and an account that the login doesn't
    have, are no errors to it.
    """
    causes = [] if held.password else ["the token has expired or is another site's"]
    causes.append("the site has given the login no account" + (f" {held.uid}" if held.uid else ""))
    return Unauthorized(
        f"UNICORE does not know the holder of the credential: {', or '.join(causes)}; check {_shown(held)} in "
        f"{held.place}.",
        reason="Anonymous",
    )


def _shown(held: UnicoreCredential) -> str:
    """The keys of the Secret that hold what was shown."""
    kinds = (("the OIDC client", held.client), (f"{USERNAME} and {PASSWORD}", held.password), (TOKEN, True))
    proof = next(keys for keys, there in kinds if there)
    return proof + (f", and {UID}" if held.uid else "")
