"""Root file systems: a Debian release with its own Slurm, built once and never written to again.

Debian's sid moves under one's feet. So the cache keeps, for each release, one directory whose only entry is named after
the packages in it, `rootfs/sid/slurm26.05.5-apptainer1.4.5`: what is there is used without asking the network, and
removing it is the only way to get a newer one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from passerelle_sandbox import cache, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import api_versions, mirror
from passerelle_sandbox.site.apt_says import refused_packages
from passerelle_sandbox.site.config import numbers

USER = "startup"
REST_USER = "restd"
DATABASE = "var/lib/passerelle-database"
"""Where a rootfs keeps the database that every site starts with, relative to it."""

_COMMON = (
    *(
        "slurmctld",
        "slurmd",
        "slurmrestd",
        "slurmdbd",
        "slurm-client",
        "slurm-wlm-jwt-plugin",
        "slurm-wlm-mysql-plugin",
    ),
    *("munge", "mariadb-server", "libpmi2-0", "python3", "iproute2", "procps"),
)
_APPTAINER = ("apptainer", "squashfs-tools", "squashfuse", "fuse3", "uidmap")
_VERSIONS = "versions.json"
_NAMES = ("/etc/resolv.conf", "/etc/hosts")

_PROVISION = f"""
useradd --create-home --shell /bin/bash {USER}
useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {REST_USER}
rm -rf /var/lib/mysql
mariadb-install-db --user=mysql --datadir=/{DATABASE} --auth-root-authentication-method=socket --skip-test-db \
    --innodb-log-file-size=16M > /dev/null
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release, what Slurm it must have, and whether it has Apptainer."""

    name: str
    slurm: str
    apptainer: bool = False
    exact: bool = True

    @property
    def packages(self) -> tuple[str, ...]:
        return _COMMON + (_APPTAINER if self.apptainer else ())

    def accepts(self, version: str) -> bool:
        found, wanted = numbers(version), numbers(self.slurm)
        return found[: len(wanted)] == wanted if self.exact else found >= wanted


class PackagesRefused(SandboxError):
    """A release doesn't have some packages, or can't install them today; both happen in sid."""

    def __init__(self, suite: str, packages: list[str], log: Path) -> None:
        super().__init__(
            f"Debian {suite} doesn't have {', '.join(packages)} now, or can't install it: apt's words are in {log}."
        )
        self.packages = set(packages)


RELEASES = {
    each.name: each
    for each in (
        Release("bookworm", "22.05"),
        Release("trixie", "24.11"),
        Release("sid", "26.05", apptainer=True, exact=False),
    )
}


def rootfs(release: str) -> Path:
    """The root file system of a Debian release, built where it is missing."""
    wanted = named(release)
    kept = cache.build_once(f"rootfs/{release}", lambda place: _build(wanted, place))
    found = [each for each in kept.iterdir() if (each / _VERSIONS).is_file()]
    if len(found) != 1:
        raise SandboxError(f"{kept} holds {len(found)} root file systems where one is used; remove what is too much.")
    return found[0]


def named(release: str) -> Release:
    """The release of a name, or one sentence."""
    if release not in RELEASES:
        raise SandboxError(f"There is no site of a release {release!r}; choose one of {', '.join(RELEASES)}.")
    return RELEASES[release]


def versions(root: Path) -> dict[str, str]:
    """The upstream versions of the packages that a root file system was built for."""
    found: dict[str, str] = json.loads((root / _VERSIONS).read_text(encoding="utf-8"))
    return found


def debian(
    title: str, target: Path, suite: str, packages: tuple[str, ...], provision: str, *, over: Path | None = None
) -> None:
    """Fill a directory with a Debian release, some packages and what a script makes of them.

    With `over`, a root file system of that release, with only what must be laid over it to have these, too.
    """
    with say.step(f"Debian {suite}: asking for a mirror"):
        source = mirror.find(suite)
    settings, files = mirror.lent(mirror.settings(), "/run/lent")
    binds = [*((each, each) for each in _NAMES), *((here, there) for there, here in files.items())]
    with tempfile.TemporaryDirectory() as build:
        (Path(build) / "apt.conf").write_text(settings, encoding="utf-8")
        (Path(build) / "binds").write_text("".join(f"{here} {there}\n" for here, there in binds), encoding="utf-8")
        script = str(Path(__file__).with_name("layer.sh" if over else "debian.sh"))
        log = cache.logs() / f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}.log"
        begin = log.stat().st_size if log.exists() else 0
        try:
            say.run_step(
                title,
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", script),
                    *(str(target), suite, source.uri, str(over or source.keyring), build, *packages),
                ],
                log=log,
                env=mirror.proxy_environment(settings),
                stdin=provision,
            )
        except SandboxError as error:
            if refused := refused_packages(log.read_bytes()[begin:].decode(errors="replace")):
                raise PackagesRefused(suite, refused, log) from error
            raise


def has_apptainer(root: Path) -> bool:
    """Whether a root file system was built with Apptainer."""
    return "apptainer" in versions(root)


def package_versions(root: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The upstream part of the versions of installed packages, read from dpkg's own record."""
    record = (root / "var/lib/dpkg/status").read_text(encoding="utf-8")
    stanzas = (dict(re.findall(r"^(Package|Version): (.*)$", each, re.MULTILINE)) for each in record.split("\n\n"))
    return {each["Package"]: upstream(each["Version"]) for each in stanzas if each.get("Package") in packages}


def upstream(version: str) -> str:
    """`1:11.8.9+ds-4` is 11.8.9: without the epoch, Debian's revision and what follows a plus or a tilde."""
    return re.sub(r"^\d+:|-[^-]*$|[+~].*$", "", version)


def _build(release: Release, place: Path) -> None:
    root = place / "building"
    try:
        found = _fill(release, root)
        if not release.accepts(found["slurmctld"]):
            bound = release.slurm if release.exact else f"{release.slurm} or newer"
            raise SandboxError(f"Debian {release.name} now has Slurm {found['slurmctld']}, where {bound} is known.")
        say.line(api_versions.spoken(found["slurmctld"], api_versions.served(root)))
    except SandboxError as error:
        raise SandboxError(f"{error} {_way_round(release)}") from error
    (root / _VERSIONS).write_text(json.dumps(found, indent=1), encoding="utf-8")
    root.chmod(0o755)
    apptainer = found.get("apptainer")
    name = f"slurm{found['slurmctld']}" + (f"-apptainer{apptainer}" if apptainer else "")
    root.rename(place / name)
    say.line(f"Debian {release.name} has {name}" + ("" if apptainer else "; no Apptainer: runtime none"))


def _fill(release: Release, root: Path) -> dict[str, str]:
    """Make it, and tell the versions. Where Apptainer is what has gone, a site without it is better than none.

    Not under CI: there, what isn't proven must fail.
    """
    title = f"Debian {release.name} with its Slurm"
    root.mkdir()
    packages = release.packages
    try:
        debian(title, root, release.name, packages, _PROVISION)
    except PackagesRefused as error:
        if not error.packages <= set(_APPTAINER) or os.environ.get("CI"):
            raise
        say.line(f"{error} This site will have no Apptainer: runtime none, and no demo.")
        cache.remove(root)
        root.mkdir()
        packages = _COMMON
        debian(title, root, release.name, packages, _PROVISION)
    return package_versions(root, packages)


def _way_round(release: Release) -> str:
    kept = cache.cache_root() / "rootfs" / release.name
    other = next(each for each in reversed(RELEASES) if each != release.name)
    return f"A rootfs that was kept is used as it is when it lies in {kept}; or take another release: --slurm {other}."
