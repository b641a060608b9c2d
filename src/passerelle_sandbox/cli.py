"""The command line, `python -m passerelle_sandbox`: reads words, calls sandbox.py and prints; it decides nothing."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passerelle_sandbox import demo as story
from passerelle_sandbox import sandbox, say, state, supplies
from passerelle_sandbox.control_plane import build, existing
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.logs import chosen, log_files
from passerelle_sandbox.site import api_versions, rootfs
from passerelle_sandbox.twins import model as twins

if TYPE_CHECKING:
    from passerelle_sandbox.site.serve import Site


class Parts(StrEnum):
    """Which halves of a sandbox are started."""

    ALL = "all"
    CONTROL_PLANE = "control-plane"
    SITE = "site"


app = typer.Typer(
    help="A real Kubernetes control plane and a real Slurm site on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Option("--name", help="Which sandbox; several live side by side.")]


@app.command()
def up(
    name: Name = sandbox.DEFAULT_NAME,
    slurm: Annotated[
        list[str] | None, typer.Option(help=f"Whose Slurm: {', '.join(state.RELEASES)}; once for each site.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Nodes of a site.")] = 3,
    gpus: Annotated[int, typer.Option(help="Pretended GPUs of a node.")] = 4,
    parts: Annotated[
        Parts | None, typer.Option("--with", help="What to start: all, where left out; of a twin, the site.")
    ] = None,
    twin: Annotated[
        str,
        typer.Option(help=f"A site that is the scheduler of this machine, without nodes: {', '.join(twins.names())}."),
    ] = "",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use the cluster of this file's current context instead of starting one.")
    ] = None,
    trusted: Annotated[  # noqa: FBT002
        bool, typer.Option(existing.TRUST, help="Even one that isn't on this machine, or isn't verified.")
    ] = False,
) -> None:
    """Start a sandbox; the first time, everything is built."""
    parts = parts or (Parts.SITE if twin and kubeconfig is None else Parts.ALL)
    releases: Sequence[str] = [] if parts is Parts.CONTROL_PLANE else slurm or [sandbox.DEFAULT_RELEASE]
    if kubeconfig is not None and parts is not Parts.ALL:
        raise SandboxError("--kubeconfig takes the place of the control plane; leave --with out.")
    started = sandbox.up(
        name,
        releases,
        nodes,
        gpus,
        with_control_plane=parts is not Parts.SITE,
        kubeconfig=kubeconfig,
        trusted=trusted,
        twin=twin,
    )
    for line in _overview(started):
        say.line(line)
    if started.cluster is not None:
        say.line(f"\nexport KUBECONFIG={shlex.quote(str(started.kubeconfig))}")


@app.command()
def down(name: Name = sandbox.DEFAULT_NAME) -> None:
    """End a sandbox, whatever state it is in: no process, mount, namespace or file of it stays."""
    say.line(f"sandbox {name!r}: " + ("ended and removed" if sandbox.down(name) else "nothing was there"))


@app.command()
def status(name: Name = sandbox.DEFAULT_NAME) -> None:
    """Say which component is healthy, and which versions are in use; exit code 1 where one is ill."""
    there = sandbox.load(name)
    for line in _overview(there):
        say.line(line)
    ill = False
    for part, components in there.status().items():
        for component, verdict in components.items():
            ill |= verdict != "ok"
            say.line(f"  {part:<16} {component:<26} {verdict}")
    raise typer.Exit(int(ill))


@app.command()
def shell(
    name: Name = sandbox.DEFAULT_NAME,
    slurm: Annotated[str | None, typer.Option(help="Which site, where there are several.")] = None,
) -> None:
    """Enter a site as its ordinary user."""
    site = _site(sandbox.load(name), slurm)
    enter = ["nsenter", f"--target={site.init_pid}", "--mount", "--pid", "--uts", "--"]
    become = ["su", "--login", site.user]
    if not os.path.exists(f"/proc/{site.init_pid}"):  # noqa: PTH110 - no file, a process
        raise SandboxError(f"The site is down; `status --name {name}` says more.")
    sys.stdout.flush()
    os.execvp(enter[0], [*enter, *become])  # noqa: S606 - the shell takes this process's terminal


@app.command()
def logs(
    component: Annotated[
        str | None, typer.Argument(help="Whose log, `operator` or `slurmctld`; where left out, all but `audit`.")
    ] = None,
    name: Name = sandbox.DEFAULT_NAME,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines of each.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,  # noqa: FBT002
) -> None:
    """Show the end of the logs, of a half-made sandbox, too."""
    files = log_files(name)
    if not files:
        raise SandboxError(f"Sandbox {name!r} has no logs; `up --name {name}` makes it.")
    if not (shown := chosen(files, component)):
        raise SandboxError(f"There is no log of {component!r}; there are: {', '.join(sorted(files))}.")
    sys.stdout.flush()
    tail = ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), "--", *map(str, shown.values())]
    os.execvp(tail[0], tail)  # noqa: S606 - an interruption ends tail, and with it the command


@app.command("build")
def build_supplies(
    supply: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(supplies.EVERY)}; all of them where left out.")
    ] = None,
) -> None:
    """Build, or find built, what sandboxes are made of."""
    supplies.prepare(supply or supplies.EVERY)


@app.command()
def demo(
    name: Name = story.NAME,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up at the end.")] = False,  # noqa: FBT002
) -> None:
    """Run a real distributed training through the operator, and tell the story."""
    story.run(name, keep=keep)


@app.command()
def env(name: Name = sandbox.DEFAULT_NAME) -> None:
    """Print what a shell needs: eval "$(python -m passerelle_sandbox env)"."""
    there = sandbox.load(name)
    for key, value in variables(there).items():
        print(f"export {key}={value}")


def variables(there: sandbox.Sandbox) -> dict[str, str]:
    """Shell words that point a shell at a sandbox."""
    found: dict[str, str] = {}
    if there.cluster is not None:
        found["KUBECONFIG"] = shlex.quote(str(there.kubeconfig))
        found["PATH"] = f'{shlex.quote(str(there.kubectl.parent))}:"$PATH"'
    for site in list(there.sites.values())[:1]:
        found["SLURMRESTD"] = shlex.quote(site.url)
    return found


def _overview(there: sandbox.Sandbox) -> list[str]:
    lines = [f"sandbox {there.name!r} in {there.directory}"]
    if there.control_plane is not None:
        etcd = build.ETCD.version
        lines.append(f"  Kubernetes {there.control_plane.version()} (etcd {etcd}) at {there.control_plane.url}")
    if there.existing is not None:
        lines.append(f"  Kubernetes {there.existing.version()}, not this sandbox's own, at {there.existing.url}")
    for release, site in there.sites.items():
        lines.append(f"  Slurm {site.version} ({release}), cluster {site.cluster}, user {site.user}, at {site.url}")
        root = rootfs.rootfs(release)
        packages = rootfs.versions(root)
        told = "packages: " + ", ".join(f"{package} {version}" for package, version in packages.items())
        lines += textwrap.wrap(
            told, width=100, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False
        )
        lines.append("    " + api_versions.spoken(site.version, api_versions.served(root)))
    if there.twin:
        twin = twins.load(there.twin)
        lines.append(f"    twin of {twin.description}; accounts: {', '.join(each.name for each in twin.accounts)}")
        lines += [f"    unknown: {each}" for each in twin.unknown]
    if there.operator is not None:
        lines.append(f"  Passerelle of this checkout, metrics at {there.operator.metrics_url}")
    return lines


def _site(there: sandbox.Sandbox, release: str | None) -> Site:
    if not there.sites:
        raise SandboxError(f"Sandbox {there.name!r} has no site.")
    if release is None:
        return next(iter(there.sites.values()))
    if release not in there.sites:
        raise SandboxError(f"Sandbox {there.name!r} has no site {release!r}; it has {', '.join(there.sites)}.")
    return there.sites[release]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a SandboxError becomes one line on standard error and exit code 1."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="python -m passerelle_sandbox")
    except SandboxError as error:
        say.warn(f"passerelle-sandbox: {error}")
        raise SystemExit(1) from None
