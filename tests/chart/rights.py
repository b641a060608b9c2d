"""What the operator does to the API, line by line with its reason; the chart grants this and nothing else."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kubernetes.aio import client

from passerelle import kube
from passerelle.v1alpha1 import GROUP
from passerelle.v1alpha1.site import PLURAL as SITES
from passerelle.v1alpha1.trainingjob import PLURAL as TRAININGJOBS
from passerelle_sandbox.deploy import REPOSITORY

KUBE = REPOSITORY / "src" / "passerelle" / "kube.py"
ROOT = REPOSITORY / "operator" / "main.py"

LEASES = "coordination.k8s.io"
EVERYWHERE = "everywhere"
AT_HOME = "in the operator's namespace"


class Right(NamedTuple):
    """One verb on one resource."""

    verb: str
    resource: str
    group: str = GROUP
    where: str = EVERYWHERE


KUBE_NEEDS = {
    "trainingjob": Right("get", TRAININGJOBS),  # after a conflict: read and decide again
    "patch_trainingjob": Right("patch", TRAININGJOBS),  # the finalizer, before the first intent and at the end
    "patch_trainingjob_status": Right("patch", f"{TRAININGJOBS}/status"),  # the intent, and all that is reported
    "delete_trainingjob": Right("delete", TRAININGJOBS),  # ttlSecondsAfterFinished
    "trainingjobs": Right("list", TRAININGJOBS),  # at start, before the first one is worked on
    "any_trainingjob": Right("list", TRAININGJOBS),  # health: does kube-apiserver answer?
    "sites": Right("list", SITES),  # at start, before the first TrainingJob is judged
    "site": Right("get", SITES),  # after a conflict
    "patch_site_status": Right("patch", f"{SITES}/status"),  # whether it answers, as whom, until when
    "secret": Right("get", "secrets", "", AT_HOME),  # the Sites' credentials and authorities; and by secretNamespaces
    "config_map": Right("get", "configmaps", ""),  # spec.files, envFrom and valueFrom
    "namespace_labels": Right("get", "namespaces", ""),  # a Site's admission by selector
    "lease": Right("get", "leases", LEASES, AT_HOME),  # who acts, of several operators
    "create_lease": Right("create", "leases", LEASES, AT_HOME),
    "replace_lease": Right("update", "leases", LEASES, AT_HOME),
    "event": Right("create", "events", ""),  # in the TrainingJob's namespace
}
"""Method of Kube -> what its one call needs."""

CONNECTION = {"self._api", "self._custom", "self._core"}
"""How Kube names what carries its calls."""

VERBS = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}
"""Method of HTTP, and whether its path names one object -> verb."""

KOPF_NEEDS = ("list", "watch")
"""For each resource that has a handler: the first listing, and what changes after it."""


def used() -> set[Right]:
    """What the operator needs: a method of Kube that nobody calls needs nothing. A command line has people's rights."""
    product = [path for path in KUBE.parent.rglob("*.py") if path != KUBE and path.parent != KUBE.parent / "cli"]
    called = {call for path in [*product, ROOT] for call in _called(path)}
    needed = {right for method, right in KUBE_NEEDS.items() if method in called}
    return needed | {Right(verb, resource) for resource in watched() for verb in KOPF_NEEDS}


def watched() -> set[str]:
    """The resources that have a handler in the composition root."""
    names = {"SITES": SITES, "TRAININGJOBS": TRAININGJOBS}
    return {
        names[call.args[-1].id]
        for call in ast.walk(ast.parse(ROOT.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "kopf.on.event"
        and isinstance(call.args[-1], ast.Name)
    }


def calls_of_kube() -> dict[str, set[Right]]:
    """Method of Kube -> what its calls need, said as if all were needed everywhere; one without calls is left out."""
    found = {method.name: set(_needs(method)) for method in _methods()}
    return {method: needs for method, needs in found.items() if needs}


def unread() -> set[str]:
    """The methods of Kube in which the connection is named, and not in a call that was read here."""
    return {
        method.name
        for method in _methods()
        if sum(ast.unparse(node) in CONNECTION for node in ast.walk(method)) != len(list(_needs(method)))
    }


def _methods() -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those of Kube, but for the ones that make, use and close the connection for all others."""
    tree = ast.parse(KUBE.read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Kube")
    methods = [node for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [method for method in methods if method.name not in ("__init__", "close", "_core")]


def _needs(method: ast.AST) -> Iterator[Right]:
    for call in (node for node in ast.walk(method) if isinstance(node, ast.Call)):
        owner, _, name = ast.unparse(call.func).rpartition(".")
        if owner == "self._custom":
            yield _of_the_client(name, call)
        elif (owner, name) == ("self", "_core"):
            yield _of_the_core_api(call)


def _of_the_client(method: str, call: ast.Call) -> Right:
    """The client's methods are named after verbs, and take the group, the version, perhaps a namespace, the plural."""
    names = inspect.signature(getattr(client.CustomObjectsApi, method)).parameters
    told = dict(zip([*names][1:], itertools.chain.from_iterable(_said(each) for each in call.args), strict=False))
    (plural,) = (told[name] for name in ("plural", "resource_plural") if name in told)
    verb = method.partition("_")[0]
    status = "/status" if method.endswith("_status") else ""
    return Right("update" if verb == "replace" else verb, f"{plural}{status}", told["group"])


def _of_the_core_api(call: ast.Call) -> Right:
    """As kube-apiserver reads a verb and a resource off a method and a path."""
    (method,), (path,) = _said(call.args[0]), _said(call.args[1])
    named = {each.arg: _said(each.value)[0] for each in call.keywords if each.arg is not None}
    places = [named.get(part[1:-1], part) if part.startswith("{") else part for part in path.split("/")[1:]]
    if places[0] == "namespaces" and len(places) > 2:
        places = places[2:]
    resource, status = places[0], "".join(f"/{each}" for each in places[2:])
    return Right(VERBS[method, len(places) > 1], f"{resource}{status}", "")


def _said(argument: ast.expr) -> tuple[str, ...]:
    """What an argument says: a text that stands there or under a name of the module; else its own words."""
    text = ast.unparse(argument)
    if isinstance(argument, ast.Starred):
        return tuple(vars(kube)[ast.unparse(argument.value)])
    return (str(argument.value) if isinstance(argument, ast.Constant) else vars(kube).get(text, text),)


def _called(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    return {
        call.func.attr
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value).rpartition(".")[2] in {"kube", "_kube"}
    }
