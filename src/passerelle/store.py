"""The TrainingJobs in view, as kube-apiserver last told them: found by place, by run and by Site. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from passerelle.marker import Run
from passerelle.objects import Key, TrainingJob, trainingjob


class Store:
    """Keeps the bodies, parsed when they are asked for. An object is told from a later one of its name by its uid."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Mapping[str, Any]] = {}
        self._keys: dict[Run, Key] = {}
        self._of_site: dict[str, set[Key]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._bodies

    def get(self, key: Key) -> TrainingJob | None:
        body = self._bodies.get(key)
        return trainingjob(body) if body is not None else None

    def uid(self, key: Key) -> str:
        """The uid of the object there; `""` where there is none."""
        return str(self._bodies[key]["metadata"]["uid"]) if key in self._bodies else ""

    def site(self, key: Key) -> str:
        """The Site of the object there, as written."""
        return str((self._bodies[key].get("spec") or {}).get("site", ""))

    def is_news(self, key: Key, body: Mapping[str, Any], *, listed: bool = False) -> bool:
        """Whether a watch tells something, or only the echo of our own patch.

        Resource versions of custom resources are ordered integers; of others only the same is known to be no news. A
        listing is believed even where its version is lower: after a restore of etcd all of them are. At worst it is
        older than our last patch, and the next patch conflicts and reads again.
        """
        known = self._bodies.get(key)
        if known is None or known["metadata"]["uid"] != body["metadata"]["uid"]:
            return True
        one, other = (str(each["metadata"].get("resourceVersion", "")) for each in (body, known))
        ordered = one.isdigit() and other.isdigit() and not listed
        return int(one) > int(other) if ordered else one != other

    def keep(self, key: Key, body: Mapping[str, Any]) -> TrainingJob:
        """Take in a body. Whoever had this place under another uid must have been forgotten before."""
        body["metadata"].pop("managedFields", None)
        self._bodies[key] = body
        job = trainingjob(body)
        self._keys[job.run] = key
        self._of_site.setdefault(job.site, set()).add(key)
        return job

    def forget(self, key: Key, uid: str) -> TrainingJob | None:
        """Drop this object, and return it; None where it is not here: a later one of the same name stays."""
        if not uid or self.uid(key) != uid:
            return None
        job = trainingjob(self._bodies.pop(key))
        self._keys.pop(job.run, None)
        self._of_site.get(job.site, set()).discard(key)
        return job

    def of_run(self, run: Run) -> Key | None:
        return self._keys.get(run)

    def of_site(self, site: str) -> list[Key]:
        return list(self._of_site.get(site, ()))
