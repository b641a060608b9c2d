"""The operator's rights are what it does: read from the code, granted by the chart, and no more."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from chart.manifests import Manifest, of_kind, one, refused, render
from chart.rights import AT_HOME, EVERYWHERE, KUBE_NEEDS, Right, calls_of_kube, unread, used, watched
from passerelle.v1alpha1.site import PLURAL as SITES
from passerelle.v1alpha1.trainingjob import PLURAL as TRAININGJOBS
from passerelle_sandbox import chart
from passerelle_sandbox.deploy import OPERATOR_NAMESPACE

pytestmark = pytest.mark.chart

READ_ONLY = {"get", "list", "watch"}
RBAC = "rbac.authorization.k8s.io"
OPERATOR = {"kind": "ServiceAccount", "name": chart.SERVICE_ACCOUNT, "namespace": OPERATOR_NAMESPACE}


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


def test_every_call_of_kube_is_one_that_is_read_here() -> None:
    assert unread() == set()


@pytest.mark.parametrize("method", KUBE_NEEDS)
def test_a_row_of_the_table_is_what_its_call_needs(method: str) -> None:
    assert {KUBE_NEEDS[method]._replace(where=EVERYWHERE)} == calls_of_kube()[method]


def test_kopf_watches_both_kinds_and_nothing_else() -> None:
    assert watched() == {TRAININGJOBS, SITES}


def test_the_chart_grants_what_is_used_and_nothing_else() -> None:
    granted = expanded(roles()[""], EVERYWHERE) | expanded(one(render(), "Role"), AT_HOME)

    assert granted == used()


def test_the_roles_are_bound_to_the_operator_alone() -> None:
    manifests = render()
    for binding in (one(manifests, "ClusterRoleBinding"), one(manifests, "RoleBinding")):
        assert binding["subjects"] == [OPERATOR]
        assert binding["roleRef"]["name"] == "passerelle"


def test_a_namespace_s_secrets_are_opened_by_a_value_and_only_to_be_read_by_name() -> None:
    manifests = render('secretNamespaces=["team-a", "team-b"]')
    given = {
        role["metadata"]["namespace"]: role
        for role in of_kind(manifests, "Role")
        if role["metadata"]["name"] == "passerelle-secrets"
    }
    bindings = [each for each in of_kind(manifests, "RoleBinding") if each["metadata"]["name"] == "passerelle-secrets"]

    assert given.keys() == {"team-a", "team-b"} == {each["metadata"]["namespace"] for each in bindings}
    for namespace, role in given.items():
        assert expanded(role, namespace) == {Right("get", "secrets", "", namespace)}
    for binding in bindings:
        assert binding["roleRef"] == {"apiGroup": RBAC, "kind": "Role", "name": "passerelle-secrets"}
        assert binding["subjects"] == [OPERATOR]
    assert "passerelle-secrets" not in {each["metadata"]["name"] for each in of_kind(manifests, "ClusterRole")}


def test_all_namespaces_secrets_are_opened_by_a_star_alone() -> None:
    manifests = render('secretNamespaces=["team-a", "*"]')
    (role,) = (each for each in of_kind(manifests, "ClusterRole") if each["metadata"]["name"] == "passerelle-secrets")
    (binding,) = (
        each for each in of_kind(manifests, "ClusterRoleBinding") if each["metadata"]["name"] == "passerelle-secrets"
    )

    assert expanded(role, EVERYWHERE) == {Right("get", "secrets", "")}
    assert binding["roleRef"] == {"apiGroup": RBAC, "kind": "ClusterRole", "name": "passerelle-secrets"}
    assert binding["subjects"] == [OPERATOR]
    assert one(manifests, "Role")["metadata"]["namespace"] == OPERATOR_NAMESPACE


@pytest.mark.parametrize("value", ['["Team"]', '["a", "a"]', '"team-a"', '[""]'])
def test_what_is_no_namespace_is_refused(value: str) -> None:
    assert "secretNamespaces" in refused(f"secretNamespaces={value}")


def test_nobody_gets_a_right_to_status_or_to_write_a_site_from_the_roles_for_people() -> None:
    given = {right for name in ("-edit", "-view", "-site-view") for right in expanded(roles()[name], EVERYWHERE)}

    assert {right.resource for right in given} == {TRAININGJOBS, SITES}
    assert {right.verb for right in given if right.resource == SITES} == READ_ONLY


def test_who_may_edit_a_namespace_may_train_in_it_unless_told_otherwise() -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-edit"

    assert roles()["-edit"]["metadata"]["labels"][label] == "true"
    for role in of_kind(render('userRoles={"aggregate": false}'), "ClusterRole"):
        assert label not in role["metadata"]["labels"]
