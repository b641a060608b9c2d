"""The network: what would reach for the internet where there is none, and what would train over the wrong adapter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from passerelle.confidential import without
from passerelle.preflight.finding import Finding, Operation, error, warning
from passerelle.preflight.launching import nested
from passerelle.preflight.refusals import without_variable
from passerelle.preflight.request import Request
from passerelle.preflight.words import Command, base

_OBJECT_STORE = re.compile(r"(?:s3|gs|hf|az|abfs)://")
_ADDRESS = re.compile(r"(?:s3|gs|hf|az|abfs|https?|ftp)://")
_LOCAL = re.compile(
    r"(?:https?|ftp)://(?:[^/@]*@)?(?:\[::1\]|[^/]*\$[^/]*|[\w-]+|[\w.-]+\.(?:local|localdomain|internal)"
    r"|0\.0\.0\.0|(?:127|10)(?:\.\d+){3}|192\.168(?:\.\d+){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d+){2}"
    r"|www\.w3\.org)(?:[:/]|$)"
)
"""Addresses within the job or the site: of this host, of one without a domain, of a private network, of one that only
the job will know. XML's namespaces are names, and nobody asks there.
"""
_PYTHON = re.compile(r"python[0-9.]*")
_FETCHING = {
    "aws": {"s3"},
    "conda": {"install"},
    "git": {"clone", "fetch", "pull"},
    "gcloud": {"storage"},
    "hf": {"download"},
    "huggingface-cli": {"download"},
    "mamba": {"install"},
}
"""Programs that fetch when their first word is one of these."""
_ALWAYS_FETCHING = frozenset({"azcopy", "curl", "gsutil", "wget"})
_OFFLINE = frozenset({"HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
_RENDEZVOUS = frozenset(
    {
        "--coordinator-address",
        "--hostfile",
        "--machine-rank",
        "--main-process-ip",
        "--master-addr",
        "--node-rank",
        "--rdzv-backend",
        "--rdzv-endpoint",
        "--rdzv-id",
    }
)
_ADDRESSES = frozenset({"--dist-url", "--init-method"})
_PORTS = frozenset({"--main-process-port", "--master-port"})
_ADAPTERS = frozenset({"FI_PROVIDER", "GLOO_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_NET", "NCCL_SOCKET_IFNAME"})
_CLOUDS = re.compile(r"=?(?:eth|ens)[0-9]*(?:,|$)|efa$")
"""Adapters of the large clouds."""


def findings(request: Request) -> Iterator[Finding]:
    egress = request.profile.egress.compute
    if egress is not True:
        say = _Said(error if egress is False else warning, "can't reach" if egress is False else "may not reach")
        yield from _internet(request, say)
        yield from _offline(request, say)
        yield from _trackers(request, say)
    yield from _adapters(request)
    if not request.is_script and not any(nested(command) for command in request.words.commands):
        yield from _rendezvous(request)
        yield from _ports(request)


class _Said:
    """How bad it is, and the verb for it: as much as is known of the site's egress."""

    def __init__(self, finding: Callable[..., Finding], verb: str) -> None:
        self.finding = finding
        self.verb = verb


def _internet(request: Request, say: _Said) -> Iterator[Finding]:
    no_index = any(each.name == "PIP_NO_INDEX" for each in request.job.env)
    fix = "Fetch it into the image or onto the site's storage beforehand, and write its path."
    for command in request.words.commands:
        if (what := _fetches(command, no_index=no_index)) is not None:
            text = f"Compute nodes {say.verb} the internet, which {what} needs."
            yield say.finding("InternetNeeded", command[0].field, text, fix)
        for word in command:
            if any(_ADDRESS.match(value) and not _LOCAL.match(value) for value in word.values):
                text = f"Compute nodes {say.verb} the internet, and {_short(word.text)} lies there."
                yield say.finding("InternetNeeded", word.field, text, fix)
    for place, variable in enumerate(request.job.env):
        if _OBJECT_STORE.match(variable.value):
            text = f"Compute nodes {say.verb} the internet, and {variable.name} names {_short(variable.value)}."
            yield say.finding("InternetNeeded", f"spec.env[{place}]", text, fix)


