"""Who acts, of several operators: whoever holds the Lease. The others stand by, and ask for it every other second.

No clock of another machine is believed: a Lease has ended when it has not changed for its whole duration under the eyes
of the one who wants it. The holder counts from before its last renewal was sent, and stops three seconds sooner. It may
be frozen all the same, between looking whether it leads and acting: then kube-apiserver refuses its writes, each of
which is conditional, and at a site the marker and the claim see to it that no attempt runs twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from passerelle.errors import Unavailable
from passerelle.kube import Conflict, Gone

log = logging.getLogger("passerelle.election")

LEASE = "passerelle"
LEASE_SECONDS = 10
HOLD_SECONDS = 7.0
"""How long a renewal lasts for the holder; the rest is for what was sent before it ended."""
RENEW_SECONDS, AGAIN_SECONDS = 2.0, 0.5
BEAT_SECONDS, STILL_SECONDS = 1.0, 5.0
"""How often this process looks whether it goes on, and how much later than that it does where it stood still. In less
than that nobody takes the Lease, writes, and has the cluster restored.
"""
NOT_LEADING = "NotLeading"


class Leases(Protocol):
    """Of one namespace. Raises Conflict, Gone and Unavailable."""

    async def lease(self, namespace: str, name: str) -> dict[str, Any]: ...
    async def create_lease(self, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]: ...
    async def replace_lease(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]: ...


class Election:
    """`identity` is nobody else's, nor that of a process before this one. `clock` is monotonic and goes on while a
    process is stopped; `now` gives epoch seconds, for people to read. `sleep` waits as this process does.
    """

    def __init__(
        self,
        kube: Leases,
        namespace: str,
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._until = clock()
        self._lease: dict[str, Any] = {}
        self._changed_at = clock()
        self._told = ""
        self.waits = False
        """Whether kube-apiserver said, when it was asked last, that another one leads."""

    @property
    def leads(self) -> bool:
        return self._clock() < self._until

    def fence(self) -> None:
        """Raises Unavailable where another operator may act by now."""
        if not self.leads:
            text = "This operator has not renewed its Lease in time, so it acts no more: another one may by now."
            raise Unavailable(text, reason=NOT_LEADING, sent=False)

    async def win(self) -> None:
        """Stand by until the Lease is ours."""
        while not await self._taken():
            await self._sleep(RENEW_SECONDS)
        log.info("leads", extra={"identity": self._identity})

    async def hold(self) -> None:
        """Renew the Lease; returns when another one has it, the cluster is an older backup's, or this process stood
        still while its Lease ended. An outage of kube-apiserver stops all acts, and costs no more: who was awake, and
        renews the very Lease that it held, knows that nobody has acted meanwhile.
        """
        both = [asyncio.create_task(self._renew()), asyncio.create_task(self._stand_still())]
        try:
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()  # a defect of ours is told of
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        log.error("the Lease is lost", extra={"identity": self._identity})

    async def _renew(self) -> None:
        """Returns when the Lease is somebody else's, or of another time."""
        pause, silent = RENEW_SECONDS, False
        while True:
            await self._sleep(pause)
            began, pause = self._clock(), RENEW_SECONDS
            try:
                await self._keep(self._lease["spec"], began)
                silent = False
            except (Conflict, Gone):
                if not await self._ours():
                    break
                pause = 0.0
            except Unavailable as error:
                if not silent:
                    log.warning("the Lease can't be renewed", extra={"error": str(error)})
                pause, silent = AGAIN_SECONDS, True
        self._until = began

    async def _stand_still(self) -> None:
        """Returns, before this process could lead again, when it was stopped and its Lease ended meanwhile. Another one
        may have led then, whose writes lie in our connections, and a restored backup of etcd may have undone them: it
        holds our own Lease as we know it.
        """
        while True:
            before = self._clock()
            await self._sleep(BEAT_SECONDS)
            late = self._clock() - before - BEAT_SECONDS
            if late > STILL_SECONDS and self._clock() > self._until + LEASE_SECONDS - HOLD_SECONDS:
                log.error("this process stood still; what it hears now may be of another time", extra={"seconds": late})
                return

    async def resign(self) -> None:
        """Let the next one act at once. What follows writes nothing any more."""
        if not self.leads:
            return
        self._until = self._clock()
        told: Exception | None = None
        for _ in range(2):
            spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            try:
                await self._kube.replace_lease(self._lease, spec)
            except Conflict as error:
                told = error  # a renewal of ours that was under way as we were ended has come first
                if not await self._ours():
                    return
            except (Gone, Unavailable) as error:
                told = error
                break
            else:
                return
        log.warning("the Lease can't be given back; it ends by itself", extra={"error": str(told)})

    async def _taken(self) -> bool:
        """Try once."""
        began = self._clock()
        try:
            if not await self._is_free():
                return False
            spec = self._lease.get("spec") or {}
            mine = {
                "acquireTime": _micro(self._now()),
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1,
            }
            await self._keep(mine, began)
        except Conflict:
            return False  # another one was quicker
        except Gone:
            self.waits = False
            self._tell(f"There is no namespace {self._namespace!r}, in which the operator's Lease lies; create it.")
            return False
        except Unavailable as error:
            self.waits = False
            self._tell(error.message)
            return False
        return True

    async def _is_free(self) -> bool:
        """Look, and say whom it waits for."""
        try:
            seen = await self._kube.lease(self._namespace, LEASE)
        except Gone:
            self._lease = {}
            return True
        if seen["metadata"].get("resourceVersion") != self._lease.get("metadata", {}).get("resourceVersion"):
            self._lease, self._changed_at = seen, self._clock()
        spec = seen.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder in (None, "", self._identity):  # ours: that answer was lost
            return True
        self.waits = True
        self._tell(f"{holder} leads; this operator stands by.")
        return self._clock() - self._changed_at >= float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)

    async def _ours(self) -> bool:
        """Whether a write of ours that was not answered stands there, and nobody else's. An older one than we know of
        comes from a backup of etcd: a watch then waits for versions that are long to come, and tells nothing meanwhile.
        """
        try:
            seen = await self._kube.lease(self._namespace, LEASE)
        except Gone:
            return False
        except Unavailable:
            await self._sleep(AGAIN_SECONDS)
            return True  # nobody says otherwise
        if (seen.get("spec") or {}).get("holderIdentity") != self._identity:
            return False
        if _version(seen) < _version(self._lease):
            log.error("the cluster is an older backup's; all that is known here is of another time")
            return False
        self._lease = seen
        return True

    async def _keep(self, spec: Mapping[str, Any], began: float) -> None:
        mine = {
            **spec,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": _micro(self._now()),
        }
        if self._lease:
            self._lease = await self._kube.replace_lease(self._lease, mine)
        else:
            self._lease = await self._kube.create_lease(self._namespace, LEASE, mine)
        self._until = began + HOLD_SECONDS

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            log.info("stands by", extra={"why": text})


def _version(lease: Mapping[str, Any]) -> int:
    """Later versions are greater: Kubernetes promises that of the versions of one kind (KEP-5504)."""
    written = str(lease.get("metadata", {}).get("resourceVersion", ""))
    return int(written) if written.isdecimal() else 0


def _micro(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
