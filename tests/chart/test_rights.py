"""The operator's rights are what it does: read from the code, granted by the chart, and no more."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from chart.manifests import Manifest, of_kind, one, render
from chart.rights import AT_HOME, EVERYWHERE, KUBE_NEEDS, Right, as_called, calls_of_kube, used, watched
from passerelle.v1alpha1.site import PLURAL as SITES
from passerelle.v1alpha1.trainingjob import PLURAL as TRAININGJOBS
from passerelle_sandbox import chart
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE

pytestmark = pytest.mark.chart

READ_ONLY = {"get", "list", "watch"}


def expanded(role: Manifest, where: str) -> set[Right]:
    """A role's rules, one by one. A name or a URL in a rule would be lost here, so there is none."""
    for rule in role["rules"]:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
    return {
        Right(verb, resource, group, where)
        for rule in role["rules"]
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def roles() -> dict[str, Any]:
    """The ClusterRoles by the end of their names."""
    return {role["metadata"]["name"].removeprefix("passerelle"): role for role in of_kind(render(), "ClusterRole")}


def test_every_call_of_kube_stands_in_the_table() -> None:
    assert calls_of_kube().keys() == KUBE_NEEDS.keys()


@pytest.mark.parametrize("method", KUBE_NEEDS)
def test_a_row_of_the_table_has_the_verb_of_its_call(method: str) -> None:
    verb, status = as_called(calls_of_kube()[method])

    assert (KUBE_NEEDS[method].verb, KUBE_NEEDS[method].resource.endswith("/status")) == (verb, status)


def test_kopf_watches_both_kinds_and_nothing_else() -> None:
    assert watched() == {TRAININGJOBS, SITES}


def test_the_chart_grants_what_is_used_and_nothing_else() -> None:
    granted = expanded(roles()[""], EVERYWHERE) | expanded(one(render(), "Role"), AT_HOME)

    assert granted == used()


def test_the_roles_are_bound_to_the_operator_alone() -> None:
    manifests = render()
    subject = {"kind": "ServiceAccount", "name": chart.SERVICE_ACCOUNT, "namespace": OPERATOR_NAMESPACE}

    for binding in (one(manifests, "ClusterRoleBinding"), one(manifests, "RoleBinding")):
        assert binding["subjects"] == [subject]
        assert binding["roleRef"]["name"] == "passerelle"


def test_nobody_gets_a_right_to_status_or_to_write_a_site_from_the_roles_for_people() -> None:
    given = {right for name in ("-edit", "-view", "-site-view") for right in expanded(roles()[name], EVERYWHERE)}

    assert {right.resource for right in given} == {TRAININGJOBS, SITES}
    assert {right.verb for right in given if right.resource == SITES} == READ_ONLY


def test_who_may_edit_a_namespace_may_train_in_it_unless_told_otherwise() -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-edit"

    assert roles()["-edit"]["metadata"]["labels"][label] == "true"
    for role in of_kind(render('userRoles={"aggregate": false}'), "ClusterRole"):
        assert label not in role["metadata"]["labels"]
