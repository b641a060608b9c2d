"""What the image's build is lent, and whose kubeconfig the operator gets; no container and no cluster."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from passerelle_sandbox import host, operator_image
from passerelle_sandbox.control_plane import kubeconfig


def test_the_build_finds_packages_where_this_hosts_pip_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:it's@packages.example/simple")

    found = configparser.RawConfigParser()
    found.read_string(operator_image.pip_settings())

    assert found["global"]["index-url"] == "https://user:it's@packages.example/simple"
    assert found["global"]["cert"] == operator_image.AUTHORITIES


def test_an_option_that_names_a_place_of_this_host_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere/here")

    assert "somewhere" not in operator_image.pip_settings()


def test_a_test_may_need_more_of_the_host_than_a_sandbox() -> None:
    assert "their-package" in host.missing_packages({"no-such-command-anywhere": "their-package"})
    assert "their-package" not in host.missing_packages()


def test_a_service_accounts_kubeconfig_has_its_token_and_no_key_of_the_administrator(tmp_path: Path) -> None:
    admin = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "Y2E="}}],
        "users": [{"name": "admin", "user": {"client-key-data": "a-key"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "admin"}}],
    }
    like = tmp_path / "admin"
    like.write_text(json.dumps(admin), encoding="utf-8")

    path = kubeconfig.write_for_token(tmp_path / "it", like=like, user="operator", token="a-token")

    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["clusters"] == admin["clusters"]
    assert told["users"] == [{"name": "operator", "user": {"token": "a-token"}}]
    assert told["contexts"][0]["context"]["user"] == "operator"
    assert path.stat().st_mode & 0o777 == 0o600
