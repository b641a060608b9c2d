"""Parcels to the site and away from it: written before their script is submitted, removed where no job took them.

Nothing was submitted yet when a delivery fails, so it is no doubt about a job; it is tried again whole, like a refused
submit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from passerelle.errors import PasserelleError, Rejected
from passerelle.gate import WAITING
from passerelle.gateways.base import Files, Identity, Transfer, Upload
from passerelle.parcels import Parcel
from passerelle.render import NeedsFiles
from passerelle.watch import SiteWatch

log = logging.getLogger("passerelle.delivery")


async def deliver(watch: SiteWatch, parcels: Iterable[Parcel], identity: Identity) -> None:
    """Write each, in the place of one that is there. Raises Rejected where the site or its gateway doesn't let us, and
    Unavailable while it isn't known who answers.
    """
    try:
        with watch.acting(identity):
            for parcel in parcels:
                if not isinstance(watch.gateway, Upload):
                    raise Rejected("the Site's gateway carries none.", reason=NeedsFiles.reason)
                await watch.gateway.make_directory(parcel.directory)
                await watch.gateway.write(parcel.path, parcel.content, mode=parcel.mode)
    except PasserelleError as error:
        if error.reason == WAITING:
            raise
        text = f"Nothing is submitted while the job's files can't be written at the site: {error.message}"
        raise Rejected(text, reason=error.reason, transient=True) from error


async def discard(watch: SiteWatch, path: str, identity: Identity) -> None:
    """Leave nothing of a parcel that no job has taken. What can't be done is logged: only its user could read it."""
    gateway = watch.gateway
    try:
        with watch.acting(identity):
            if isinstance(gateway, Transfer):
                await gateway.remove(path)
            elif isinstance(gateway, Upload) and isinstance(gateway, Files) and await gateway.size(path):
                await gateway.write(path, b"\n")
    except PasserelleError as error:
        log.warning("a parcel was left", extra={"site": watch.name, "path": path, "error": str(error)})
