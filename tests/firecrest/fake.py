"""A FirecREST in ssh mode, on loopback, over whatever runs commands: in the contract a real Slurm of the sandbox.

It tells what the real one tells, mistakes included; each of those is a switch, so that a test can see what would be
without it. Requests are held against schema.py, and what is not in there is kept in `violations`.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import json
import shlex
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from firecrest import large, login_node
from firecrest.answers import Answer, Behaviour, Refusal, Request, unexpected
from firecrest.bucket import Bucket
from firecrest.issuer import Issuer, Refused
from firecrest.login_node import Done, ListBroken, Shell, TimeIsUp
from firecrest.schema import Route, route

PREFIX = "/firecrest/v2"
"""In front of all paths, as sites have it."""


@dataclass
class Fake:
    """One server with one system. `shell` runs commands at the site, as the token's user."""

    system: str
    shell: Shell
    user: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    bucket: Bucket | None = None
    asked: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.issuer = Issuer(self.user)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{PREFIX}"

    @property
    def token_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/auth/token"

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # Answers

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        split = urlsplit(target)
        if split.path == "/auth/token":
            return Answer(*self.issuer.issue(headers.get("authorization", ""), body))
        if self.behaviour.busy:
            self.behaviour.busy -= 1
            return Answer(429, raw=b"slow down")
        try:
            user = self._holder(headers.get("authorization", ""))
            found = route(method, split.path.removeprefix(PREFIX).lower())
            if found is None or not split.path.startswith(PREFIX):
                raise Refusal(404, "Not Found")
            name, chosen, words = found
            self.asked.append(name)
            query = dict(parse_qsl(split.query, keep_blank_values=True))
            told = self._checked(name, chosen, words, query, headers, body)
            if words.get("system", self.system) != self.system:
                raise Refusal(404, "System not found")
            asked = Request(user, words | query, told)
            act = getattr(self, f"_{name}", None)
            result: Answer = act(asked) if act else large.answer(self, name, asked)
        except Refusal as refusal:
            told = {"errorType": refusal.kind, "message": refusal.message, "causedBy": None, "data": None, "user": None}
            return Answer(refusal.status, told)
        return result

    def _holder(self, header: str) -> str:
        try:
            return self.issuer.holder(header)
        except Refused as refused:
            raise Refusal(401, str(refused)) from None

    def _checked(
        self,
        name: str,
        chosen: Route,
        words: dict[str, str],
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Any:
        content = headers.get("content-type", "")
        told = {} if chosen.upload or not body else json.loads(body)
        wrong = chosen.broken(words, query, told)
        if chosen.upload and not content.startswith("multipart/form-data"):
            wrong.append("no multipart form")
        self.violations += [f"{name}: {each}" for each in wrong]
        if any(each.startswith(("body", "path")) for each in wrong):
            message = f"1 validation error: {body.decode(errors='replace')}"
            raise Refusal(400, message.lower() if self.behaviour.lower_case_echo else message, "validation")
        return _file(content, body) if chosen.upload else told

    def _systems(self, _: Request) -> Answer:
        unwell = self.behaviour.unwell
        entry = {
            "name": self.system,
            "ssh": {"host": "login", "port": 22, "maxClients": 100},
            "scheduler": {
                "type": "slurm",
                "connectionMode": self.behaviour.mode,
                "version": self.behaviour.version,
                "apiUrl": None,
                "apiVersion": None,
                "timeout": 10,
            },
            "servicesHealth": [
                {"serviceType": "scheduler", "healthy": not unwell, "message": unwell or None},
                {"serviceType": "ssh", "healthy": True, "message": None},
            ],
            "fileSystems": [{"path": "/", "dataType": "scratch", "defaultWorkDir": True}],
            "dataOperation": {"max_ops_file_size": self.behaviour.limit, "data_transfer": large.told(self)},
        }
        return Answer(200, {"systems": [entry]})

    def _userinfo(self, request: Request) -> Answer:
        listed, default = (
            self.run(f"sacctmgr --parsable2 --noheader show {words}", request.user)
            for words in (
                f"associations user={request.user} format=account",
                f"user {request.user} format=defaultaccount",
            )
        )
        if listed.code or default.code:
            raise Refusal(500, f"Unexpected Slurm command response. exit_status:1 std_err:{listed.err}")
        uid = self.run("id -u", request.user).out.strip()
        user = {"id": uid, "name": request.user}
        accounts = [
            {"name": name, "default": name == default.out.strip()} for name in dict.fromkeys(listed.out.split())
        ]
        return Answer(200, {"user": user, "group": user, "groups": [], "accounts": accounts or None})

    def _partitions(self, request: Request) -> Answer:
        done = self.run("scontrol --all --oneliner show partitions", request.user)
        if done.code:
            raise Refusal(500, f"Unexpected Slurm command response. exit_status:{done.code} std_err:{done.err}")
        rows = [dict(word.partition("=")[::2] for word in line.split()) for line in done.out.splitlines()]
        rows = [row for row in rows if row["Hidden"] == "NO"]
        told = [
            {
                "name": row["PartitionName"],
                "cpus": int(row["TotalCPUs"]),
                "totalNodes": int(row["TotalNodes"]),
                "partition": row["State"],
            }
            for row in rows
        ]
        return Answer(200, {"partitions": told})

    def _submit(self, request: Request) -> Answer:
        self.healthy()
        job = request.body["job"]
        stdin = job["script"].encode() if job.get("script") else None
        try:
            done = self.shell(login_node.sbatch(job, {"F7T_version": "v2.0.0"}), request.user, stdin)
        except TimeIsUp:
            if self.behaviour.channel_error:
                raise Refusal(500, "('Channel not open for sending',)") from None
            raise Refusal(408, "Command execution timeout limit exceeded.") from None
        if done.code and ("QOSMax" in done.err or "AssocMax" in done.err):
            raise Refusal(403, f"Job submission rejected: accounting/QOS policy limit exceeded. {done.err.strip()}")
        if done.code:
            raise unexpected(done)
        job_id = login_node.submitted(done)
        if job_id is None:
            raise Refusal(500, "Unable to submit new job")
        return Answer(201, {"jobId": job_id})

    def _list(self, request: Request) -> Answer:
        self.healthy()
        filters = self.behaviour.filters
        names = request.words.get("name", "") if filters else ""
        window = request.words.get("time_window", self.behaviour.default_window) if filters else "7d"
        found = self._records(
            login_node.sacct(request.user, names=names, window=window),
            login_node.squeue(request.user, names=names),
            request.user,
        )
        return Answer(200, {"jobs": found})

    def _job(self, request: Request) -> Answer:
        self.healthy()
        job_id = request.words["job_id"]
        found = self._records(
            login_node.sacct(request.user, job_id=job_id), login_node.squeue(request.user, job_id=job_id), request.user
        )
        if not found:
            raise Refusal(404, "Job not found.")
        return Answer(200, {"jobs": found})

    def _cancel(self, request: Request) -> Answer:
        self.healthy()
        done = self.run(f"scancel --verbose {request.words['job_id']}", request.user)
        if self.behaviour.cancel_fails and (done.code or "error:" in done.err):
            raise unexpected(done)
        return Answer(204)

    def _stat(self, request: Request) -> Answer:
        follow = "--dereference" if request.words.get("dereference") == "true" else ""
        done = self.file_command(
            f"stat {follow} -c '%f %i %d %h %u %g %s %X %Y %Z' --", request.words["path"], request.user
        )
        mode, *numbers = done.out.split()
        names = ("ino", "dev", "nlink", "uid", "gid", "size", "atime", "mtime", "ctime")
        return Answer(200, {"output": {"mode": int(mode, 16), **dict(zip(names, map(int, numbers), strict=True))}})

    def _tail(self, request: Request) -> Answer:
        sign = "+" if request.words["skipHeading"] == "true" else ""
        done = self.file_command(f"tail --bytes={sign}{request.words['bytes']} --", request.words["path"], request.user)
        output = {
            "content": done.out,
            "contentType": "bytes",
            "startPosition": int(request.words["bytes"]),
            "endPosition": -1,
        }
        return Answer(200, {"output": output})

    def _view(self, request: Request) -> Answer:
        size, offset = int(request.words["size"]), int(request.words["offset"])
        if size > self.behaviour.limit:
            raise Refusal(400, f"`size` value must be less than {self.behaviour.limit} bytes")
        command = f"dd status=none bs={size} skip={offset // size} count=2 if="
        done = self.file_command(command, request.words["path"], request.user)
        begin = offset % size  # of characters, though the offset counts bytes
        return Answer(200, {"output": done.out[begin : begin + size]})

    def _download(self, request: Request) -> Answer:
        done = self.file_command("base64 --wrap=0 --", request.words["path"], request.user)
        return Answer(200, raw=base64.b64decode(done.out))

    def _upload(self, request: Request) -> Answer:
        name, content = request.body
        if len(content) > self.behaviour.limit:
            raise Refusal(413, "File to upload is too large.")
        done = self.run(f"base64 -d > '{request.words['path']}/{name}'", request.user, base64.b64encode(content))
        if not content:
            raise Refusal(408, "Command execution timeout limit exceeded.")
        self.complain(done)
        return Answer(204)

    def _chmod(self, request: Request) -> Answer:
        self.file_command(f"chmod {request.body['mode']} --", request.body["sourcePath"], request.user)
        return Answer(200, {"output": None})

    def _mkdir(self, request: Request) -> Answer:
        parents = "--parents" if request.body["parent"] else ""
        self.file_command(f"mkdir {parents} --", request.body["sourcePath"], request.user)
        return Answer(201, {"output": None})

    def _metadata(self, request: Request) -> Answer:
        job_id = request.words["job_id"]
        done = self.run(f"scontrol write batch_script {job_id} -", request.user)
        if done.code:
            raise Refusal(404, "Job not found.")
        return Answer(200, {"jobs": [{"jobId": job_id, "script": done.out}]})

    def _ls(self, request: Request) -> Answer:
        hidden = "-A" if request.words.get("showHidden") == "true" else ""
        command = f"ls -l --quoting-style=c --time-style='+%Y-%m-%dT%H:%M:%S' {hidden} --"
        done = self.file_command(command, request.words["path"], request.user)
        return Answer(200, {"output": [row for line in done.out.splitlines() if (row := login_node.listed(line))]})

    def _rm(self, request: Request) -> Answer:
        self.file_command("rm -r --interactive=never --", request.words["path"], request.user)
        return Answer(204)

    def _checksum(self, request: Request) -> Answer:
        command = f"timeout {self.behaviour.hash_seconds:g} sha256sum --"
        done = self.file_command(command, request.words["path"], request.user)
        return Answer(200, {"output": {"algorithm": "SHA256", "checksum": done.out.split()[0]}})

    def _extract(self, request: Request) -> Answer:
        flag = {"gzip": "z", "none": ""}[request.body["compression"]]
        source, target = request.body["sourcePath"], request.body["targetPath"]
        self.complain(self.run(f"tar -x{flag}f '{source}' -C '{target}'", request.user))
        return Answer(204)

    # How it is done

    def run(self, command: str, user: str, stdin: bytes | None = None) -> Done:
        try:
            done = self.shell(command, user, stdin)
        except TimeIsUp:
            raise Refusal(408, "Command execution timeout limit exceeded.") from None
        if len(done.out.replace("\N{REPLACEMENT CHARACTER}", "?").encode()) >= self.behaviour.limit:
            raise Refusal(413, "Command output exceeded buffer limit.")
        return done

    def _records(self, sacct: str, squeue: str, user: str) -> list[dict[str, Any]]:
        try:
            accounted, queued = self.shell(sacct, user), self.shell(squeue, user)
            for done in (accounted, queued):
                if done.code and "Invalid job id specified" not in done.err:
                    raise ListBroken
            return login_node.records(accounted.out, queued.out, poison=self.behaviour.poison)
        except (ListBroken, TimeIsUp):
            raise Refusal(500, "Error executing Slurm command.") from None

    def file_command(self, command: str, path: str, user: str) -> Done:
        glue = "" if command.endswith("=") else " "
        done = self.run(f"{command}{glue}{shlex.quote(path)}", user)
        self.complain(done)
        return done

    def complain(self, done: Done) -> None:
        if done.code:
            text = f"Remote process failed with exit status:{done.code} and error message:{done.err.strip()}"
            status = 404 if "No such file" in done.err else 403 if "Permission denied" in done.err else 500
            status = 408 if done.code == 124 else status
            raise Refusal(status, text)

    def healthy(self) -> None:
        if self.behaviour.unwell:
            raise Refusal(503, f"The scheduler service for the requested system ({self.system}) is unhealthy.")


def _file(content_type: str, body: bytes) -> tuple[str, bytes]:
    head = f"content-type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    (part,) = message.iter_parts()
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return str(part.get_filename()), content


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = fake.answer(
                self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body
            )
            kind = "application/octet-stream" if answer.raw is not None else "application/json"
            told = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()
            content = answer.raw if answer.raw is not None else told
            self.send_response(answer.status)
            if answer.status == 204:
                self.end_headers()
                return
            if answer.status == 429:
                self.send_header("RateLimit-Reset", "1")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.serve)
    return Handler
