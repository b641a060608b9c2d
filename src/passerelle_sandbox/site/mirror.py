"""Where Debian's packages come from: apt's own configuration of this machine, and nothing else.

Both of apt's formats are read as sources.list(5) describes them. Whether a place serves a release is asked through
apt's own downloader, so that its proxies, certificates and passwords hold here, too. A machine that isn't Debian may
name no Debian archive: then the mirrors that it names are asked whether they carry one beside their own (most do), and
`PASSERELLE_DEBIAN_MIRROR` ends the search.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

OVERRIDE = "PASSERELLE_DEBIAN_MIRROR"
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_HELPER = Path("/usr/lib/apt/apt-helper")
PROBE_TIMEOUT = 60.0

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+\S+")
_SETTINGS = re.compile(r"Acquire::(?:https?|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date)\b")
_FILE_SETTING = re.compile(r'^(?P<name>Acquire::https\S*::(?:CaInfo|SslCert|SslKey|IssuerCert)) "(?P<path>/[^"]+)";$')
_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, slots=True)
class Source:
    """One archive that apt knows: its URI, and the keyring file it must be signed by, where one is named."""

    uri: str
    signed_by: Path | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive, and the keyring that proves it."""

    uri: str
    keyring: Path


def find(suite: str) -> Mirror:
    """The first archive of apt's configuration that serves a Debian suite."""
    if chosen := os.environ.get(OVERRIDE):
        return Mirror(chosen.rstrip("/"), _keyring(None))
    asked = []
    for candidate in candidates(sources()):
        if serves(candidate.uri, suite):
            return Mirror(candidate.uri, _keyring(candidate.signed_by))
        asked.append(candidate.uri)
    tried = f" (asked: {', '.join(asked)})" if asked else ""
    raise SandboxError(
        f"No mirror in apt's configuration of this machine serves Debian {suite}{tried}; name one in {OVERRIDE}, "
        f"or add a Debian archive to /etc/apt/sources.list.d."
    )


def sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every binary archive of apt's configuration, in apt's order: sources.list, then its folder by name."""
    found: list[Source] = []
    if (first := apt / "sources.list").is_file():
        found += parse_one_line(first.read_text(encoding="utf-8"))
    folder = apt / "sources.list.d"
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix == ".list":
            found += parse_one_line(file.read_text(encoding="utf-8"))
        elif file.suffix == ".sources":
            found += parse_deb822(file.read_text(encoding="utf-8"))
    return found


def parse_one_line(text: str) -> list[Source]:
    """The archives of a one-line-style file: `deb [signed-by=/a.gpg] http://host/debian sid main`."""
    found = []
    for line in text.splitlines():
        if entry := _ONE_LINE.match(line.split("#", 1)[0].strip()):
            options = dict(each.split("=", 1) for each in (entry["options"] or "").split() if "=" in each)
            found.append(Source(entry["uri"].rstrip("/"), _path(options.get("signed-by", ""))))
    return found


def parse_deb822(text: str) -> list[Source]:
    """The archives of a deb822-style file; disabled stanzas and those of sources alone count for nothing."""
    found: list[Source] = []
    for fields in _stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        found += [Source(uri.rstrip("/"), _path(fields.get("signed-by", ""))) for uri in fields.get("uris", "").split()]
    return found


def candidates(known: list[Source]) -> list[Source]:
    """What may serve Debian: archives named so first, then a Debian archive beside those that are named otherwise."""
    usable = [each for each in known if each.uri.partition(":")[0] in {"http", "https", "file"}]
    named = [each for each in usable if each.uri.endswith("/debian")]
    beside = [
        Source(f"{each.uri.rpartition('/')[0]}/debian") for each in usable if re.match(r"\w+://[^/]*/.", each.uri)
    ]
    found: dict[str, Source] = {}
    for each in named + beside:
        found.setdefault(each.uri, each)
    return list(found.values())


def serves(uri: str, suite: str) -> bool:
    """Ask, as apt would."""
    with tempfile.TemporaryDirectory() as place:
        argv = [str(APT_HELPER), "download-file", f"{uri}/dists/{suite}/InRelease", f"{place}/InRelease"]
        try:
            return subprocess.run(argv, capture_output=True, check=False, timeout=PROBE_TIMEOUT).returncode == 0
        except OSError as error:
            raise SandboxError("This machine has no apt: the site's packages are fetched by its settings.") from error
        except subprocess.TimeoutExpired:
            return False


def settings() -> str:
    """How apt reaches its archives (proxies, certificates, retries), in apt.conf(5)'s format."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True, timeout=30).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if _SETTINGS.match(line) and not line.endswith(' "";'))


def lent(apt_settings: str, place: str) -> tuple[str, dict[str, str]]:
    """The same settings with every file that they name at `place`, and which file of this machine stands there.

    A fresh root file system has no certificate authorities; it gets this machine's.
    """
    lines: list[str] = []
    files: dict[str, str] = {}
    if "::CaInfo " not in apt_settings and Path(_CA_BUNDLE).is_file():
        apt_settings += f'Acquire::https::CaInfo "{_CA_BUNDLE}";\n'
    for line in apt_settings.splitlines():
        if found := _FILE_SETTING.match(line):
            inside = f"{place}/{len(files)}-{Path(found['path']).name}"
            files[inside] = found["path"]
            lines.append(f'{found["name"]} "{inside}";\n')
        else:
            lines.append(f"{line}\n")
    return "".join(lines), files


def proxy_environment(apt_settings: str) -> dict[str, str]:
    """The same proxies for debootstrap, which fetches with wget."""
    found = {}
    for scheme in ("http", "https"):
        if value := re.search(rf'^Acquire::{scheme}::Proxy "([^"]+)";$', apt_settings, re.MULTILINE):
            found[f"{scheme}_proxy"] = "" if value[1] == "DIRECT" else value[1]
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Field names in lower case, values with their continuation lines."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for block in re.split(r"\n\s*\n", uncommented):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        yield fields


def _path(signed_by: str) -> Path | None:
    """The first keyring file; a fingerprint or an embedded key is none."""
    first = re.split(r"[\s,]+", signed_by.strip(), maxsplit=1)[0]
    return Path(first) if first.startswith("/") else None


def _keyring(signed_by: Path | None) -> Path:
    """A keyring that gpgv can read (no armoured one)."""
    for keyring in (signed_by, DEBIAN_KEYRING):
        if keyring is not None and keyring.suffix == ".gpg" and keyring.is_file():
            return keyring
    raise SandboxError(f"{DEBIAN_KEYRING} is missing: apt install debian-archive-keyring.")
