"""The site's door for the grid: A-REX of Debian's own, in front of the site's Slurm, on a loopback port.

It lies in a layer over the root file system, built once and never written to again, and is started in a site that was
made with that layer. Its authority, its certificates and its issuer of tokens are A-REX's own for tests, made anew for
every site. Two daemons are one service: `ws` talks to clients, `arex` works; each can be stopped and frozen by itself.

What differs from a site's: `ws` listens on the loopback alone, and the states of jobs are collected every few seconds,
not every minute. Both have no setting, so they go into what the start scripts write. `scratchdir` stays unset: with it
A-REX 7.0's job script fails under bash 5.2.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from passerelle_sandbox import cache, ports, processes, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import config, rootfs

if TYPE_CHECKING:
    from passerelle_sandbox.site.serve import Site

RELEASES = ("trixie", "sid")
"""Debian 12 has release 6, which knows version 1.0 alone."""

HOME = "/scratch/arc"
SESSIONS = f"{HOME}/session"
JOB_LOG = f"{HOME}/log/jobs.log"
ENVIRONMENT = "PASSERELLE"
"""The runtime environment by which options reach sbatch, as the site names it."""

Daemon = Literal["ws", "arex"]

_PACKAGES = (
    "nordugrid-arc-arex",
    "nordugrid-arc-arcctl",
    "nordugrid-arc-arcctl-service",
    "nordugrid-arc-plugins-needed",
)
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0
_PERIOD_TENTHS = 30
"""Of a second, between two collections of the jobs' states; A-REX waits 600."""

_SCRIPTS = {"arex": "arc-arex-start", "ws": "arc-arex-ws-start"}
_PID_FILES = {"arex": "/run/arched-arex.pid", "ws": "/run/arched-arex-ws.pid"}

_SET_UP = f"""
mkdir -p {HOME}/control {HOME}/log {HOME}/client /etc/arc/runtime
install -d -m 755 {SESSIONS}
openssl dhparam -dsaparam -out {HOME}/control/dhparam.pem 1024
cd {HOME}/client
arcctl test-ca init --force
arcctl test-ca hostcert --hostname localhost --force
install -m 644 host-localhost-cert.pem /etc/grid-security/testCA-hostcert.pem
install -m 400 host-localhost-key.pem /etc/grid-security/testCA-hostkey.pem
arcctl test-ca usercert --username {rootfs.USER} --force
cat "$(readlink -f /etc/grid-security/certificates/*.0 | xargs ls -t | head -n 1)" > ca.pem
arcctl test-jwt init --force
arcctl deploy jwt-issuer --deploy-conf "$(arcctl test-jwt export | grep -o 'test-jwt://.*')"
rm -f /etc/arc.conf.d/10-*.conf
arcctl rte enable {ENVIRONMENT}
sed 's#<tcp:Listen>#<tcp:Listen><tcp:Interface>127.0.0.1</tcp:Interface>#' /usr/share/arc/arc-arex-ws-start \\
    > {HOME}/arc-arex-ws-start
sed 's#^ *$arex_endpoint#&<arex:InfoproviderWakeupPeriod>{_PERIOD_TENTHS}</arex:InfoproviderWakeupPeriod>#' \\
    /usr/share/arc/arc-arex-start > {HOME}/arc-arex-start
chmod 755 {HOME}/arc-arex-start {HOME}/arc-arex-ws-start
"""

_PROXY = f"""
cd {HOME}/client
cat > proxy.cnf <<'CONF'
keyUsage = critical, digitalSignature, keyEncipherment
proxyCertInfo = critical, language:id-ppl-inheritAll
CONF
user=client-{rootfs.USER}
subject=/$(openssl x509 -in $user-cert.pem -noout -subject -nameopt compat,sep_multiline,sname,use_quote |
    sed -n 's/^ *//; /=/p' | grep -v '^subject' | paste -sd /)/CN=4711
openssl req -new -newkey rsa:2048 -nodes -subj "$subject" -keyout proxy.key -out proxy.csr
openssl x509 -req -in proxy.csr -CA $user-cert.pem -CAkey $user-key.pem -set_serial 4711 -days 1 -extfile proxy.cnf \\
    -out proxy.crt
cat proxy.crt proxy.key $user-cert.pem > proxy.pem
"""


def layer(release: str) -> Path:
    """What A-REX adds to the root file system of a release, built where it is missing. Named after that one's packages:
    another root file system gets another layer.
    """
    if release not in RELEASES:
        raise SandboxError(f"A-REX is tried on {' and '.join(RELEASES)}, not on {release}.")
    root = rootfs.rootfs(release)
    packages = hashlib.sha256((root / "var/lib/dpkg/status").read_bytes()).hexdigest()[:12]
    title = f"A-REX of Debian {release}"
    return cache.build_once(
        f"arc-server/{release}-{packages}",
        lambda place: rootfs.debian(title, place, release, _PACKAGES, "", over=root),
    )