def _fetches(command: Command, *, no_index: bool) -> str | None:
    """The program and its first word, where they fetch something."""
    words = [word.text for word in command]
    head, rest = base(words[0]), words[1:]
    if _PYTHON.fullmatch(head) and rest[:2] == ["-m", "pip"]:
        head, rest = "pip", rest[2:]
    if head == "uv" and rest[:1] == ["pip"]:
        head, rest = "pip", rest[1:]
    if head in {"pip", "pip3"}:
        asks = rest[:1] == ["install"] and not no_index and "--no-index" not in rest and not _on_disk(rest[1:])
        return "pip install" if asks else None
    if head == "uv":
        return "uv sync" if rest[:1] == ["sync"] else None
    if head in _ALWAYS_FETCHING:
        asked = any(value for value in rest) and not any(_LOCAL.match(value) for value in rest)
        return head if asked else None
    return f"{head} {rest[0]}" if rest and rest[0] in _FETCHING.get(head, ()) else None


def _on_disk(words: list[str]) -> bool:
    """Whether pip installs what lies on storage, and nothing that it needs besides."""
    targets = [word for word in words if not word.startswith("-")]
    alone = "--no-deps" in words and ("--no-build-isolation" in words or all(word.endswith(".whl") for word in targets))
    return alone and bool(targets) and all(word.startswith(("/", ".")) for word in targets)


def _offline(request: Request, say: _Said) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        if variable.name in _OFFLINE and variable.value.lower() in {"0", "false", "no"}:
            field = f"spec.env[{place}]"
            text = f"{variable.name}={variable.value} has libraries wait for a Hub that compute nodes {say.verb}."
            fix = "Leave the variable out, and put models and data on the site's storage beforehand."
            yield say.finding("OfflineOverridden", field, text, fix, patch=without_variable(request, field))


def _trackers(request: Request, say: _Said) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        field = f"spec.env[{place}]"
        if variable.name == "WANDB_MODE" and variable.value == "online":
            text = f"Compute nodes {say.verb} the tracker that WANDB_MODE=online sends to."
            fix = "Write offline, and synchronise from a machine that reaches it."
            patch = (Operation("replace", f"/spec/env/{place}/value", "offline"),)
            yield say.finding("TrackerOnline", field, text, fix, patch=patch)
        remote = re.match(r"https?://", variable.value) and not _LOCAL.match(variable.value)
        if variable.name == "MLFLOW_TRACKING_URI" and remote:
            text = f"Compute nodes {say.verb} the tracking server {_short(variable.value)}."
            fix = "Write a file: address on the site's storage, and copy the runs from there."
            yield say.finding("TrackerOnline", field, text, fix)


def _adapters(request: Request) -> Iterator[Finding]:
    profile = request.profile
    ours = profile.fabric.environment | profile.launch.environment
    for place, variable in enumerate(request.job.env):
        field, name, value = f"spec.env[{place}]", variable.name, variable.value
        fix = "Leave the variable out: the launch sets what the site's network needs."
        text = None
        if name in _ADAPTERS and value != ours.get(name):
            if name in ours:
                text = f"{name} is {ours[name]} at this site, and {value} would be used in its place."
            elif _CLOUDS.match(value):
                text = f"{name} names {value}, an adapter of a cloud that nodes here don't have."
        if name == "NCCL_IB_DISABLE" and value == "1" and (profile.fabric.name or "").startswith("InfiniBand"):
            text = "NCCL_IB_DISABLE=1 sends all traffic between nodes through TCP instead of InfiniBand."
        if text is not None:
            yield warning("NetworkOverridden", field, text, fix, patch=without_variable(request, field))


def _rendezvous(request: Request) -> Iterator[Finding]:
    for name, value, word in request.words.options():
        if name in _RENDEZVOUS or (name in _ADDRESSES and value.startswith("tcp://")):
            text = f"{word.name} names a rendezvous by hand, and another attempt runs on other nodes."
            fix = "Leave it out: MASTER_ADDR, MASTER_PORT and RANK are set for each process, as env:// reads them."
            yield warning("RendezvousOverridden", word.field, text, fix)


def _ports(request: Request) -> Iterator[Finding]:
    if request.placed is None or request.takes_whole_nodes:
        return
    for name, value, word in request.words.options():
        if name in _PORTS and value.isdigit():
            text = f"{word.name} {value} is one port for every job, and jobs share nodes here."
            yield warning("PortFixed", word.field, text, "Leave it out: MASTER_PORT is set to a port of the job's own.")


def _short(text: str, limit: int = 80) -> str:
    shown = without(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
