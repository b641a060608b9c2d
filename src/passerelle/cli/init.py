"""`passerelle init`: asks what a TrainingJob needs, and writes one that can be planned."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from passerelle import profiles
from passerelle.cli import files, machines, manifests, offline
from passerelle.cli.written import written
from passerelle.errors import Invalid
from passerelle.imports import relative
from passerelle.imports.draft import fits_label
from passerelle.launch import LAUNCHERS
from passerelle.profiles import Profile
from passerelle.sizing import duration
from passerelle.v1alpha1 import API_VERSION

FILE = Path("trainingjob.yaml")
FOLDER = "/workspace"
SCRIPT = "train.py"
COMMAND = f"python {FOLDER}/{SCRIPT}"
"""Of a script that a ConfigMap brings; taken as it stands, the manifest names that ConfigMap."""
LAUNCHER = "srun"
_ORDER = ("site", "image", "launcher", "command", "files", "gpus", "timeLimit", "account", "qos")
_SHORT_MINUTES = 60
"""Of a first run: long enough to fail of something interesting, short enough to start soon."""


def init(  # noqa: PLR0913 -- each is a flag
    file: Annotated[Path, typer.Argument(help="Where to write it; - prints it.", metavar="FILE")] = FILE,
    *,
    name: Annotated[str | None, typer.Option(help="The TrainingJob's name.")] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Its namespace, which the Site must admit; kubectl's where left out with --yes.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="The Site that runs it: `kubectl get hpcsites`.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="The Site's machine, where its name doesn't tell: `passerelle sites list`.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="The path of a SIF file at the site.")] = None,
    command: Annotated[str | None, typer.Option(help="What each trainer process runs.")] = None,
    launcher: Annotated[str | None, typer.Option(help=f"How they start: {', '.join(LAUNCHERS)}.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs in total.", min=1)] = None,
    time_limit: Annotated[str | None, typer.Option(help="How long it may run, like 12h or 1h30m.")] = None,
    account: Annotated[str | None, typer.Option(help="The account to charge; the Site's first where left out.")] = None,
    qos: Annotated[str | None, typer.Option(help="The quality of service; the Site's first where left out.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a TrainingJob to begin with: asks, or takes flags."""
    if file != files.STANDARD and file.exists() and not force:
        raise Invalid(f"{file} is there already; name another file, or write --force.")
    ask = _Asking(quiet=yes)
    chosen_name = ask.text(name, "Name of the run", "first-run", "--name", _name)
    if namespace is not None or not yes:
        question = "Namespace, one that the Site admits"
        namespace = ask.text(
            namespace, question, manifests.NAMESPACE, "--namespace", lambda text: _name(text, "namespace")
        )
    chosen_site = ask.text(site, "Site (kubectl get hpcsites)", profile, "--site", lambda text: _name(text, "site"))
    machine = _machine(ask, chosen_site, profile)
    facts = profiles.load(machine)
    metadata = {"name": chosen_name} | ({"namespace": namespace} if namespace else {})
    spec: dict[str, Any] = {"site": chosen_site}
    tried = {"command": ["true"], "gpus": _gpus(facts), "timeLimit": _time_limit(facts)}

    def fits(**given: object) -> None:
        """Whether the machine takes it, beside what was answered before. Raises Invalid."""
        _check(_manifest(metadata, tried | spec | given), machine)

    spec["image"] = ask.text(
        image, "Image, the path of a SIF file at the site", None, "--image", lambda text: fits(image=text)
    )
    spec["launcher"] = ask.text(launcher, f"Launcher ({', '.join(LAUNCHERS)})", LAUNCHER, "--launcher", _launcher)
    words = spec["command"] = _words(
        ask.text(
            command,
            "Command of each trainer process",
            COMMAND,
            "--command",
            lambda text: fits(command=_words(text)),
        )
    )
    bare = all(each.kind == "none" for each in facts.runtimes) and spec["launcher"] != "script"
    brought = words == shlex.split(COMMAND) and not bare
    spec["files"] = [{"configMap": chosen_name, "path": FOLDER}] if brought else None
    spec["gpus"] = _whole(
        ask.text(
            str(gpus) if gpus else None,
            "GPUs in total",
            str(_gpus(facts)),
            "--gpus",
            lambda text: fits(gpus=_whole(text)),
        )
    )
    spec["timeLimit"] = ask.text(
        time_limit, "Time limit", _time_limit(facts), "--time-limit", lambda text: fits(timeLimit=text)
    )
    spec |= {"account": account, "qos": qos}
    if spec["launcher"] == LAUNCHER:
        del spec["launcher"]
    text = _manifest(metadata, spec, facts)
    _check(text, machine)
    if file == files.STANDARD:
        typer.echo(text, nl=False)
    else:
        files.write(file, text, force=force)
        typer.echo(
            f"{file} is written. See what it comes to: passerelle check {shlex.quote(str(file))} --profile {machine}",
            err=True,
        )
    if brought:
        where = f" -n {namespace}" if namespace else ""
        typer.echo(
            f"Its {SCRIPT} comes from a ConfigMap: kubectl create configmap{where} {chosen_name} --from-file={SCRIPT}",
            err=True,
        )
    elif (found := relative(words)) is not None:
        typer.echo(f"note: {found}", err=True)
    if namespace is None:
        text = "note: No namespace stands in it, so kubectl's counts; write --namespace with one that the Site admits."
        typer.echo(text, err=True)


