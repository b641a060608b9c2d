"""S3's errors -> ours, by who must act. Pure. The store's own sentence is not kept: some repeat what was signed."""

from __future__ import annotations

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import Answer
from passerelle.staging.place import Place
from passerelle.staging.s3 import decode
from passerelle.staging.s3.credential import ENDPOINT, KEY_ID, REGION, SECRET_KEY
from passerelle.staging.store import Changed

_OK, _MULTIPLE = 200, 300
_NOT_FOUND, _PRECONDITION, _TOO_MANY, _UNAUTHORIZED, _FORBIDDEN = 404, 412, 429, 401, 403

_CREDENTIAL = {
    "InvalidAccessKeyId": f"does not know the {KEY_ID}; correct it in",
    "SignatureDoesNotMatch": f"does not accept the {SECRET_KEY}; correct it in",
    "ExpiredToken": "says that the session token has expired; renew it in",
    "InvalidToken": "does not accept the session token; renew it in",
    "TokenRefreshRequired": "says that the session token has expired; renew it in",
}
"""By S3's code; the Secret's name stands behind."""
_ABOUT = {
    "RequestTimeTooSkewed": "has another time than the operator; correct the clock of the operator's node",
    "AccountProblem": "says that there is a problem with the account; ask its owner",
}
_LIMIT = {
    "QuotaExceeded": "has no room left for the account; make room, or ask for more",
    "EntityTooLarge": "takes no object of that size",
    "NotImplemented": "does not do what is asked: it has no uploads in parts, or no ranges",
}
_LATER = frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "Busy"})
_ELSEWHERE = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})


def failed(answer: Answer) -> bool:
    """Whether an answer is an error."""
    return not _OK <= answer.status < _MULTIPLE


def failed_late(answer: Answer) -> bool:
    """Whether an answer that began with 200 is an error all the same: a completion is answered before it is done."""
    return bool(decode.fault(answer.body)[0])


def meaning(answer: Answer, where: Place, store: str, secret: str) -> PasserelleError:
    """Our error. `store` is the host that answered; `secret`, in a sentence, tells who we are there."""
    code, region = decode.fault(answer.body)
    status = answer.status
    region = region or answer.headers.get("x-amz-bucket-region", "")
    if code in _CREDENTIAL:
        return Unauthorized(f"The object store {store} {_CREDENTIAL[code]} {secret}.", reason=code)
    if code in _ABOUT:
        return Unauthorized(f"The object store {store} {_ABOUT[code]}.", reason=code)
    if code == "NoSuchBucket":
        text = f"The object store {store} has no bucket {where.bucket}; create it, or correct the url or {ENDPOINT}."
        return Invalid(text, reason=code)
    if code in _ELSEWHERE or _MULTIPLE <= status < 400:  # noqa: PLR2004 -- redirects
        other = f"{REGION} {region}" if region else f"another {REGION} or {ENDPOINT}"
        text = (
            f"The object store {store} says that the bucket {where.bucket} is elsewhere; write {other} into {secret}."
        )
        return Invalid(text, reason="WrongRegion")
    if status == _PRECONDITION:
        return Changed(f"{where} was replaced while it was copied; it is copied anew.", sent=True)
    if code in ("NoSuchKey", "NoSuchUpload") or (status == _NOT_FOUND and not code):
        return Missing(
            f"The object store {store} has no {where}; put it there, or correct the url.", reason="NoSuchKey"
        )
    if code in _LIMIT:
        return Rejected(f"The object store {store} {_LIMIT[code]}: {where}.", reason=code)
    if code in _LATER or status == _TOO_MANY or status >= 500:  # noqa: PLR2004 -- server errors
        text = f"The object store {store} can't answer now (HTTP {status}{f', {code}' if code else ''})."
        return Unavailable(text, reason="StoreBusy", retry_after=answer.retry_after)
    if status in (_UNAUTHORIZED, _FORBIDDEN) or code == "AccessDenied":
        text = f"The object store {store} refuses {where} to the identity in {secret}; give it the right to that place."
        return Rejected(text, reason="AccessDenied")
    told = f", {code}" if code else ""
    return Rejected(
        f"The object store {store} refused the request for {where} (HTTP {status}{told}).", reason="Refused"
    )
