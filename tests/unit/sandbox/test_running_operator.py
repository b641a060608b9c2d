"""The operator that was started for a sandbox belongs to its status, and is missed when it has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from passerelle_sandbox import cache, cli, ports, running_operator, state
from passerelle_sandbox.running_operator import Operator
from passerelle_sandbox.state import State, Wanted


@contextmanager
def listening(status: int, body: str) -> Iterator[int]:
    """A server on the port that answers the same to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the sandbox `unit`, which uses a cluster that is healthy."""
    monkeypatch.setenv(cache.ROOT, str(tmp_path))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho ok\n")
    kubectl.chmod(0o755)
    home = state.directory("unit")
    home.mkdir(parents=True)
    (home / "cluster.kubeconfig").write_text('{"clusters": [{"cluster": {"server": "https://127.0.0.1:6443"}}]}')
    wanted = Wanted("unit", (), nodes=3, gpus=4, control_plane=False, kubeconfig="/theirs")
    State(wanted, marker="unit-0123abcd", complete=True, kubectl=str(kubectl)).write()
    return home


def status(capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit code of the command, and what it printed."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--name", "unit"])
    return ended.value.code, capsys.readouterr().out


def test_the_last_operator_of_a_sandbox_is_remembered(tmp_path: Path) -> None:
    assert running_operator.load(tmp_path) is None
    for port in (20_001, 20_002):
        Operator(port, tmp_path / "operator.log").remember(tmp_path)

    assert running_operator.load(tmp_path) == Operator(20_002, tmp_path / "operator.log")


def test_a_healthy_operator_stands_in_the_status(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(200, "ok\n") as port:
        Operator(port, home / "operator.log").remember(home)
        code, told = status(capsys)

    assert code == 0, told
    assert f"Passerelle of this checkout, metrics at http://127.0.0.1:{port}/metrics\n" in told
    assert f"  {'operator':<16} {'passerelle':<26} ok\n" in told


def test_an_operator_that_has_ended_makes_the_sandbox_ill(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Operator(ports.free(1)[0], home / "operator.log").remember(home)

    code, told = status(capsys)

    assert code == 1
    assert f"  {'operator':<16} {'passerelle':<26} not running: nobody listens on its port\n" in told


def test_an_operator_that_is_not_ready_says_why(tmp_path: Path) -> None:
    with listening(503, "waiting for kube-apiserver\n") as port:
        assert Operator(port, tmp_path / "log").readiness() == "not ready: HTTP 503 waiting for kube-apiserver"


def test_a_sandbox_without_an_operator_misses_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = status(capsys)

    assert code == 0
    assert "operator" not in told


def test_a_proxy_of_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    with listening(200, "passerelle_info 1\n") as port:
        assert Operator(port, tmp_path / "log").metrics() == "passerelle_info 1\n"
