"""Parcels to the site and away from it: written before their script is submitted, removed where no job took them.

Nothing was submitted yet when a delivery fails, so it is no doubt about a job; it is tried again whole. An error keeps
its class, which says when.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from passerelle.errors import Deferred, Invalid, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gate import WAITING
from passerelle.gateways.base import Files, Handover, Identity, Transfer, Upload
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.parcels import Parcel
from passerelle.render import NeedsFiles
from passerelle.watch import SiteWatch

log = logging.getLogger("passerelle.delivery")


async def deliver(watch: SiteWatch, parcels: Iterable[Parcel], identity: Identity) -> None:
    """Write each, in the place of one that is there. Raises Rejected where the site or its gateway doesn't let us,
    `transient` where that may pass by itself; Unauthorized; and Unavailable where no answer came.
    """
    try:
        with watch.acting(identity), made_for(Purpose.SUBMIT):
            for parcel in parcels:
                if not isinstance(watch.gateway, Upload):
                    raise Rejected("the Site's gateway carries none.", reason=NeedsFiles.reason)
                await watch.gateway.make_directory(parcel.directory)
                await watch.gateway.write(parcel.path, parcel.content, mode=parcel.mode)
    except PasserelleError as error:
        if error.reason == WAITING:
            raise
        raise _undelivered(error) from error


def _undelivered(error: PasserelleError) -> PasserelleError:
    """The same, in a sentence that says what it means."""
    text = f"Nothing is submitted while the job's files can't be written at the site: {error.message}"
    if isinstance(error, Unavailable):
        return Unavailable(text, reason=error.reason, sent=False, retry_after=error.retry_after)
    if isinstance(error, Unauthorized):
        return Unauthorized(text, reason=error.reason)
    return Rejected(text, reason=error.reason, transient=not isinstance(error, Invalid))


async def discard(watch: SiteWatch, path: str, identity: Identity) -> bool:
    """Leave nothing of a parcel that no job has taken. Whether that is so: what can't be done is logged, and it is the
    caller's to try again. Raises Deferred where it was not tried.
    """
    gateway = watch.gateway
    try:
        with watch.acting(identity), made_for(Purpose.END):
            if isinstance(gateway, Transfer | Handover):
                await gateway.remove(path)
            elif isinstance(gateway, Upload) and isinstance(gateway, Files) and await gateway.size(path):
                await gateway.write(path, b"\n")
    except Deferred:
        raise
    except PasserelleError as error:
        log.warning("a parcel was left", extra={"site": watch.name, "path": path, "error": str(error)})
        return False
    return True
