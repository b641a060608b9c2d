"""Starts a twin: a site like the sandbox's others, of the newest Slurm, whose nodes nobody ever sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from passerelle_sandbox.site import rootfs, serve
from passerelle_sandbox.site.config import Shape
from passerelle_sandbox.site.layout import free_ports
from passerelle_sandbox.site.serve import Site
from passerelle_sandbox.state import TWINS_RELEASE
from passerelle_sandbox.twins import config
from passerelle_sandbox.twins.model import Twin, load

_MIN_JOB_AGE = 60


def start(directory: Path, env: Mapping[str, str], name: str) -> Site:
    """Start the twin of a name in a directory, and return when it answers and keeps to its limits."""
    twin = load(name)
    version = rootfs.versions(rootfs.rootfs(TWINS_RELEASE))["slurmctld"]
    shape = Shape(
        slurm=version,
        ports=free_ports(nodes=0),
        gpus=0,
        first_job_id=serve.first_job_id(),
        min_job_age=_MIN_JOB_AGE,
    )
    accounts = tuple(config.accounts(twin, rootfs.USER))
    title = f"the twin of {name} (Slurm {version})"
    site = serve.start_as(title, directory, env, TWINS_RELEASE, shape, config.files(twin, shape), accounts)
    try:
        _limit(site, twin)
    except BaseException:
        site.end()
        raise
    return site


def _limit(site: Site, twin: Twin) -> None:
    """Set the limits: slurmdbd passes one on to the slurmctld that has registered with it, and to no other."""
    site.namespace.wait_until(lambda: _registered(site), serve.READY_TIMEOUT, "slurmctld to register with slurmdbd")
    for words in config.limits(twin):
        site.manage(words)


def _registered(site: Site) -> bool:
    asked = site.run(["sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=controlport,tres"])
    port, _, tres = asked.stdout.strip().partition("|")
    return port not in {"", "0"} and "gres/gpu" in tres
