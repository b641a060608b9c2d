"""The routes of FirecREST v2 that the driver uses, written down by hand from its published interface.

The real server drops what it does not know and goes on; here that is a violation, since a field that nobody reads is a
job that runs without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Check = Callable[[Any], bool]


def text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def number(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def truth(value: object) -> bool:
    return value in ("true", "false")


def flag(value: object) -> bool:
    return isinstance(value, bool)


def path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and "'" not in value


def window(value: object) -> bool:
    return value in ("1h", "8h", "24h", "3d", "7d")


def name_filter(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 235


def octal(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-7]{3}", value) is not None


def job(value: object) -> bool:
    """A script or the path of one, and where it runs: what the server would answer with 400, or with 408 after 5 s."""
    if not isinstance(value, dict) or not JOB.keys() >= value.keys():
        return False
    script = value.get("script")
    return (
        path(value.get("workingDirectory"))
        and (script is None) != (value.get("scriptPath") is None)
        and (script is None or (isinstance(script, str) and script.startswith("#!")))
        and all(check(value[name]) for name, check in JOB.items() if name in value)
    )


def unquoted(value: object) -> bool:
    """A path that stands in a transfer job's script, where a shell reads it."""
    return isinstance(value, str) and re.fullmatch(r"/[\w./+@=%,-]*", value) is not None


def s3_upload(value: object) -> bool:
    """Without fileSize the server fails on its None."""
    return isinstance(value, dict) and value.keys() == {"transferMethod", "fileSize"} and _size(value["fileSize"])


def s3_download(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"transferMethod"}


def _size(value: object) -> bool:
    return isinstance(value, int) and value > 0


JOB: dict[str, Check] = {
    "name": text,
    "account": text,
    "partition": text,
    "reservation": text,
    "constraints": text,
    "workingDirectory": path,
    "standardOutput": path,
    "standardError": path,
    "script": text,
    "scriptPath": path,
}
"""`env` is missing on purpose: in ssh mode its values are cut at commas."""


@dataclass(frozen=True)
class Route:
    """`needs` must be there; `may` may; of the body, every key of `body` must be there. A job's id is a word."""

    method: str
    pattern: str
    needs: Mapping[str, Check] = field(default_factory=dict)
    may: Mapping[str, Check] = field(default_factory=dict)
    body: Mapping[str, Check] = field(default_factory=dict)
    body_may: Mapping[str, Check] = field(default_factory=dict)
    upload: bool = False

    def broken(self, words: Mapping[str, str], query: Mapping[str, str], body: Mapping[str, Any]) -> list[str]:
        """What of a request is not in the schema; `words` stood in its path."""
        known = {**self.needs, **self.may}
        wrong = ["path"] if re.fullmatch(r"[a-zA-Z0-9]+", words.get("job_id", "1")) is None else []
        wrong += [f"query {name}" for name in query if name not in known or not known[name](query[name])]
        wrong += [f"query {name} is missing" for name in self.needs if name not in query]
        fields = {**self.body, **self.body_may}
        wrong += [f"body {name}" for name in body if name not in fields or not fields[name](body[name])]
        return wrong + [f"body {name} is missing" for name in self.body if name not in body]


_JOBS = "/compute/(?P<system>[^/]+)/jobs"
_OPS = "/filesystem/(?P<system>[^/]+)/ops"
_TRANSFER = "/filesystem/(?P<system>[^/]+)/transfer"

ROUTES: dict[str, Route] = {
    "systems": Route("GET", "/status/systems"),
    "userinfo": Route("GET", "/status/(?P<system>[^/]+)/userinfo"),
    "partitions": Route("GET", "/status/(?P<system>[^/]+)/partitions"),
    "submit": Route("POST", _JOBS, body={"job": job}),
    "list": Route("GET", _JOBS, may={"name": name_filter, "time_window": window}),
    "job": Route("GET", _JOBS + "/(?P<job_id>[^/]+)"),
    "cancel": Route("DELETE", _JOBS + "/(?P<job_id>[^/]+)"),
    "metadata": Route("GET", _JOBS + "/(?P<job_id>[^/]+)/metadata"),
    "stat": Route("GET", _OPS + "/stat", needs={"path": path}, may={"dereference": truth}),
    "tail": Route("GET", _OPS + "/tail", needs={"path": path, "bytes": number, "skipHeading": truth}),
    "view": Route("GET", _OPS + "/view", needs={"path": path, "size": number, "offset": number}),
    "download": Route("GET", _OPS + "/download", needs={"path": path}),
    "upload": Route("POST", _OPS + "/upload", needs={"path": path}, upload=True),
    "mkdir": Route("POST", _OPS + "/mkdir", body={"sourcePath": path, "parent": flag}),
    "ls": Route("GET", _OPS + "/ls", needs={"path": path}, may={"showHidden": truth}),
    "rm": Route("DELETE", _OPS + "/rm", needs={"path": path}),
    "checksum": Route("GET", _OPS + "/checksum", needs={"path": path}),
    "extract": Route("POST", _OPS + "/extract", body={"sourcePath": path, "targetPath": path, "compression": text}),
    "transfer_upload": Route(
        "POST",
        _TRANSFER + "/upload",
        body={"sourcePath": unquoted, "transferDirectives": s3_upload},
        body_may={"account": text},
    ),
    "transfer_download": Route(
        "POST",
        _TRANSFER + "/download",
        body={"sourcePath": unquoted, "transferDirectives": s3_download},
        body_may={"account": text},
    ),
    "chmod": Route("PUT", _OPS + "/chmod", may={"path": path}, body={"sourcePath": path, "mode": octal}),
}


def route(method: str, at: str) -> tuple[str, Route, dict[str, str]] | None:
    """Which route a request is for, and what stands in its path."""
    for name, each in ROUTES.items():
        found = re.fullmatch(each.pattern, at)
        if found and each.method == method:
            return name, each, found.groupdict()
    return None