def _manifest(metadata: dict[str, str], spec: dict[str, Any], facts: Profile | None = None) -> str:
    title = "Its spec is the record of one run: for another, take another name."
    return written(
        {
            "apiVersion": API_VERSION,
            "kind": "TrainingJob",
            "metadata": metadata,
            "spec": {key: spec[key] for key in _ORDER if spec.get(key) is not None},
        },
        title=f"A training on {facts.description}. {title}" if facts is not None else "",
    )


class _Asking:
    """A flag, else an answer, else the default; without any of them a sentence that names the flag."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def text(
        self,
        given: str | None,
        question: str,
        default: str | None,
        flag: str,
        check: Callable[[str], object] = str,
    ) -> str:
        """What `check` raises Invalid for is refused of a flag, and asked for again of a person."""
        if given is not None:
            check(given)
            return given
        while not self.quiet:
            answer: str = typer.prompt(question, default=default, err=True)
            try:
                check(answer.strip())
            except Invalid as error:
                typer.echo(str(error), err=True)
            else:
                return answer.strip()
        if default is None:
            raise Invalid(f"{flag} has no default; write it, or leave --yes out to be asked.")
        return default


def _machine(ask: _Asking, site: str, profile: str | None) -> str:
    """The profile: as given, or told by the Site's name, or asked for. Raises Invalid where there is none."""
    if profile is None:
        like = machines.like(site)
        if len(like) == 1:
            return like[0]
        choices = ", ".join(like or profiles.names())
        if ask.quiet:
            raise Invalid(
                f"The machine of Site {site} is not known by its name; write --profile with one of {choices}."
            )
        profile = ask.text(None, f"Its machine ({choices})", None, "--profile", machines.named)
    return machines.named(profile)


def _gpus(facts: Profile) -> int:
    """A whole node of the partition that is taken by default, or as many as it takes at least."""
    partition = facts.partition(facts.default_partition) or facts.partitions[0]
    return partition.gpus_per_node * (partition.min_nodes or 1)


def _time_limit(facts: Profile) -> str:
    partition = facts.partition(facts.default_partition) or facts.partitions[0]
    return duration(min(_SHORT_MINUTES, partition.max_time_minutes or _SHORT_MINUTES))


def _name(text: str, field: str = "name") -> None:
    if not fits_label(text):
        raise Invalid(
            f"{field} {text!r} is none that Kubernetes takes; write small letters, digits and dashes, at most 63, with "
            "a letter or digit at each end."
        )


def _launcher(text: str) -> None:
    if text not in LAUNCHERS:
        raise Invalid(f"There is no launcher {text!r}; write one of {', '.join(LAUNCHERS)}.")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"gpus is {text!r}; write a whole number.")
    return int(text)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        raise Invalid(f"command {command!r} has a quote that doesn't close; close it.") from None
    if not words:
        raise Invalid(f"command is empty; write what each trainer process runs, like {COMMAND}.")
    return words


def _check(text: str, machine: str) -> None:
    """Raises Invalid where the site would refuse the manifest, so that none is written that fails a check."""
    read = manifests.read(text)
    job = read.job(None)
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    for entry in job.spec.files:
        if entry.config_map is not None:
            read.config_maps[job.key.namespace, entry.config_map] = {SCRIPT: b"pass\n"}
    site = offline.site_of(job, read, machine)
    offline.planned(job, site, read)
    for each in offline.findings(job, site, read, known=False):
        if each.severity == "error":
            raise Invalid(str(each), reason=each.id)
