"""The routes for large files: an upload in parts is begun, URLs are signed, and a job is handed to sbatch."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from firecrest import login_node, transfer
from firecrest.answers import Answer, Refusal, Request, unexpected

if TYPE_CHECKING:
    from firecrest.bucket import Bucket
    from firecrest.fake import Fake

PIECE = 64 * 1024 * 1024
"""The most that a job here has in memory."""


def told(fake: Fake) -> dict[str, Any] | None:
    """What the server says of its way."""
    if fake.bucket is None:
        return None
    multipart = {
        "use_split": False,
        "max_part_size": fake.behaviour.part,
        "parallel_runs": 3,
        "tmp_folder": "tmp",
    }
    return {
        "serviceType": fake.behaviour.way,
        "name": "storage",
        "publicUrl": fake.bucket.public,
        "multipart": multipart,
    }


def answer(fake: Fake, name: str, request: Request) -> Answer:
    fake.healthy()
    if fake.bucket is None:
        raise Refusal(500, "'NoneType' object has no attribute 'service_type'")
    if fake.behaviour.way != "s3":
        raise Refusal(400, "Requested transfer method is not available.")
    account = request.body.get("account")
    if account is None and any("{account}" in line for line in fake.behaviour.directives):
        raise Refusal(400, "Account parameter is required on this system.")
    directives = [line.format(account=account) for line in fake.behaviour.directives]
    acts = {"transfer_upload": _upload, "transfer_download": _download}
    return acts[name](fake, fake.bucket, directives, request)


def _upload(fake: Fake, bucket: Bucket, directives: list[str], request: Request) -> Answer:
    path, size = request.body["sourcePath"], request.body["transferDirectives"]["fileSize"]
    key = f"{uuid.uuid4()}/{path.rpartition('/')[2]}"
    upload = bucket.begin(request.user, key)
    parts = [
        bucket.url("PUT", request.user, key, {"partNumber": str(number), "uploadId": upload}, inside=False)
        for number in range(1, -(-size // fake.behaviour.part) + 1)
    ]
    complete = bucket.url("POST", request.user, key, {"uploadId": upload}, inside=False)
    script = transfer.ingress(
        directives=directives,
        authority=bucket.authority,
        path=path,
        head=bucket.url("HEAD", request.user, key, inside=True),
        get=bucket.url("GET", request.user, key, inside=True),
        piece=min(fake.behaviour.part, PIECE),
        looks=fake.behaviour.looks,
        pause=fake.behaviour.pause,
        room=fake.behaviour.room,
        slow=fake.behaviour.slow,
    )
    found = {"partsUploadUrls": parts, "completeUploadUrl": complete, "maxPartSize": fake.behaviour.part}
    return _job(fake, request, transfer.INGRESS, script, found)


def _download(fake: Fake, bucket: Bucket, directives: list[str], request: Request) -> Answer:
    path = request.body["sourcePath"]
    size = int(fake.file_command("stat -L -c %s --", path, request.user).out)
    key = f"{uuid.uuid4()}/{path.rpartition('/')[2]}"
    upload = bucket.begin(request.user, key)
    piece = min(fake.behaviour.part, PIECE)
    script = transfer.outgress(
        directives=directives,
        authority=bucket.authority,
        path=path,
        urls=[
            bucket.url("PUT", request.user, key, {"partNumber": str(number), "uploadId": upload}, inside=True)
            for number in range(1, -(-size // piece) + 1)
        ],
        complete=bucket.url("POST", request.user, key, {"uploadId": upload}, inside=True),
        piece=piece,
        lost=fake.behaviour.lost_parts,
    )
    url = bucket.url("GET", request.user, key, inside=False)
    return _job(fake, request, transfer.OUTGRESS, script, {"downloadUrl": url})


def _job(fake: Fake, request: Request, name: str, script: str, directives: dict[str, Any]) -> Answer:
    home = f"{fake.behaviour.home}/{request.user}"
    fake.run(f"mkdir --parents {home}", request.user)
    log = f"{home}/.f7t_file_handling_job_error_{uuid.uuid4()}.log"
    job = {"name": name, "workingDirectory": home, "standardOutput": f"{log}.out", "standardError": log}
    command = login_node.sbatch(job, {"PATH": "/bin:/usr/bin/:/usr/local/bin/"})
    done = fake.run(command, request.user, script.encode())
    job_id = login_node.submitted(done)
    if done.code or job_id is None:
        raise unexpected(done)
    if fake.behaviour.lost_answers:
        fake.behaviour.lost_answers -= 1
        return Answer(504, raw=b"gateway timeout")
    found = {"transferMethod": "s3", **directives}
    if fake.behaviour.snake:
        found = {re.sub("[A-Z]", lambda each: f"_{each[0].lower()}", field): value for field, value in found.items()}
    logs = {"outputLog": f"{log}.out", "errorLog": log}
    about = {"jobId": job_id, "system": fake.system, "workingDirectory": home, "logs": logs}
    return Answer(201, {"transferJob": about, "transferDirectives": found})
