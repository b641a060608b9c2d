"""The network: what would reach for the internet where there is none, and what would train over the wrong adapter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.confidential import hosts_only, without
from passerelle.preflight.finding import Finding, Operation, graded, warning
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
    "git": {"fetch", "pull"},
    "gcloud": {"storage"},
    "hf": {"download"},
    "huggingface-cli": {"download"},
    "mamba": {"install"},
}
"""Programs that fetch when their first word is one of these."""
_REMOTE = re.compile(r"(?:https?|ssh|git|ftp)://|[\w.-]+@[\w.-]+:")
_PUBLIC = re.compile(
    r"(?:(?:https?|ssh|git|ftp)://(?:[^/@]*@)?|[\w.-]+@)(?:[\w-]+\.)*"
    r"(?:amazonaws\.com|anaconda\.(?:com|org)|bitbucket\.org|codeberg\.org|github\.com|githubusercontent\.com|gitlab\.com"
    r"|googleapis\.com|hf\.co|huggingface\.co|kaggle\.com|nvidia\.com|pypi\.org|pythonhosted\.org|pytorch\.org"
    r"|zenodo\.org)(?:[:/]|$)"
)
"""Hosts that no site has a copy of under their name."""
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
    egress = request.profile.egress
    if egress.compute is not True:
        closed = egress.compute is False and not _names_a_proxy(request)
        verb = "can't reach" if closed else "may not reach"
        yield from _internet(request, verb, certain=closed and egress.confidence == "high" and request.words.stops)
        yield from _offline(request, verb)
        yield from _trackers(request, verb)
    yield from _adapters(request)
    if not request.is_script and not any(nested(command) for command in request.words.commands):
        yield from _rendezvous(request)
        yield from _ports(request)


def _names_a_proxy(request: Request) -> bool:
    """Whether the user knows a way out that the profile doesn't."""
    names = [each.name for each in request.job.env if each.name.lower() != "no_proxy"]
    return any("proxy" in text.lower() for text in (*names, *(word.text for word in request.words.argv)))


def _internet(request: Request, verb: str, *, certain: bool) -> Iterator[Finding]:
    """An error where a program can do nothing but fail; what a trainer does with an address, it alone knows."""
    no_index = any(each.name == "PIP_NO_INDEX" for each in request.job.env)
    fix = "Fetch it into the image or onto the site's storage beforehand, and write its path."
    for command in request.words.commands:
        if (what := _fetches(command, no_index=no_index)) is not None:
            text = f"Compute nodes {verb} the internet, which {what} needs."
            say = graded(certain=certain and _must_fetch(command))
            yield say("InternetNeeded", command[0].field, text, fix)
        for word in command:
            if any(_ADDRESS.match(value) and not _LOCAL.match(value) for value in word.values):
                text = f"Compute nodes {verb} the internet, and {_short(word.text)} lies there."
                yield warning("InternetNeeded", word.field, text, fix)
    for place, variable in enumerate(request.job.env):
        if _OBJECT_STORE.match(variable.value):
            text = f"Compute nodes {verb} the internet, and {variable.name} names {_short(variable.value)}."
            yield warning("InternetNeeded", f"spec.env[{place}]", text, fix)


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
        asked = any(not value.startswith("-") for value in rest) and not any(_LOCAL.match(value) for value in rest)
        return head if asked else None
    if head == "git" and rest[:1] == ["clone"]:
        return "git clone" if any(_REMOTE.match(value) and not _LOCAL.match(value) for value in rest) else None
    return f"{head} {rest[0]}" if rest and rest[0] in _FETCHING.get(head, ()) else None


def _must_fetch(command: Command) -> bool:
    """Whether the program asks a host that is on the internet alone, whatever lies on disk. pip and the like look there
    first, and a host that nobody knows, or an object store, may have a place at the site.
    """
    words = [word.text for word in command[1:]]
    via = any(word.startswith(("-x", "-e", "-K", "--config", "--execute")) for word in words)
    return base(command[0].text) in {"curl", "git", "wget"} and not via and any(map(_PUBLIC.match, words))


def _on_disk(words: list[str]) -> bool:
    """Whether pip installs what lies on storage, and nothing that it needs besides."""
    targets = [word for word in words if not word.startswith("-")]
    alone = "--no-deps" in words and ("--no-build-isolation" in words or all(word.endswith(".whl") for word in targets))
    return alone and bool(targets) and all(word.startswith(("/", ".")) for word in targets)


def _offline(request: Request, verb: str) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        if variable.name in _OFFLINE and variable.value.lower() in {"0", "false", "no"}:
            field = f"spec.env[{place}]"
            text = f"{variable.name}={variable.value} has libraries wait for a Hub that compute nodes {verb}."
            fix = "Leave the variable out, and put models and data on the site's storage beforehand."
            yield warning("OfflineOverridden", field, text, fix, patch=without_variable(request, field))


def _trackers(request: Request, verb: str) -> Iterator[Finding]:
    for place, variable in enumerate(request.job.env):
        field = f"spec.env[{place}]"
        if variable.name == "WANDB_MODE" and variable.value == "online":
            text = f"Compute nodes {verb} the tracker that WANDB_MODE=online sends to."
            fix = "Write offline, and synchronise from a machine that reaches it."
            patch = (Operation("replace", f"/spec/env/{place}/value", "offline"),)
            yield warning("TrackerOnline", field, text, fix, patch=patch)
        remote = re.match(r"https?://", variable.value) and not _LOCAL.match(variable.value)
        if variable.name == "MLFLOW_TRACKING_URI" and remote:
            text = f"Compute nodes {verb} the tracking server {_short(variable.value)}."
            fix = "Write a file: address on the site's storage, and copy the runs from there."
            yield warning("TrackerOnline", field, text, fix)


def _adapters(request: Request) -> Iterator[Finding]:
    profile = request.profile
    ours = profile.fabric.environment | profile.launch.environment
    for place, variable in enumerate(request.job.env):
        field, name, value = f"spec.env[{place}]", variable.name, variable.value
        fix = "Leave the variable out: the launch sets what the site's network needs."
        text = None
        if name in _ADAPTERS and variable.value_from is None and value != ours.get(name):
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
    """An address without what opens it: its login, and what is signed in its query."""
    shown = re.sub(r"(://[^\s?#]*)[?#]\S*", r"\1", hosts_only(without(text)))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
