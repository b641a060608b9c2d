"""A UNICORE/X before a running site: started in a directory, asked over HTTP, frozen and stopped by tests.

The server is a process of this machine and carries the sandbox's mark; its TSI is one of the site's, and ends with it.
What the server knows of jobs lies in its directory, and outlives a stop.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import loopback, ports, processes, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site.namespace import environment, wait_until
from passerelle_sandbox.unicore import config
from passerelle_sandbox.unicore.jars import jars, version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passerelle_sandbox.site.serve import Site

START_TIMEOUT, STOP_TIMEOUT = 120.0, 20.0
HEAP = "-Xmx256m"
_PATH = "/rest/core"
_PARTS = {"client", "server"}
"""Of what the server says of itself: it listens before it knows them all, and before it has a place for jobs."""
_TSI_LOG = "/var/log/slurm/tsi.log"


@dataclass(slots=True)
class Server:
    """A server that was started. `pid` changes when it is started anew."""

    directory: Path
    site: Site
    ports: config.Ports
    marks: Mapping[str, str]
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.server}{_PATH}"

    @property
    def name(self) -> str:
        """What the server calls its site."""
        return config.SITE

    def run(self) -> None:
        """Start it, and return when it serves."""
        argv = ["env", "--chdir", str(self.directory), "java", HEAP, "-cp", f"{jars()}/*", "eu.unicore.uas.UAS"]
        log = self.directory / "server.log"
        argv[0] = shutil.which(argv[0]) or argv[0]
        self.pid = processes.spawn([*argv, "uas.config"], log=log, env=environment(self.marks))

        def serves() -> bool:
            processes.reap([self.pid])
            if processes.start_time(self.pid) is None:
                raise SandboxError(f"UNICORE/X has ended: {say.last_words(log, 3)}")
            return self._told().keys() >= _PARTS and bool(self._told("/factories").get("factories"))

        wait_until(serves, START_TIMEOUT, "UNICORE/X to serve")

    def _told(self, part: str = "") -> dict[str, object]:
        """What it says of itself, and where jobs go, to its user; empty where it says nothing."""
        login = base64.b64encode(f"{config.LOGIN}:{config.PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection(loopback.ADDRESS, self.ports.server, timeout=loopback.TIMEOUT)
        try:
            headers = {"Accept": "application/json", "Authorization": f"Basic {login}"}
            connection.request("GET", f"{_PATH}{part}", headers=headers)
            told = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()
        return told if isinstance(told, dict) else {}

    def pause(self) -> None:
        """Freeze it: the kernel still takes its connections, nobody answers."""
        processes.freeze([self.pid])

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it; nobody listens then."""
        started = processes.start_time(self.pid)
        if started is None:
            return

        def gone() -> bool:
            processes.reap([self.pid])
            return processes.start_time(self.pid) != started

        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)
                os.kill(self.pid, signal.SIGCONT)
            with suppress(SandboxError):
                wait_until(gone, STOP_TIMEOUT, "UNICORE/X to end")
                return
        raise SandboxError(f"UNICORE/X, process {self.pid}, can't be ended.")


def start(directory: Path, site: Site, env: Mapping[str, str]) -> Server:
    """Start a server before a site, and the TSI in it. Of `env` they inherit the sandbox's mark."""
    marks = {processes.SANDBOX: env[processes.SANDBOX]} if processes.SANDBOX in env else {}
    jars()
    found = config.Ports(*ports.free(3))
    server = Server(directory.absolute(), site, found, marks)
    with say.step(f"UNICORE/X {version()} before {site.cluster}"):
        server.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = f"/scratch/{site.user}"
        for name, text in config.files(found, site.user, home).items():
            (server.directory / name).write_text(text, encoding="utf-8")
        _keys(server.directory)
        tsi = Path(__file__).with_name("tsi.py").read_text(encoding="utf-8")
        site.namespace.spawn(["python3", "-c", tsi, str(found.tsi)], _TSI_LOG, site.user)
        try:
            server.run()
        except BaseException:
            server.stop()
            raise
    return server


def _keys(directory: Path) -> None:
    """The server's own certificate. It serves plain HTTP on loopback; it signs its tokens with this."""
    subject = ["-subj", "/C=EU/O=Passerelle/CN=sandbox-unicore", "-days", "30"]
    made = ["-keyout", "server.key", "-out", "server.crt"]
    _openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-noenc", *made, *subject)
    packed = ["-inkey", "server.key", "-in", "server.crt", "-out", "server.p12", "-name", "server"]
    _openssl(directory, "pkcs12", "-export", *packed, "-passout", f"pass:{config.PASSWORD}")


def _openssl(directory: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise SandboxError(f"openssl {words[0]}: {done.stderr.strip()}")
