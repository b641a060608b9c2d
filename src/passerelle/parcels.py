"""Parcels: the files that travel beside the script, through the gateway's files. Pure.

The sealed parcel holds what comes of Secrets, for the attempt alone, which takes it and leaves no copy. The payload
holds files that the script has no room for; its name and the script tell its SHA-256. A parcel may be written again and
again: whatever is sent twice is the same file in the same place.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from passerelle.brought import Sealed
from passerelle.errors import Invalid
from passerelle.plan import Plan

CARRIERS = frozenset({"arc", "firecrest", "ssh", "unicore"})
"""The drivers whose gateways carry files to the site; a test holds it against them."""

PARCEL_LIMIT = 5 * 1024 * 1024
"""Bytes of one: what every gateway carries at once, unless its site allows less. Larger data are staged."""

_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file, by its absolute path at the site. Its directory is made where it is missing."""

    path: str
    content: bytes = field(repr=False)
    mode: int = _MODE

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Payload:
    """The files of a plan as one zip, beside its script. `digest` is its SHA-256 in hexadecimal digits."""

    parcel: Parcel
    digest: str

    @property
    def path(self) -> str:
        return self.parcel.path


def no_way(secrets: Sequence[str], site: str, driver: str) -> str:
    """Why a job with these Secrets can't go to a Site of this driver, and what to do."""
    return (
        f"Secret {secrets[0]} would travel in a file of its own, and the {driver} gateway of Site {site} carries no "
        "files; put the value into a file at the site that only its user can read and let the trainer read that, or "
        "choose a Site whose gateway carries files."
    )


def check_size(parcel: Parcel) -> None:
    """Raises Invalid for one that not every gateway carries."""
    if len(parcel.content) > PARCEL_LIMIT:
        raise Invalid(
            f"files and env bring {len(parcel.content)} bytes beside the job's script, and may bring {PARCEL_LIMIT}; "
            "put large files at the site, or have them copied there as data.",
            reason="FilesTooLarge",
        )


def payload(plan: Plan) -> Payload:
    """Equal files are an equal payload."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in plan.mounts.files:
            place = zipfile.ZipInfo(f"{file.folder}/{file.path}")  # of 1980: no clock, no difference
            archive.writestr(place, file.data, zipfile.ZIP_DEFLATED)
    content = made.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return Payload(Parcel(f"{plan.run_directory}/files-{digest}.zip", content), digest)


def sealed(plan: Plan, secrets: Sealed) -> Parcel:
    """For this attempt: the marker in it tells whose it is."""
    files = [
        {"path": "/".join(map(str, plan.mounts.place(path))), "data": base64.b64encode(data).decode()}
        for path, data in secrets.files
    ]
    told: dict[str, object] = {"marker": plan.marker, "variables": dict(secrets.variables), "files": files}
    told["login"] = None if secrets.login is None else [secrets.login.username, secrets.login.password]
    return Parcel(plan.sealed_path, json.dumps(told, sort_keys=True).encode())
