"""The login node of a site: its layer, its configuration, what pins it."""

from __future__ import annotations

from pathlib import Path

import pytest

from passerelle_sandbox import cache
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import rootfs, ssh_server

STATUS = "Package: openssh-server\nVersion: 1:10.0p1-7\n"


def settings(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


@pytest.mark.parametrize("version, shuts_out", [((9, 2), True), ((9, 8), False), ((10, 0), False)])
def test_tests_that_fail_to_log_in_shut_nobody_out(version: tuple[int, ...], *, shuts_out: bool) -> None:
    """An sshd from before the option refuses to start with it."""
    assert ("PerSourcePenalties" not in settings(ssh_server.sshd_config(20007, version))) is shuts_out


def test_only_keys_open_it_and_only_on_loopback() -> None:
    found = settings(ssh_server.sshd_config(20007, (10, 0)))

    assert found["ListenAddress"] == "127.0.0.1:20007"
    assert found["AuthenticationMethods"] == "publickey"
    assert found["PermitRootLogin"] == "no"


def test_the_host_key_is_pinned_for_its_port(tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA root@site\n")

    assert ssh_server.known_hosts(tmp_path, 20007) == "[127.0.0.1]:20007 ssh-ed25519 AAAA\n"


def test_a_layer_belongs_to_one_root_file_system_and_is_built_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))
    root, built = tmp_path / "root", []
    (root / "var/lib/dpkg").mkdir(parents=True)
    monkeypatch.setattr(rootfs, "rootfs", lambda _: root)

    def fill(title: str, target: Path, suite: str, names: tuple[str, ...], provision: str, *, over: Path) -> None:
        built.append((suite, over))
        (target / "var/lib/dpkg").mkdir(parents=True)
        (target / "var/lib/dpkg/status").write_text(STATUS)

    monkeypatch.setattr(rootfs, "debian", fill)
    layers = set()
    for packages in ("a", "a", "b"):
        (root / "var/lib/dpkg/status").write_text(packages)
        layers.add(ssh_server.layer("sid"))

    assert len(layers) == 2
    assert built == [("sid", root)] * 2
    assert {ssh_server.version(each) for each in layers} == {(10, 0)}


def test_a_layer_without_a_server_is_named(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text("Package: openssh-server\nVersion: unknown\n")

    with pytest.raises(SandboxError, match="does not say which OpenSSH"):
        ssh_server.version(tmp_path)
