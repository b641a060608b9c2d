"""Who submits: one user with an account, a directory and a Site for each of five identities at the same slurmctld."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.crowd import SITES, site
from bench.neighbourhood import run
from passerelle_sandbox import deploy
from passerelle_sandbox.site.serve import Site

QOS, HELD_QOS = "normal", "debug"
"""No job of the second one ever starts: a limit of its own keeps it waiting."""

TOKEN_SECONDS = 36_000


@dataclass(frozen=True, slots=True)
class Identity:
    """One user of the site, and the Site that leads there."""

    site: str
    user: str

    @property
    def account(self) -> str:
        return self.user

    @property
    def run_root(self) -> str:
        return f"/scratch/{self.user}"

    def manifest(self, place: Site, **spec: Any) -> dict[str, Any]:
        """Its Site."""
        admission = [
            {"selector": {deploy.USERS_LABEL: "true"}, "accounts": [self.account], "qos": [QOS, HELD_QOS]},
        ]
        return deploy.site_manifest(
            self.site, place, profile="sandbox-bare", runRoot=self.run_root, admission=admission, **spec
        )

    def secret(self, place: Site) -> dict[str, Any]:
        return deploy.credentials(self.site, self.user, place.token(TOKEN_SECONDS, self.user))


def identities() -> list[Identity]:
    return [Identity(site(number), f"startup{number + 1}") for number in range(SITES)]


def settle(place: Site, each: Identity) -> None:
    """Its user, its account and its directory."""
    run(place, "useradd", "--no-create-home", "--home-dir", "/tmp", each.user)  # noqa: S108 -- the site's own
    run(place, "install", "--directory", f"--owner={each.user}", f"--group={each.user}", "--mode=700", each.run_root)
    qos = f"qos={QOS},{HELD_QOS} defaultqos={QOS}"
    place.manage(f"add account {each.account} cluster={place.cluster} {qos}")
    place.manage(f"add user {each.user} account={each.account} defaultaccount={each.account} {qos}")


def hold_back(place: Site) -> None:
    """Let no job of HELD_QOS start."""
    place.manage(f"modify qos {HELD_QOS} set GrpJobs=0")
