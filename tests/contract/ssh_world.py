"""The second door of a real Slurm: its login node, with a login shell as bad as any."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import asyncssh

from contract.slurm_world import SiteWorld
from passerelle.gateways.base import Accounting, Credential, Files, Info, Signals, Transfer, Upload
from passerelle.gateways.ssh.address import address
from passerelle.gateways.ssh.credential import SshCredential, credential_from_secret
from passerelle.gateways.ssh.driver import Ssh
from passerelle_sandbox.site.serve import Site

LOGIN_SHELL = """\
case $BASH_EXECUTION_STRING in
    *sftp-server*) ;; # SFTP can't be spoken through a greeting, by nobody
    *) printf 'Welcome to the site!\\nYour quota: 1%% | 99%%\\n' ;;
esac
echo 'A maintenance is due.' >&2
export SBATCH_PARTITION=nowhere SBATCH_EXPORT=NIL SBATCH_HOLD=1 SLURM_TIME_FORMAT=relative LEAK='from the login shell'
export SQUEUE_FORMAT='%j' SQUEUE_STATES=PENDING SQUEUE_ALL=0 SACCT_FORMAT=JobID LC_ALL=C.UTF-8 TZ=Asia/Tokyo
ulimit -n 256
alias squeue=false sbatch=false
"""


class SshWorld(SiteWorld):
    """As an ordinary user."""

    driver = "ssh"
    api_version = "ssh"
    capabilities = frozenset({Accounting, Files, Info, Signals, Transfer, Upload})
    refusals = MappingProxyType({"garbage": "LoginRefused", "wrong user": "LoginRefused"})
    credential: SshCredential

    def __init__(self, name: str, release: str, site: Site) -> None:
        home = site.namespace.path(f"/home/{site.user}/.bashrc")
        home.write_text(LOGIN_SHELL, encoding="utf-8")
        super().__init__(name, release, site)

    def open(self) -> Ssh:
        return Ssh(self.site.ssh_url, lambda: self.credential, settle_seconds=5.0)

    def port(self) -> int:
        return address(self.site.ssh_url).port

    def open_at(self, port: int) -> Ssh:
        """Whose host key is pinned for that port, too."""
        pinned = self.credential.known_hosts.replace(f"]:{self.port()} ", f"]:{port} ")
        credential = dataclasses.replace(self.credential, known_hosts=pinned)
        return Ssh(self.site.ssh_url.replace(f":{self.port()}", f":{port}"), lambda: credential)

    def roundabout(self) -> Ssh:
        """Through a host on the way, which here is the login node itself."""
        return Ssh(self.site.ssh_url, lambda: self.credential, jump=self.site.ssh_url)

    def good(self) -> SshCredential:
        """With a certificate: sshd knows the key by its authority alone."""
        return self._credential("+1h")

    def expired(self) -> SshCredential:
        """One whose end our own code doesn't know of, so that sshd must find it out."""
        return dataclasses.replace(self._credential("-2h:-1h"), expires=None)

    def garbage(self) -> SshCredential:
        """The key without its certificate."""
        return dataclasses.replace(self._credential("+1h"), certificate=None)

    def of_another(self) -> SshCredential:
        return dataclasses.replace(self._credential("+1h"), user="root")

    def also_good(self) -> list[Credential]:
        """A key that the site knows by itself, and the same one closed with a passphrase."""
        bare = self._credential(None)
        closed = asyncssh.import_private_key(bare.private_key).export_private_key("openssh", "open")
        return [bare, dataclasses.replace(bare, private_key=closed.decode(), passphrase="open")]

    async def cut(self) -> bool:
        await self._run("pkill", "-KILL", "--euid", self.user, "sshd")
        return True

    async def many_files(self, count: int) -> str | None:
        return await self.make_files(count)

    def _credential(self, validity: str | None) -> SshCredential:
        secret = {key: value.encode() for key, value in self.site.ssh_secret(validity).items()}
        return credential_from_secret("ns/contract", secret)
