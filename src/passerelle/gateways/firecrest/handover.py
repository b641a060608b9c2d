"""Large files by FirecREST's `transfer`: an S3 store of the server's, and a Slurm job between that and a path.

An upload is a job that looks once a minute, for a day, whether an object has become whole, and then writes it to the
path, which it empties before. It says nothing of what it could not write: it ends well on a full disk, and when its day
is over. A download is a job that ends well without parts that it could not send. So nothing is believed but sizes and
bytes. Both are named by FirecREST, and tell nobody which path they are for but in their script.

The number of parts follows from the size that is told, and nothing else does: to have smaller parts, and lose less to a
cut connection, a larger size is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unavailable, unsent
from passerelle.gateways.base import HandedIn, HandedOut
from passerelle.gateways.firecrest import decode, errors
from passerelle.gateways.firecrest.arrange import Arrange
from passerelle.gateways.firecrest.calls import Calls
from passerelle.gateways.firecrest.files import RemoteFiles
from passerelle.gateways.firecrest.jobs import LIVE_WINDOW, Jobs
from passerelle.gateways.firecrest.system import System
from passerelle.gateways.http import Answer

INGRESS, OUTGRESS = "IngressFileTransfer", "OutgressFileTransfer"
"""What FirecREST calls the job of an upload, and of a download."""
S3 = "s3"
NO_STORE = "NoObjectStore"

_SAFE = re.compile(r"/[\w./+@=%,-]*")
"""A path that a shell leaves alone: FirecREST puts it into its job's script, of a download without quotes."""
_LOG_BYTES = 16 * 1024
_COMPLAINTS = {
    "Disk quota exceeded": ("NoRoom", "has no room left for the site's user: its quota is used up"),
    "No space left on device": ("NoRoom", "has no room left"),
    "Permission denied": ("FileRefused", "may not be written by the site's user"),
    "No such file or directory": ("FileRefused", "is not there on the node of the transfer job"),
}
_NEEDS_ACCOUNT = "Account parameter is required"
_OTHER_METHOD = "Requested transfer method"
_HTTP_CREATED = 201


class Transfers:
    """Of one system. `told` is what the server said last of it."""

    def __init__(
        self, calls: Calls, told: Callable[[], System], files: RemoteFiles, arrange: Arrange, jobs: Jobs
    ) -> None:
        self._calls = calls
        self._told = told
        self._files = files
        self._arrange = arrange
        self._jobs = jobs

    async def hand_in(self, path: str, size: int, parts: int, account: str) -> HandedIn:
        told = max(size, parts * self._told().part_limit)
        job, found = await self._ask("upload", path, account, {"fileSize": told})
        urls, complete = _either(found, "partsUploadUrls"), _either(found, "completeUploadUrl")
        most = _either(found, "maxPartSize")
        if not (isinstance(urls, list) and urls and isinstance(complete, str) and isinstance(most, int) and most > 0):
            raise Unavailable("FirecREST's answer to an upload has no addresses.", reason="UnexpectedAnswer")
        return HandedIn(job=job[0], error_log=job[1], parts=tuple(map(str, urls)), complete=complete, most_bytes=most)

    async def hand_out(self, path: str, account: str) -> HandedOut:
        try:
            stamp = await self._arrange.stamp(path)
        except Unavailable as error:  # this asks for no job, whatever became of it
            raise unsent(error) from error
        if stamp is None:
            raise Missing(f"There is no file {path} at the site.")
        job, found = await self._ask("download", path, account, {})
        url = _either(found, "downloadUrl")
        if not isinstance(url, str):
            raise Unavailable("FirecREST's answer to a download has no address.", reason="UnexpectedAnswer")
        return HandedOut(job=job[0], error_log=job[1], url=url, stamp=stamp)

    async def waiting_for(self, path: str) -> Sequence[str]:
        """Of each job of an upload that lives, the script is read: nothing else tells its path. It holds secrets."""
        found = []
        for job in await self._jobs.listed(LIVE_WINDOW, {INGRESS}):
            if job.name != INGRESS or job.state.ending is not None:
                continue
            answer = await self._calls.ask("GET", f"{self._jobs.path}/{job.job_id}/metadata")
            rows = errors.read(answer).get("jobs")
            scripts = [str(row.get("script")) for row in rows or [] if isinstance(row, dict)]
            if any(f'"{path}"' in script for script in scripts):
                found.append(job.job_id)
        return found

    async def complaint(self, error_log: str) -> PasserelleError | None:
        try:
            said = await self._files.read(error_log, 0, _LOG_BYTES)
        except Missing:
            return None
        for words, (reason, sentence) in _COMPLAINTS.items():
            if words.encode() in said:
                return Rejected(f"FirecREST's transfer job says that the place {sentence}.", reason=reason)
        return None

    async def _ask(
        self, way: str, path: str, account: str, more: dict[str, object]
    ) -> tuple[tuple[str, str], dict[str, Any]]:
        """The job with its log, and the directives."""
        told = self._told()
        if told.large not in (S3, ""):
            raise _no_store(told)
        if not _SAFE.fullmatch(path):
            text = (
                f"{path[:200]!a} can't be carried by FirecREST, whose job would read it as a shell's command; use "
                "letters, digits and . _ + @ = % , - in names of large files."
            )
            raise Invalid(text, reason="InvalidPath")
        body: dict[str, object] = {"sourcePath": path, "transferDirectives": {"transferMethod": S3, **more}}
        if account:
            body["account"] = account
        answer = await self._calls.once("POST", f"filesystem/{told.name}/transfer/{way}", body=body)
        found = (answer.json() or {}) if answer.status == _HTTP_CREATED else {}
        job, directives = found.get("transferJob"), found.get("transferDirectives")
        job_id = decode.submitted(job) if isinstance(job, dict) else None
        if job_id is None or not isinstance(job, dict) or not isinstance(directives, dict):
            raise _refusal(answer, told, path)
        logs = job.get("logs")
        log = _either(logs, "errorLog") if isinstance(logs, dict) else None
        return (job_id, log if isinstance(log, str) else ""), directives


def _refusal(answer: Answer, told: System, path: str) -> PasserelleError:
    said = errors.message_of(answer) or ""
    if _NEEDS_ACCOUNT in said:
        text = "FirecREST's transfer jobs need an account; write one into the Site's admission."
        return Rejected(text, reason="AccountNeeded")
    if _OTHER_METHOD in said or "NoneType" in said:
        return _no_store(told)
    if errors.no_file(answer):
        return Missing(f"There is no file {path} at the site.")
    if errors.not_permitted(answer):
        return Rejected(f"The site's user may not read {path}.", reason="FileRefused")
    if (answer.json() or {}).get("errorType") == "validation":
        text = "FirecREST did not understand what is asked for large files, which it does from release 2.4 on."
        return Rejected(text, reason="NotUnderstood")
    return errors.refusal(answer)


def _no_store(told: System) -> Rejected:
    way = f"by {told.large} alone" if told.large not in ("", "none", S3) else "in no way"
    text = (
        f"FirecREST carries large files to {told.name} {way}, and not by an object store of its own; copy them by "
        "hand, and leave source and outputs out."
    )
    return Rejected(text, reason=NO_STORE)


def _either(found: dict[str, Any], name: str) -> object:
    """A field by its name, or as releases before 2.5 wrote it."""
    return found.get(name, found.get(re.sub(r"[A-Z]", lambda each: f"_{each[0].lower()}", name)))
