"""Where packages come from, and what their versions are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import mirror, rootfs
from passerelle_sandbox.site.mirror import Source
from passerelle_sandbox.site.namespace import refuse_without_user_namespaces

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://one.example/debian/
 https://two.example/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://sources.example/debian

Enabled: no
Types: deb
URIs: http://disabled.example/debian

Types: deb
URIs: http://embedded.example/debian
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822_sources_are_read() -> None:
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    assert mirror.parse_deb822(DEB822) == [
        Source("http://one.example/debian", keyring),
        Source("https://two.example/debian", keyring),
        Source("http://embedded.example/debian"),
    ]


def test_one_line_sources_are_read() -> None:
    text = """
# deb http://commented.example/debian sid main
deb-src http://sources.example/debian sid main
deb http://plain.example/debian/ sid main # with a comment
deb [arch=amd64 signed-by=/a.gpg] http://signed.example/debian sid main
"""
    assert mirror.parse_one_line(text) == [
        Source("http://plain.example/debian"),
        Source("http://signed.example/debian", Path("/a.gpg")),
    ]


def test_archives_named_debian_come_first_and_each_once() -> None:
    known = [
        Source("cdrom:[Debian]/"),
        Source("http://mirror.example/pub/ubuntu"),
        Source("http://one.example/debian-security"),
        Source("http://one.example/debian", Path("/a.gpg")),
        Source("http://bare.example"),
    ]
    assert mirror.candidates(known) == [
        Source("http://one.example/debian", Path("/a.gpg")),
        Source("http://mirror.example/pub/debian"),
    ]


def test_apt_reads_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://first.example/debian sid main\n")
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "b.sources").write_text("Types: deb\nURIs: http://third.example/debian\nSuites: sid\n")
    (folder / "a.list").write_text("deb http://second.example/debian sid main\n")
    (folder / "c.list.disabled").write_text("deb http://never.example/debian sid main\n")
    uris = [each.uri for each in mirror.sources(tmp_path)]
    assert uris == [f"http://{each}.example/debian" for each in ("first", "second", "third")]


def test_certificates_named_by_apt_are_lent_at_a_place_of_their_own() -> None:
    settings = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.pem";\n'
        'Acquire::https::mirror.example::SslCert "/etc/ssl/client.pem";\n'
    )
    inside, files = mirror.lent(settings, "/run/lent")
    assert files == {"/run/lent/0-own.pem": "/etc/ssl/own.pem", "/run/lent/1-client.pem": "/etc/ssl/client.pem"}
    assert 'Acquire::https::CaInfo "/run/lent/0-own.pem";' in inside
    assert "/etc/ssl" not in inside
    assert mirror.proxy_environment(settings) == {"http_proxy": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    "version, upstream",
    [
        ("26.05.5-1", "26.05.5"),
        ("1:11.8.9+ds-4", "11.8.9"),
        ("22.05.8-4+deb12u3", "22.05.8"),
        ("2.6.0+dfsg-7", "2.6.0"),
    ],
)
def test_the_upstream_version_is_what_a_person_calls_it(version: str, upstream: str) -> None:
    assert rootfs.upstream(version) == upstream


@pytest.mark.parametrize(
    "release, version, accepted",
    [
        ("bookworm", "22.05.8", True),
        ("bookworm", "23.02.1", False),
        ("trixie", "24.11.5", True),
        ("sid", "26.05.5", True),
        ("sid", "26.11.0", True),
        ("sid", "25.11.2", False),
    ],
)
def test_each_release_has_the_slurm_that_it_is_there_for(release: str, version: str, accepted: bool) -> None:
    assert rootfs.named(release).accepts(version) is accepted


def test_an_unknown_release_is_refused_with_those_known() -> None:
    with pytest.raises(SandboxError, match=r"'forky'.*bookworm, trixie, sid"):
        rootfs.named("forky")


def test_a_machine_that_keeps_user_namespaces_from_users_is_told_how_to_change_it(tmp_path: Path) -> None:
    refuse_without_user_namespaces(tmp_path)
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")
    with pytest.raises(SandboxError, match=r"sysctl -w kernel\.apparmor_restrict_unprivileged_userns=0"):
        refuse_without_user_namespaces(tmp_path)
