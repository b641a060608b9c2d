"""What the operator does to the API, line by line with its reason; the chart grants this and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

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

KOPF_NEEDS = ("list", "watch")
"""For each resource that has a handler: the first listing, and what changes after it."""


def used() -> set[Right]:
    """What the operator needs: a method of Kube that nobody calls needs nothing."""
    product = [path for path in KUBE.parent.rglob("*.py") if path != KUBE]
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


def calls_of_kube() -> dict[str, str]:
    """Method of Kube -> the method of the generated client that it calls."""
    tree = ast.parse(KUBE.read_text(encoding="utf-8"))
    kube = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Kube")
    found = {}
    for method in (node for node in kube.body if isinstance(node, ast.AsyncFunctionDef)):
        for call in ast.walk(method):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                owner = ast.unparse(call.func.value)
                if owner.startswith("self._") and owner != "self._api":
                    found[method.name] = call.func.attr
    return found


def as_called(client_method: str) -> tuple[str, bool]:
    """The verb of a method of the generated client, and whether it is about status."""
    verb = client_method.partition("_")[0]
    return {"read": "get", "replace": "update"}.get(verb, verb), client_method.endswith("_status")


def _called(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    return {
        call.func.attr
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value).rpartition(".")[2] in {"kube", "_kube"}
    }