def arc_conf(port: int) -> str:
    """arc.conf: whoever has a certificate of the authority, or a token of the issuer, is the site's ordinary user."""
    return f"""\
[common]
hostname=localhost
[authtokens]
[authgroup:everybody]
authtokens=* * * * *
all=yes
[mapping]
map_to_user=everybody {rootfs.USER}:{rootfs.USER}
policy_on_nomap=stop
[lrms]
lrms=slurm
slurm_bin_path=/usr/bin
slurm_wakeupperiod=1
[arex]
controldir={HOME}/control
sessiondir={SESSIONS}
runtimedir=/etc/arc/runtime
logfile={HOME}/log/arex.log
joblog={JOB_LOG}
loglevel=3
pidfile={_PID_FILES["arex"]}
shared_filesystem=yes
wakeupperiod=1
[arex/ws]
wsurl=https://localhost:{port}/arex
logfile={HOME}/log/ws.log
pidfile={_PID_FILES["ws"]}
[arex/ws/jobs]
allowaccess=everybody
[infosys]
loglevel=2
logfile={HOME}/log/info.log
[infosys/glue2]
admindomain_name=sandbox
[infosys/cluster]
alias=sandbox
[queue:{config.PARTITION}]
comment=All nodes
"""


@dataclass(frozen=True, slots=True)
class ArcServer:
    """A-REX in a site, started; it ends with the site."""

    site: Site
    port: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/arex"

    @property
    def authority(self) -> bytes:
        """The certificate of the authority that has signed A-REX's, in PEM."""
        return self._client("ca.pem")

    def token_secret(self, *, user: str = rootfs.USER, seconds: float = 3600) -> dict[str, bytes]:
        """A token of the issuer, by a Secret's keys; it may have ended already."""
        now = int(time.time())
        claims = json.dumps({"exp": now + int(seconds), "nbf": now - 86_400, "iat": now - 86_400})
        token = self._run(f"arcctl test-jwt token --username '{user}' --claims '{claims}'")
        return {"token": token.split()[-1].encode()}

    def certificate_secret(self) -> dict[str, bytes]:
        """The user's certificate and key, as a Secret of type kubernetes.io/tls."""
        name = f"client-{rootfs.USER}"
        return {"tls.crt": self._client(f"{name}-cert.pem"), "tls.key": self._client(f"{name}-key.pem")}

    def proxy_secret(self) -> dict[str, bytes]:
        """A proxy of that certificate, as arcproxy would write it."""
        self._run(_PROXY)
        return {"proxy.pem": self._client("proxy.pem")}

    def start_daemon(self, daemon: Daemon) -> None:
        """Start a daemon, and return when it serves."""
        if not self._pids(daemon):
            script = f"{HOME}/{_SCRIPTS[daemon]}"
            self.site.namespace.spawn(("env", "ARC_CONFIG=/etc/arc.conf", script), f"{HOME}/log/{daemon}-start.log")
        self.site.namespace.wait_until(lambda: self._serves(daemon), _START_TIMEOUT, f"A-REX's {daemon} to serve")

    def stop_daemon(self, daemon: Daemon) -> None:
        """End a daemon, and return when it is gone."""
        self._signal(daemon, signal.SIGCONT)
        self._signal(daemon, signal.SIGTERM)
        try:
            self.site.namespace.wait_until(lambda: not self._pids(daemon), _STOP_TIMEOUT, f"A-REX's {daemon} to end")
        except SandboxError:
            self._signal(daemon, signal.SIGKILL)
            self.site.namespace.wait_until(
                lambda: not self._pids(daemon), _STOP_TIMEOUT, f"A-REX's {daemon} to be gone"
            )

    def pause(self, daemon: Daemon) -> None:
        """Freeze a daemon: the kernel still takes its connections, nobody answers."""
        processes.freeze(self._pids(daemon))

    def resume(self, daemon: Daemon) -> None:
        self._signal(daemon, signal.SIGCONT)

    def _serves(self, daemon: Daemon) -> bool:
        if not self._pids(daemon):
            return False
        if daemon == "ws":
            return any(f":{self.port:04X} " in line for line in _listening())
        return self.site.namespace.path(f"{HOME}/control/info.xml").exists()

    def _pids(self, daemon: Daemon) -> list[int]:
        """The host's pids of a daemon: its pid file names the one that it has in the site."""
        try:
            inside = self.site.namespace.path(_PID_FILES[daemon]).read_text(encoding="ascii").strip()
        except OSError:
            return []
        return [pid for pid in self.site.namespace.pids("arched") if _inner(pid) == inside]

    def _signal(self, daemon: Daemon, sign: signal.Signals) -> None:
        for pid in self._pids(daemon):
            os.kill(pid, sign)

    def _client(self, name: str) -> bytes:
        return self.site.namespace.path(f"{HOME}/client/{name}").read_bytes()

    def _run(self, script: str) -> str:
        done = self.site.run(["sh", "-eu", "-c", script], timeout=60.0)
        if done.returncode != 0:
            raise SandboxError(f"A-REX's set-up failed: {done.stderr.strip()}")
        return done.stdout


def start(site: Site) -> ArcServer:
    """Start A-REX in a site that was made with its layer, and return when it serves."""
    (port,) = ports.free(1)
    made = ArcServer(site, port)
    with say.step(f"A-REX in front of Slurm {site.version}"):
        _write(site, "/etc/arc.conf", arc_conf(port))
        options = resources.files("passerelle.gateways.arc").joinpath("options.sh").read_text(encoding="utf-8")
        _write(site, f"/etc/arc/runtime/{ENVIRONMENT}", options)
        made._run(_SET_UP)  # noqa: SLF001 -- its maker
        made.start_daemon("arex")
        made.start_daemon("ws")
    return made


def _write(site: Site, path: str, text: str) -> None:
    file = site.namespace.path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def _inner(pid: int) -> str:
    """A process's pid in its own namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), "")


def _listening() -> list[str]:
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return [row for row in rows if row.split()[3] == "0A"]
