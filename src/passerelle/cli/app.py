"""The root: mounts the commands, and turns errors into exit codes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated

import typer

from passerelle.cli import sites
from passerelle.cli.check import check
from passerelle.cli.importing import import_
from passerelle.cli.init import init
from passerelle.cli.logs import logs
from passerelle.cli.render import render
from passerelle.confidential import hosts_only
from passerelle.errors import Invalid, PasserelleError

BAD_INPUT = 2
"""What typer itself answers to unknown options: a person must write something else."""

NO_ANSWER = 3
"""The cluster or the site can't be asked, or refuses: the same command may pass later."""

INTERRUPTED = 130
"""What a shell says of a command that Ctrl-C ended: the way to end a log that is followed."""

app = typer.Typer(
    name="passerelle",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 errors found, 2 bad input, 3 no answer. Only logs and sites doctor ask a cluster.",
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callbacks are called so
    if asked:
        typer.echo(f"passerelle {importlib.metadata.version('passerelle')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Train on European supercomputers with kubectl: manifests before anything runs, logs while it does."""


# In the order in which a newcomer needs them. A command is mounted here and nowhere else.
app.command()(init)
app.command("import")(import_)
app.command()(check)
app.command()(render)
app.command()(logs)
app.add_typer(sites.app, name="sites")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; what the user must change becomes one sentence on standard error and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="passerelle")
    except Invalid as error:
        typer.echo(f"passerelle: {hosts_only(str(error))}", err=True)
        raise SystemExit(BAD_INPUT) from None
    except PasserelleError as error:
        typer.echo(f"passerelle: {hosts_only(str(error))}", err=True)
        raise SystemExit(NO_ANSWER) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
