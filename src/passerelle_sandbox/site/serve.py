"""A running site: started in a directory, found again by that directory, asked and disturbed by the tests.

The directory holds all that the site writes and a person may want to read (log, scratch, etc), and site.json, from
which `load` makes the same Site in another process.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from passerelle_sandbox import processes, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.site import config, rootfs, ssh_server
from passerelle_sandbox.site.components import Component, components
from passerelle_sandbox.site.config import Ports, Shape
from passerelle_sandbox.site.image import trainer_image
from passerelle_sandbox.site.layout import IMAGE, RUN_ROOT, free_ports, lay_out
from passerelle_sandbox.site.namespace import Namespace, enter, refuse_without_user_namespaces

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NODE_LIMIT = GPU_LIMIT = 64
READY_TIMEOUT = 30.0
SINFO_TIMEOUT = 5.0
_UP = {"idle", "mixed", "allocated", "completing"}
_FILE = "site.json"
_JOB_IDS = range(1_000, 10_000_000)


@dataclass(frozen=True, slots=True)
class Site:
    """A site that was started; whether it still runs is what `health` says."""

    directory: Path
    release: str
    namespace: Namespace
    shape: Shape
    image: str | None
    """The trainers' SIF as jobs see it; None where the release has no Apptainer."""

    user = rootfs.USER
    cluster = config.CLUSTER
    account = config.ACCOUNT
    run_root = RUN_ROOT

    @property
    def version(self) -> str:
        """Slurm's."""
        return self.shape.slurm

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.shape.ports.slurmrestd}"

    @property
    def ssh_url(self) -> str:
        return f"ssh://127.0.0.1:{self.shape.ports.sshd}"

    @property
    def init_pid(self) -> int:
        return self.namespace.init_pid

    @property
    def apptainer(self) -> bool:
        return self.image is not None

    def health(self) -> dict[str, str]:
        """Every daemon, and the nodes as slurmctld sees them."""
        found = {name: each.health(self.namespace) for name, each in components(self.shape).items()}
        found["nodes"] = self._nodes_health() if found["slurmctld"] == "ok" else "unknown: slurmctld can't be asked"
        return found

    def token(self, lifespan: int = 3600, user: str | None = None) -> str:
        """A JSON Web Token of a user, the ordinary one where unset, valid for so many seconds; slurmctld signs it."""
        done = self.run(["scontrol", "token", f"username={user or self.user}", f"lifespan={lifespan}"])
        name, _, token = done.stdout.strip().partition("=")
        if done.returncode != 0 or name != "SLURM_JWT":
            raise SandboxError(f"scontrol gave no token: {done.stderr.strip() or done.stdout.strip()}")
        return token

    def ssh_secret(self, validity: str | None = None) -> dict[str, str]:
        """What the ordinary user comes in with over SSH, by a Secret's keys: with a certificate that is valid as
        ssh-keygen(1) says it (`+1h`), or without one.
        """
        key = self.directory / ssh_server.CLIENT / ("id" if validity is None else "certified")
        found = {
            "username": self.user,
            "ssh-privatekey": key.read_text(encoding="ascii"),
            "known_hosts": ssh_server.known_hosts(self.directory, self.shape.ports.sshd),
        }
        if validity is not None:
            found["ssh-certificate"] = ssh_server.certificate(self.namespace, validity)
        return found

    def run(self, argv: list[str], user: str | None = None, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the site, as root or as a user."""
        return self.namespace.run(argv, user, timeout)

    def manage(self, words: str) -> None:
        """Tell sacctmgr(1) one command, as the administrator."""
        _set_up(self, ["sacctmgr", "--immediate", *words.split()])

    def stop(self, component: str) -> None:
        """End a daemon; what waits for it finds nobody listening."""
        self._component(component).stop(self.namespace)

    def start_component(self, component: str) -> None:
        """Start a daemon that was stopped, and return when it serves."""
        chosen = self._component(component)
        if not self.namespace.pids(component):
            chosen.launch(self.namespace)
        chosen.wait(self.namespace)

    def pause(self, component: str) -> None:
        """Freeze a daemon: the kernel still takes its connections, nobody answers."""
        self._component(component).pause(self.namespace)

    def resume(self, component: str) -> None:
        """Let a frozen daemon go on."""
        self._component(component).resume(self.namespace)

    def end(self) -> None:
        """End the site; its directory stays."""
        self.namespace.end()

    def _component(self, name: str) -> Component:
        known = components(self.shape)
        if name not in known:
            raise SandboxError(f"A site has no {name!r}; it has {', '.join(known)}.")
        return known[name]

    def _nodes_health(self) -> str:
        """Of a twin, whose nodes nobody starts, whether slurmctld tells of them at all."""
        each = "--Node" if self.shape.nodes else "--summarize"
        try:
            done = self.run(["sinfo", "--noheader", each, "--format=%T"], timeout=SINFO_TIMEOUT)
        except SandboxError as error:
            return str(error)
        if not self.shape.nodes:
            return "ok" if done.returncode == 0 else done.stderr.strip()
        up = sum(state in _UP for state in done.stdout.split())
        return "ok" if up == len(self.shape.nodes) else f"{up} of {len(self.shape.nodes)} up"


def start(
    directory: Path,
    env: Mapping[str, str],
    *,
    release: str = "sid",
    nodes: int = 3,
    gpus: int = 4,
    min_job_age: int = 300,
    over: Sequence[Path] = (),
) -> Site:
    """Start a site afresh in a directory of its own, and return when all its nodes are up.

    Of `env` the daemons inherit the sandbox's mark, by which they are found, and nothing else of the caller's. `over`
    are directories that lie over the root file system, for a door that a test opens later.
    """
    if not (1 <= nodes <= NODE_LIMIT and 0 <= gpus <= GPU_LIMIT):
        raise SandboxError(f"A site has 1 to {NODE_LIMIT} nodes of at most {GPU_LIMIT} GPUs.")
    if rootfs.named(release).apptainer:
        refuse_without_user_namespaces()
    root = rootfs.rootfs(release)
    shape = Shape(
        slurm=rootfs.versions(root)["slurmctld"],
        ports=free_ports(nodes),
        gpus=gpus,
        first_job_id=first_job_id(),
        min_job_age=min_job_age,
    )
    title = f"Slurm {shape.slurm} ({release}) with {nodes} nodes of {gpus} GPUs"
    return start_as(title, directory, env, release, shape, config.files(shape), _accounts(), over)


def start_as(
    title: str,
    directory: Path,
    env: Mapping[str, str],
    release: str,
    shape: Shape,
    files: Mapping[str, str],
    accounts: Sequence[str],
    over: Sequence[Path] = (),
) -> Site:
    """Start a site from a configuration: `files` in /etc/slurm, and what sacctmgr(1) is told, one command each."""
    root = rootfs.rootfs(release)
    ssh = ssh_server.layer(release)
    image = trainer_image() if shape.nodes and rootfs.has_apptainer(root) else None
    directory = directory.absolute()
    marks = {processes.SANDBOX: env[processes.SANDBOX]} if processes.SANDBOX in env else {}
    with say.step(title):
        _retire(directory)
        lay_out(directory, root, shape, files, with_image=image is not None)
        sshd_config = ssh_server.sshd_config(shape.ports.sshd, ssh_server.version(ssh))
        (directory / ssh_server.FOLDER / "sshd_config").write_text(sshd_config, encoding="utf-8")
        namespace = enter((*over, ssh, root), directory, image, marks)
        site = Site(directory, release, namespace, shape, IMAGE if image else None)
        try:
            _boot(site, accounts)
        except BaseException:
            namespace.end()
            raise
        _save(site)
    return site


def first_job_id() -> int:
    """Drawn anew for every site: two of equal ids would give their jobs equal ports."""
    return secrets.choice(_JOB_IDS)


def load(directory: Path) -> Site:
    """The site that was started in a directory, running or not."""
    try:
        kept = json.loads((directory / _FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise SandboxError(f"No site was started in {directory}.") from error
    ports = kept["shape"].pop("ports")
    return Site(
        directory=directory,
        release=kept["release"],
        namespace=Namespace(**kept["namespace"]),
        shape=Shape(ports=Ports(**{**ports, "slurmd": tuple(ports["slurmd"])}), **kept["shape"]),
        image=kept["image"],
    )


def _save(site: Site) -> None:
    file = site.directory / _FILE
    file.with_suffix(".new").write_text(json.dumps(asdict(site), default=str, indent=1), encoding="utf-8")
    file.with_suffix(".new").rename(file)


def _retire(directory: Path) -> None:
    """Forget an earlier site of the directory; a living one is refused."""
    if (directory / _FILE).exists() and load(directory).namespace.alive():
        raise SandboxError(f"A site already runs in {directory}.")
    (directory / _FILE).unlink(missing_ok=True)


def _boot(site: Site, accounts: Sequence[str]) -> None:
    """Start the daemons in the order in which they need each other, side by side where they don't."""
    daemons = components(site.shape)

    def bring_up(*together: str) -> None:
        for name in together:
            daemons[name].launch(site.namespace)
        for name in together:
            daemons[name].wait(site.namespace)

    ssh_server.make_keys(site.namespace)
    bring_up("munged", "mariadbd", "sshd")
    _set_up(site, ["mariadb", f"--socket={config.DATABASE_SOCKET}", "--execute", config.database_sql()])
    bring_up("slurmdbd")
    for words in (f"add cluster {site.cluster}", *accounts):
        site.manage(words)
    bring_up(*[name for name in daemons if name in {"slurmctld", "slurmd", "slurmrestd"}])
    site.namespace.wait_until(lambda: site.health()["nodes"] == "ok", READY_TIMEOUT, "all nodes to be up")


def _accounts() -> tuple[str, ...]:
    """The user may charge one account, under two QoS; nobody else may charge anything."""
    default, qos = config.QOS[0], ",".join(config.QOS)
    user, account = rootfs.USER, config.ACCOUNT
    return (
        f"add qos {config.QOS[1]}",
        f"add account {account} cluster={config.CLUSTER} qos={qos} defaultqos={default}",
        f"add user {user} account={account} defaultaccount={account} qos={qos} defaultqos={default}",
    )


def _set_up(site: Site, argv: list[str]) -> None:
    done = site.run(argv)
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
