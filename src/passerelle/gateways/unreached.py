"""Why no connection to a server came about, and what to change: the words for a socket's and a certificate's failures.

`gateway.url` and AUTHORITY stand for what another server than a gateway has instead (http.Server).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from passerelle.v1alpha1.site import CA_KEY

UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for a certificate of an authority that is not known here (X509_V_ERR_…, x509_vfy.h)."""

VALIDITY = {9: "is not valid yet", 10: "has expired"}
"""OpenSSL's codes for a certificate of another time."""


AUTHORITY = (
    f"put the authority's certificate into a Secret under {CA_KEY}, and the Secret's name into gateway.tls.caSecret"
)
"""What to do about a certificate of an unknown authority."""


@dataclass(frozen=True, slots=True)
class Ca:
    """An authority that is believed, in PEM, and where it is written."""

    pem: bytes
    place: str = f"{CA_KEY} of the Secret that gateway.tls.caSecret names"


def no_connection(error: Exception, ca: Ca | None) -> str:
    """Why no connection came about, and what to change. The most telling cause is the one furthest down."""
    for cause in reversed(list(_causes(error))):
        match cause:
            case socket.gaierror():
                return ": the host's name can't be resolved; check it in gateway.url"
            case ssl.SSLCertVerificationError():
                return f": its certificate {_distrusted(cause, ca)}"
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
                return ": what listens there does not speak TLS; check the port in gateway.url"
            case ssl.SSLError(reason=str(words)):
                return f": TLS failed: {words.replace('_', ' ').lower()}"
            case ConnectionRefusedError():
                return ": the connection was refused; check the port in gateway.url, and that the gateway runs"
            case TimeoutError():
                return ": check host and port in gateway.url, and firewalls on the way"
            case OSError(errno=int(number)):
                return f": {os.strerror(number).lower()}"
    return ""


def _distrusted(error: ssl.SSLCertVerificationError, ca: Ca | None) -> str:
    """What is wrong with a certificate, and what to change."""
    if error.verify_code in UNKNOWN_ISSUER and ca is not None:
        return f"is of another authority than {ca.place}; put the right one there"
    if error.verify_code in UNKNOWN_ISSUER:
        return f"is of an unknown authority; {AUTHORITY}"
    if error.verify_code in VALIDITY:
        return f"{VALIDITY[error.verify_code]}; tell the site, and check this machine's clock"
    return f"is not accepted: {error.verify_message.rstrip('.')}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and all that it was raised from: a host with several addresses fails as a group."""
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    yield from _causes(error.__cause__ or error.__context__)
