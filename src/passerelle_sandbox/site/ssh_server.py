"""The site's login node: an sshd of the release's own, its keys, and what a user needs to come in.

The server lies in a layer over the root file system, built once for each and never written to again, so that a root
file system that was kept needs no second making. Keys are made anew for every site, by ssh-keygen inside it, and stay
in the site's directory: the host's key, a key that is let in, an authority, and a key that its certificates are for.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from passerelle_sandbox import cache
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import rootfs

if TYPE_CHECKING:
    from passerelle_sandbox.site.namespace import Namespace

FOLDER = "ssh"
"""Of the site's directory; the site sees it as /etc/ssh."""
CLIENT = f"{FOLDER}/client"
"""Below it, for root's eyes: what the one who comes in has, and what signs."""
SFTP = "/usr/lib/openssh/sftp-server"
_HERE = "127.0.0.1"
_PACKAGES = ("openssh-server", "openssh-client")
_PENALTIES = (9, 8)
"""The first OpenSSH that shuts out an address whose logins fail; tests fail on purpose, all from one address."""

_PROVISION = f"""
usermod --password '*' {rootfs.USER}
"""
"""No password, and not locked: sshd without PAM lets no locked account in."""

_KEYS = f"""
mkdir -m 700 /etc/ssh/client
ssh-keygen -q -t ed25519 -N '' -C site -f /etc/ssh/ssh_host_ed25519_key
for each in ca id certified; do ssh-keygen -q -t ed25519 -N '' -C {rootfs.USER} -f "/etc/ssh/client/$each"; done
install -m 644 /etc/ssh/client/id.pub /etc/ssh/authorized_keys
install -m 644 /etc/ssh/client/ca.pub /etc/ssh/user_ca.pub
"""
_SIGN = """
there=$(mktemp -d)
cp /etc/ssh/client/certified.pub "$there/id.pub"
ssh-keygen -q -s /etc/ssh/client/ca -I passerelle -n "$1" -V "$2" "$there/id.pub"
cat "$there/id-cert.pub"
rm -r "$there"
"""


def layer(release: str) -> Path:
    """What sshd adds to the root file system of a release, built where it is missing. It is named after the packages
    below and what is done to them: another root file system gets another layer.
    """
    root = rootfs.rootfs(release)
    made_of = (root / "var/lib/dpkg/status").read_bytes() + " ".join(_PACKAGES).encode() + _PROVISION.encode()
    name = f"ssh-server/{release}-{hashlib.sha256(made_of).hexdigest()[:12]}"
    title = f"OpenSSH of Debian {release}"

    def fill(place: Path) -> None:
        rootfs.debian(title, place, release, _PACKAGES, _PROVISION, over=root)

    return cache.build_once(name, fill)


def sshd_config(port: int, openssh: tuple[int, ...]) -> str:
    """The server's configuration: keys and certificates alone, as login nodes have it."""
    penalties = "PerSourcePenalties no\n" if openssh >= _PENALTIES else ""
    return f"""\
ListenAddress {_HERE}:{port}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
AuthenticationMethods publickey
AuthorizedKeysFile /etc/ssh/authorized_keys
TrustedUserCAKeys /etc/ssh/user_ca.pub
PermitRootLogin no
UsePAM no
PrintMotd no
Subsystem sftp {SFTP}
{penalties}"""


def version(over: Path) -> tuple[int, ...]:
    """OpenSSH's, of a layer: 10.0p1 is (10, 0)."""
    found = re.match(r"(\d+)\.(\d+)", rootfs.package_versions(over, _PACKAGES)["openssh-server"])
    if found is None:
        raise SandboxError(f"{over} does not say which OpenSSH it has; remove it.")
    return int(found[1]), int(found[2])


def make_keys(site: Namespace) -> None:
    """Before sshd starts."""
    done = site.run(["sh", "-eu", "-c", _KEYS])
    if done.returncode != 0:
        raise SandboxError(f"ssh-keygen made no keys: {done.stderr.strip()}")


def certificate(site: Namespace, validity: str, user: str = rootfs.USER) -> str:
    """A certificate, by the site's authority, of the key that has no other way in; `validity` as ssh-keygen(1) says."""
    done = site.run(["sh", "-eu", "-c", _SIGN, "sign", user, validity])
    if done.returncode != 0:
        raise SandboxError(f"ssh-keygen signed no certificate: {done.stderr.strip()}")
    return done.stdout


def known_hosts(directory: Path, port: int) -> str:
    """The line of known_hosts that pins the site's host key."""
    kind, key, *_ = (directory / FOLDER / "ssh_host_ed25519_key.pub").read_text(encoding="ascii").split()
    return f"[{_HERE}]:{port} {kind} {key}\n"
