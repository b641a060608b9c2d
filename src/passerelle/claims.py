"""Attempts of which nothing but their files is left: what their jobs wrote into the run directory.

A gateway remembers for a while only, and a status may be lost after that; the run directory stays. So before a run's
first intent, where there may have been one, the directory is asked for claims and report files: an attempt that took
its claim must not be made again under its number, nor trained twice.
"""

from __future__ import annotations

import logging
import re

from passerelle.errors import Rejected
from passerelle.gateways.base import Files, Handover, Identity, Opens, Transfer
from passerelle.gateways.purpose import Purpose, made_for
from passerelle.marker import ATTEMPT_LIMIT
from passerelle.names import LOOK_AHEAD
from passerelle.onsite import places
from passerelle.watch import SiteWatch

log = logging.getLogger("passerelle.claims")

_LEFT = re.compile(r"(?:claim-|report-)([1-9][0-9]{0,4})(?:\.json)?")


def owner(run_directory: str, attempt: int) -> str:
    """Where onsite/claim.py writes whose the claim is."""
    return f"{run_directory}/claim-{attempt}/owner.json"


async def highest(watch: SiteWatch, run_directory: str, identity: Identity) -> int:
    """The highest attempt of which something is left; 0 where nothing is, and where the gateway can't tell. Raises
    Unauthorized, and Unavailable where no answer came.
    """
    gateway = watch.gateway
    if not isinstance(gateway, Files):
        return 0
    try:
        with watch.acting(identity), made_for(Purpose.SUBMIT):
            if isinstance(gateway, Transfer | Handover) and not isinstance(gateway, Opens):  # that takes a job
                return _among([each.name for each in await gateway.entries(run_directory) or ()])
            return await _asked_for(gateway, run_directory)
    except Rejected as error:  # the site shows us no files: then its memory must do
        told = {"site": watch.name, "path": run_directory, "error": str(error)}
        log.warning("a run directory can't be read", extra=told)
        return 0


def _among(names: list[str]) -> int:
    found = [_LEFT.fullmatch(name) for name in names]
    return max((int(each[1]) for each in found if each), default=0)


async def _asked_for(files: Files, run_directory: str) -> int:
    """One after the other, until some in a row are not there: an attempt that never began leaves nothing."""
    last = number = 0
    while number < min(last + LOOK_AHEAD, ATTEMPT_LIMIT):
        number += 1
        for path in (places.report(run_directory, number), owner(run_directory, number)):
            if await files.size(path) is not None:
                last = number
                break
    return last
