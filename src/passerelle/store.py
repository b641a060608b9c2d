"""The TrainingJobs in view, as kube-apiserver last told them: found by place, by run and by Site. Pure.

Ten thousand of them lie here for weeks, and a few are looked at in any second. So each lies as JSON, which takes a
third of what its dicts take, and is parsed when it is asked for: in 60 us, where one patch takes kube-apiserver 5 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from passerelle.marker import Run
from passerelle.objects import Key, TrainingJob, trainingjob


@dataclass(frozen=True, slots=True)
class _Kept:
    """A body as JSON, and what is asked of it most. `site` is as written, `version` the resource version, and `begun`
    whether an attempt is on record.
    """

    uid: str
    version: str
    site: str
    run: Run
    begun: bool
    packed: bytes


class Store:
    """Keeps the bodies, parsed when they are asked for. An object is told from a later one of its name by its uid."""

    def __init__(self) -> None:
        self._kept: dict[Key, _Kept] = {}
        self._keys: dict[Run, Key] = {}
        self._of_site: dict[str, set[Key]] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._kept))

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def get(self, key: Key) -> TrainingJob | None:
        kept = self._kept.get(key)
        return trainingjob(json.loads(kept.packed)) if kept is not None else None

    def uid(self, key: Key) -> str:
        """The uid of the object there; `""` where there is none."""
        return self._kept[key].uid if key in self._kept else ""

    def site(self, key: Key) -> str:
        """The Site of the object there, as written."""
        return self._kept[key].site

    def begun(self, key: Key) -> bool:
        """Whether the object there has an attempt on record."""
        return self._kept[key].begun

    def is_news(self, key: Key, body: Mapping[str, Any], *, listed: bool = False) -> bool:
        """Whether a watch tells something, or only the echo of our own patch.

        Resource versions of custom resources are ordered integers; of others only the same is known to be no news. A
        listing is believed even where its version is lower: after a restore of etcd all of them are. At worst it is
        older than our last patch, and the next patch conflicts and reads again.
        """
        known = self._kept.get(key)
        if known is None or known.uid != body["metadata"]["uid"]:
            return True
        one, other = str(body["metadata"].get("resourceVersion", "")), known.version
        ordered = one.isdigit() and other.isdigit() and not listed
        return int(one) > int(other) if ordered else one != other

    def keep(self, key: Key, body: Mapping[str, Any]) -> TrainingJob:
        """Take in a body. Whoever had this place under another uid must have been forgotten before."""
        body["metadata"].pop("managedFields", None)
        job = trainingjob(body)
        packed = json.dumps(body, separators=(",", ":")).encode()
        self._kept[key] = _Kept(job.uid, job.resource_version, job.site, job.run, bool(job.status.attempts), packed)
        self._keys[job.run] = key
        self._of_site.setdefault(job.site, set()).add(key)
        return job

    def forget(self, key: Key, uid: str) -> TrainingJob | None:
        """Drop this object, and return it; None where it is not here: a later one of the same name stays."""
        job = self.get(key) if uid and self.uid(key) == uid else None
        if job is None:
            return None
        del self._kept[key]
        self._keys.pop(job.run, None)
        self._of_site.get(job.site, set()).discard(key)
        return job

    def of_run(self, run: Run) -> Key | None:
        return self._keys.get(run)

    def of_site(self, site: str) -> list[Key]:
        return list(self._of_site.get(site, ()))
