import base64
import json
import ssl
from pathlib import Path

import pytest

from passerelle_sandbox.control_plane import build, commands, kubeconfig, pki
from passerelle_sandbox.control_plane.commands import Keys, Ports
from passerelle_sandbox.errors import SandboxError

PROGRAMS = [build.ETCD, build.APISERVER, build.CONTROLLER_MANAGER, build.KUBECTL, build.HELM]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.name)
def test_every_program_is_pinned_and_is_a_tool_of_its_module(program: build.Program) -> None:
    go_mod = (program.source / "go.mod").read_text()

    assert program.version.startswith("v")
    assert program.package in go_mod
    assert (program.source / "go.sum").is_file()


def test_the_staging_modules_are_of_the_release_that_is_pinned() -> None:
    go_mod = (build.APISERVER.source / "go.mod").read_text()

    staged = build.APISERVER.version.replace("v1.", "v0.")
    replaced = [line.split() for line in go_mod.splitlines() if " => " in line]
    assert len(replaced) > 20
    assert {words[-1] for words in replaced} == {staged}


def test_a_module_that_is_not_required_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n\ngo 1.26.0\n\nrequire example.org/a v1.2.3\n")

    assert build.pinned(tmp_path / "go.mod", "example.org/a") == "v1.2.3"
    with pytest.raises(SandboxError, match=r"example\.org"):
        build.pinned(tmp_path / "go.mod", "example.org")


@pytest.mark.parametrize(
    "text, version",
    [("v1.36.3", (1, 36)), ("1.26", (1, 26)), ("v1.32.0-gke.1", (1, 32)), ("devel", (0, 0)), ("", (0, 0))],
)
def test_a_version_is_its_major_and_minor(text: str, version: tuple[int, int]) -> None:
    assert build.parse_version(text) == version


@pytest.mark.parametrize("minor, taken", [(34, False), (35, True), (36, True), (37, True), (38, False)])
def test_a_kubectl_on_path_is_taken_within_one_minor_version(
    minor: int, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = tmp_path / "kubectl"
    answer = json.dumps({"clientVersion": {"gitVersion": f"v1.{minor}.9"}})
    found.write_text(f"#!/bin/sh\necho '{answer}'\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv(build.ASSETS, raising=False)
    monkeypatch.setattr(build, "build", lambda program: Path("built") / program.name)

    assert build.kubectl() == (found if taken else Path("built/kubectl"))


def test_a_certificate_is_believed_by_its_own_authority_alone(tmp_path: Path) -> None:
    ours, theirs = pki.Authority.create(tmp_path, "ours"), pki.Authority.create(tmp_path, "theirs")

    pair = ours.sign("server", subject="/CN=server", usages=["serverAuth"], hosts=["IP:127.0.0.1", "DNS:localhost"])

    assert _handshake(ours.pair.certificate, pair) == "ok"
    assert _handshake(theirs.pair.certificate, pair) == "CERTIFICATE_VERIFY_FAILED"
    assert pair.key.stat().st_mode & 0o777 == 0o600
    ours.close()
    assert not ours.pair.key.exists()


def _handshake(authority: Path, server: pki.Pair) -> str:
    """A TLS handshake in memory; the client's verdict."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(server.certificate, server.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=str(authority)).wrap_bio(
        to_client, to_server, server_hostname="127.0.0.1"
    )
    answering = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error.reason)
    return "ok"


def test_a_kubeconfig_holds_all_it_needs_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    for name in ("ca.crt", "me.crt", "me.key"):
        (tmp_path / name).write_text(name)

    written = kubeconfig.write(
        tmp_path / "kubeconfig",
        server="https://127.0.0.1:6443",
        authority=tmp_path / "ca.crt",
        user="me",
        pair=pki.Pair(tmp_path / "me.crt", tmp_path / "me.key"),
        context="here",
    )

    content = json.loads(written.read_text())
    assert written.stat().st_mode & 0o777 == 0o600
    assert content["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": base64.b64encode(b"ca.crt").decode(),
    }
    assert content["current-context"] == content["contexts"][0]["name"] == "here"


def test_every_door_is_on_loopback_and_behind_tls(tmp_path: Path) -> None:
    pair = pki.Pair(tmp_path / "x.crt", tmp_path / "x.key")
    keys = Keys(tmp_path, tmp_path, pair, pair, pair, pair, pair, pair, (tmp_path, tmp_path))
    programs = build.Programs(*(tmp_path / name for name in "abcd"))
    ports = Ports(1, 2, 3, 4)

    lines = [
        argument
        for command in (commands.etcd, commands.apiserver, commands.controller_manager)
        for argument in command(programs, tmp_path, ports, keys)
    ]

    assert not [each for each in lines if "http://" in each]
    assert lines.count("--bind-address=127.0.0.1") == 2
    assert "--authorization-mode=RBAC" in lines
    assert any(each.startswith("--audit-log-path=") for each in lines)
