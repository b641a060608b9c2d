"""The command lines of the three daemons: which doors they open, whom they believe, and what they write down.

Everything listens on 127.0.0.1 alone and speaks TLS that is verified on both sides. Pure: no process is started here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passerelle_sandbox import loopback

if TYPE_CHECKING:
    from pathlib import Path

    from passerelle_sandbox.control_plane.build import Programs
    from passerelle_sandbox.control_plane.pki import Pair

SERVICES = "10.96.0.0/24"
FIRST_SERVICE = "10.96.0.1"
"""The address that the service `kubernetes` gets; no packet ever goes there, but the certificate names it."""
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata   # who did what to which object; never a body, since Secrets go through here
"""


@dataclass(frozen=True)
class Ports:
    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int


@dataclass(frozen=True)
class Keys:
    """All keys and certificates of a control plane."""

    authority: Path
    etcd_authority: Path
    etcd: Pair
    etcd_client: Pair
    apiserver: Pair
    controller_manager: Pair
    controller_manager_client: Pair
    admin: Pair
    tokens: tuple[Path, Path]


def etcd(programs: Programs, directory: Path, ports: Ports, keys: Keys) -> list[str]:
    """One member. Its writes aren't flushed to the disk: a sandbox that loses power is made anew."""
    peer = f"https://{loopback.ADDRESS}:{ports.etcd_peer}"
    client = f"https://{loopback.ADDRESS}:{ports.etcd}"
    return [
        str(programs.etcd),
        "--name=sandbox",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sandbox={peer}",
        "--client-cert-auth=true",
        f"--trusted-ca-file={keys.etcd_authority}",
        f"--cert-file={keys.etcd.certificate}",
        f"--key-file={keys.etcd.key}",
        "--peer-client-cert-auth=true",
        f"--peer-trusted-ca-file={keys.etcd_authority}",
        f"--peer-cert-file={keys.etcd.certificate}",
        f"--peer-key-file={keys.etcd.key}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def apiserver(programs: Programs, directory: Path, ports: Ports, keys: Keys) -> list[str]:
    """RBAC decides, every request is in the audit log, ServiceAccount tokens are signed and can be asked for."""
    private, public = keys.tokens
    return [
        str(programs.apiserver),
        f"--bind-address={loopback.ADDRESS}",
        f"--advertise-address={loopback.ADDRESS}",
        "--endpoint-reconciler-type=none",  # loopback is no address for an endpoint, and nobody in here would go there
        f"--secure-port={ports.apiserver}",
        f"--tls-cert-file={keys.apiserver.certificate}",
        f"--tls-private-key-file={keys.apiserver.key}",
        f"--client-ca-file={keys.authority}",
        f"--etcd-servers=https://{loopback.ADDRESS}:{ports.etcd}",
        f"--etcd-cafile={keys.etcd_authority}",
        f"--etcd-certfile={keys.etcd_client.certificate}",
        f"--etcd-keyfile={keys.etcd_client.key}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-signing-key-file={private}",
        f"--service-account-key-file={public}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--audit-policy-file={directory / 'audit-policy.yaml'}",
        f"--audit-log-path={directory / 'logs' / 'audit.log'}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=2",
        "--profiling=false",
    ]


def controller_manager(programs: Programs, directory: Path, ports: Ports, keys: Keys) -> list[str]:
    """Every controller, each under a ServiceAccount of its own, as in a real cluster. No leader is to be elected."""
    own = directory / "controller-manager.kubeconfig"
    return [
        str(programs.controller_manager),
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        f"--bind-address={loopback.ADDRESS}",
        f"--secure-port={ports.controller_manager}",
        f"--tls-cert-file={keys.controller_manager.certificate}",
        f"--tls-private-key-file={keys.controller_manager.key}",
        f"--root-ca-file={keys.authority}",
        f"--service-account-private-key-file={keys.tokens[0]}",
        "--use-service-account-credentials=true",
        "--controllers=*",
        "--leader-elect=false",
        "--kube-api-qps=200",  # each controller fetches a token first: at the default of 20 a second that takes 4 s
        "--kube-api-burst=400",
        "--profiling=false",
    ]
