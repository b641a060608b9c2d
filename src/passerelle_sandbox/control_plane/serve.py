"""Starts a control plane, knows whether it is healthy, and finds it again.

etcd first, then the API server, then the controller manager: each is started when the one before it answers. What is
needed to ask a running control plane stands in its directory. That it is ours and alive is proven by its certificate,
not by a remembered pid; its processes are ended by whoever owns the sandbox.
"""

from __future__ import annotations

import http.client
import json
import shutil
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from passerelle_sandbox import loopback, ports, processes, say
from passerelle_sandbox.control_plane import commands, kubeconfig, pki
from passerelle_sandbox.control_plane.commands import FIRST_SERVICE, Keys, Ports
from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from passerelle_sandbox.control_plane.build import Programs

PATIENCE = 60.0
"""Seconds for one daemon to answer; a warm machine needs three for all of them."""
_ATTEMPTS = 3
_HERE = ("IP:127.0.0.1", "DNS:localhost")
_SERVICE = (f"IP:{FIRST_SERVICE}", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc")


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that was started in a directory, seen from outside."""

    directory: Path
    ports: Ports

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def url(self) -> str:
        return f"https://{loopback.ADDRESS}:{self.ports.apiserver}"

    def health(self) -> dict[str, str]:
        """Component -> "ok" or what is wrong."""
        return {component: self.ask(component) for component in _DOORS}

    def ask(self, component: str) -> str:
        """What one component says: "ok", or what is wrong."""
        port, path, context = self._door(component)
        return loopback.verdict(port, path, context)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path of the API server, asked as its administrator."""
        port, _, context = self._door("kube-apiserver")
        return loopback.get(port, path, context)

    def version(self) -> str:
        """What the API server says that it is."""
        try:
            return str(json.loads(self.get("/version")[1])["gitVersion"])
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return "unknown"

    def _door(self, component: str) -> tuple[int, str, ssl.SSLContext]:
        port, path = _DOORS[component]
        keys = _keys(self.directory / "pki")
        authority, pair = (
            (keys.etcd_authority, keys.etcd_client) if component == "etcd" else (keys.authority, keys.admin)
        )
        return getattr(self.ports, port), path, loopback.tls(authority, pair.certificate, pair.key)


_DOORS = {
    "etcd": ("etcd", "/health"),
    "kube-apiserver": ("apiserver", "/readyz"),
    "kube-controller-manager": ("controller_manager", "/healthz"),
}
"""Component -> the name of its port, and the path that tells its health; in the order in which they start."""
_COMMANDS = {
    "etcd": commands.etcd,
    "kube-apiserver": commands.apiserver,
    "kube-controller-manager": commands.controller_manager,
}


def start(directory: Path, env: Mapping[str, str], programs: Programs, *, name: str) -> ControlPlane:
    """Start a control plane in a directory of its own; its daemons get `env` and outlive this process."""
    with say.step("control plane: keys and certificates"):
        keys = _make_keys(directory / "pki")
    (directory / "audit-policy.yaml").write_text(commands.AUDIT_POLICY, encoding="utf-8")
    (directory / "logs").mkdir(exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        plane = ControlPlane(directory, Ports(*ports.free(4)))
        _write_kubeconfigs(plane, keys, context=f"passerelle-{name}")
        try:
            with say.step(f"control plane: {', '.join(_DOORS)}"):
                _start_daemons(plane, env, programs, keys)
        except _PortTakenError:
            if attempt == _ATTEMPTS:
                raise
            say.line("control plane: another process was quicker at a port; once more, with others")
            shutil.rmtree(directory / "etcd", ignore_errors=True)
            continue
        state = json.dumps({"ports": asdict(plane.ports)}, indent=2)
        (directory / "control-plane.json").write_text(state + "\n", encoding="utf-8")
        return plane
    raise AssertionError("the last attempt returns or raises")


def load(directory: Path) -> ControlPlane:
    """The control plane that was started in a directory."""
    state = json.loads((directory / "control-plane.json").read_text(encoding="utf-8"))
    return ControlPlane(directory, Ports(**state["ports"]))


def start_again(plane: ControlPlane, env: Mapping[str, str], programs: Programs) -> None:
    """Start the daemons of a control plane whose former ones have ended, on the same ports and from the same files.

    A daemon that was killed is gone for whoever asks for it as its first thread is, and its port some moments later.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _start_daemons(plane, env, programs, _keys(plane.directory / "pki"))
        except _PortTakenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


class _PortTakenError(SandboxError):
    """Somebody was quicker; another port will do."""


def _start_daemons(plane: ControlPlane, env: Mapping[str, str], programs: Programs, keys: Keys) -> None:
    started: set[int] = set()
    try:
        for component, command in _COMMANDS.items():
            log = plane.logs / f"{component}.log"
            begin = log.stat().st_size if log.exists() else 0
            pid = processes.spawn(command(programs, plane.directory, plane.ports, keys), log=log, env=env)
            started.add(pid)
            _wait(plane, component, pid, partial(say.last_words, log, say.TAIL_LINES, start=begin))
        _wait_for_controllers(plane)
    except BaseException:
        processes.end(lambda: sorted(started))
        raise


def _wait(plane: ControlPlane, component: str, pid: int, last_words: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (verdict := plane.ask(component)) != "ok":
        processes.reap([pid])
        if processes.start_time(pid) is None:
            said = last_words()
            if "address already in use" in said:
                raise _PortTakenError(f"{component}: its port was taken by another process, again and again.")
            for line in said.splitlines():
                say.line(f"  | {line}")
            raise SandboxError(f"{component} ended at once; its log is {plane.logs / component}.log.")
        if time.monotonic() > deadline:
            raise SandboxError(
                f"{component}, after {PATIENCE:.0f} s: {verdict}; its log is {plane.logs / component}.log."
            )
        time.sleep(0.05)


def _wait_for_controllers(plane: ControlPlane) -> None:
    """The controller manager is healthy before its controllers work: a namespace shows when they do."""
    signs = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
    deadline = time.monotonic() + PATIENCE
    for sign in signs:
        while plane.get(f"/api/v1/namespaces/default/{sign}")[0] != http.client.OK:
            if time.monotonic() > deadline:
                raise SandboxError(f"kube-controller-manager made no {sign} in {PATIENCE:.0f} s; see {plane.logs}.")
            time.sleep(0.1)


def _write_kubeconfigs(plane: ControlPlane, keys: Keys, *, context: str) -> None:
    for path, user, pair in (
        (plane.kubeconfig, "admin", keys.admin),
        (plane.directory / "controller-manager.kubeconfig", "controller-manager", keys.controller_manager_client),
    ):
        kubeconfig.write(path, server=plane.url, authority=keys.authority, user=user, pair=pair, context=context)


def _keys(pki_directory: Path) -> Keys:
    """Where each key lies."""

    def pair(name: str) -> pki.Pair:
        return pki.Pair(pki_directory / f"{name}.crt", pki_directory / f"{name}.key")

    return Keys(
        authority=pki_directory / "ca.crt",
        etcd_authority=pki_directory / "etcd-ca.crt",
        etcd=pair("etcd"),
        etcd_client=pair("etcd-client"),
        apiserver=pair("apiserver"),
        controller_manager=pair("controller-manager"),
        controller_manager_client=pair("controller-manager-client"),
        admin=pair("admin"),
        tokens=(pki_directory / "tokens.key", pki_directory / "tokens.pub"),
    )


def _make_keys(pki_directory: Path) -> Keys:
    cluster = pki.Authority.create(pki_directory, "ca")
    storage = pki.Authority.create(pki_directory, "etcd-ca")
    server, client = ["serverAuth"], ["clientAuth"]
    storage.sign("etcd", subject="/CN=etcd", usages=server + client, hosts=_HERE)
    storage.sign("etcd-client", subject="/CN=kube-apiserver", usages=client)
    cluster.sign("apiserver", subject="/CN=kube-apiserver", usages=server, hosts=_HERE + _SERVICE)
    cluster.sign("controller-manager", subject="/CN=kube-controller-manager", usages=server, hosts=_HERE)
    cluster.sign("controller-manager-client", subject="/CN=system:kube-controller-manager", usages=client)
    cluster.sign("admin", subject="/O=system:masters/CN=admin", usages=client)
    pki.signing_key(pki_directory, "tokens")
    cluster.close()
    storage.close()
    return _keys(pki_directory)
