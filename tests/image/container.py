"""A container of the image, started as the chart's Pod would be: read-only, without rights, without a shell to find."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from passerelle_sandbox import operator_image, ports
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SHELLS = ("/usr/bin/dash", "/usr/bin/bash")
PATIENCE_SECONDS = 30.0
STOP_SECONDS = 20

AS_A_POD = (
    *("--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *operator_image.LIMITS,
    *(f"--volume=/dev/null:{shell}:ro" for shell in SHELLS),
)


def podman(*words: str) -> str:
    """What podman prints, both streams; it must succeed."""
    done = operator_image.podman(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Container:
    """A running operator."""

    name: str
    port: int

    def answer(self, path: str) -> tuple[int, str]:
        """Status and body of its health server; 0 while nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (URLError, OSError):
            return 0, ""

    def wait_for(self, path: str, status: int) -> str:
        """The body of the first answer with the status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.answer(path))[0] != status:
            assert time.monotonic() < deadline, f"{path} answers {found}:\n{self.logs()}"
            time.sleep(0.2)
        return found[1]

    def logs(self) -> str:
        return podman("logs", "--tail=20", self.name)

    def stop(self) -> int:
        """SIGTERM, as the kubelet sends it, and the exit code."""
        podman("stop", f"--time={STOP_SECONDS}", self.name)
        return int(podman("inspect", "--format={{.State.ExitCode}}", self.name))


@contextlib.contextmanager
def running(image: str, account: Path, *, apiserver: str) -> Iterator[Container]:
    """A container that finds its ServiceAccount where a Pod does."""
    there = urlsplit(apiserver)
    found = Container(f"passerelle-{secrets.token_hex(4)}", ports.free(1)[0])
    environment = {
        "KUBERNETES_SERVICE_HOST": there.hostname,
        "KUBERNETES_SERVICE_PORT": there.port,
        "PASSERELLE_NAMESPACE": OPERATOR_NAMESPACE,
        "PASSERELLE_HTTP_HOST": "127.0.0.1",
        "PASSERELLE_HTTP_PORT": found.port,
    }
    told = (f"--env={name}={value}" for name, value in environment.items())
    volume = f"--volume={account}:{SERVICE_ACCOUNT}:ro"
    podman("run", "--detach", f"--name={found.name}", *AS_A_POD, volume, *told, image)
    try:
        yield found
    finally:
        operator_image.podman("rm", "--force", "--time=1", found.name)


def service_account(kubeconfig: Path, place: Path) -> tuple[Path, str]:
    """The files that the kubelet would make of a ServiceAccount, and the API server's address."""
    told = json.loads(kubeconfig.read_text(encoding="utf-8"))
    cluster = told["clusters"][0]["cluster"]
    place.mkdir()
    (place / "token").write_text(told["users"][0]["user"]["token"], encoding="utf-8")
    (place / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    (place / "namespace").write_text(OPERATOR_NAMESPACE, encoding="utf-8")
    for path in (place, *place.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the container's user is another
    return place, cluster["server"]
