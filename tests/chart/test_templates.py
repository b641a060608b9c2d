"""What the chart renders: one sentence a law, not the whole text."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.manifests import of_kind, one, refused, render
from passerelle.settings import Settings
from passerelle_sandbox import chart
from passerelle_sandbox.deploy import REPOSITORY

pytestmark = pytest.mark.chart

CRDS = sorted((REPOSITORY / "crds").glob("*.yaml"))
EVERYTHING = tuple(f'{name}={{"enabled": true}}' for name in ("serviceMonitor", "prometheusRule", "dashboard"))


def pod(*values: str) -> Any:
    return one(render(*values), "Deployment")["spec"]["template"]["spec"]


def container(*values: str) -> Any:
    (found,) = pod(*values)["containers"]
    return found


def environment(*values: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container(*values)["env"]}


def test_helm_finds_nothing_to_complain_of() -> None:
    done = chart.helm("lint", "--strict", str(chart.CHART))

    assert done.returncode == 0, done.stdout


def test_the_chart_has_the_version_of_the_operator() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    told = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert told["version"] == told["appVersion"] == version
    assert container()["image"].endswith(f":{version}")


def test_a_rendered_crd_is_the_crd_that_stays_when_the_release_goes() -> None:
    wanted = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CRDS]
    for definition in wanted:
        definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}

    rendered = of_kind(render(), "CustomResourceDefinition")

    assert sorted(rendered, key=str) == sorted(wanted, key=str)


def test_crds_can_be_left_out() -> None:
    assert of_kind(render('crds={"enabled": false}'), "CustomResourceDefinition") == []


def test_nothing_but_the_crds_and_what_needs_others_crds_can_be_left_out() -> None:
    kinds = {manifest["kind"] for manifest in render('crds={"enabled": false}')}

    assert kinds == {
        *("Deployment", "Service", "ServiceAccount"),
        *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    }


@pytest.mark.parametrize(
    "values, said",
    [
        pytest.param("sites=[]", "sites", id="Sites lie in Git, not in values"),
        pytest.param("replicas=0", "replicas", id="nobody would act"),
        pytest.param('image={"name": "x"}', "name", id="an unknown key below a known one"),
        pytest.param("logFormat=loud", "logFormat", id="a word that means nothing"),
        pytest.param('objectStoreHosts=["https://lumidata.eu"]', "objectStoreHosts", id="a host is no url"),
        pytest.param('env=[{"name": "PASSERELLE_OBJECT_STORE_HOSTS", "value": "x"}]', "env", id="what a value says"),
        pytest.param('image={"digest": "latest"}', "digest", id="a digest that is none"),
        pytest.param('env=[{"name": "PASSERELLE_NAMESPACE", "value": "x"}]', "env", id="what the chart itself sets"),
        pytest.param('nodeSelector={"gpu": true}', "nodeSelector", id="a label that is no string"),
    ],
)
def test_an_unknown_value_is_refused_by_name(values: str, said: str) -> None:
    name, _, value = values.partition("=")
    try:
        json.loads(value)
    except ValueError:
        value = json.dumps(value)

    assert said in refused(f"{name}={value}")


def test_every_value_of_the_chart_is_in_its_schema() -> None:
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert values.keys() == schema["properties"].keys() - {"global"}
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in schema["properties"][name]:
            assert value.keys() == schema["properties"][name]["properties"].keys()


def test_the_pod_is_restricted() -> None:
    assert pod()["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in pod()


def test_one_operator_more_stands_by_on_another_node_and_comes_before_the_old_one_goes() -> None:
    spec = one(render(), "Deployment")["spec"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    (term,) = pod()["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"] == spec["selector"]


def test_health_is_asked_where_the_operator_answers() -> None:
    found = container()

    assert found["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert found["ports"] == [{"name": "http", "containerPort": int(environment()["PASSERELLE_HTTP_PORT"]["value"])}]


def test_the_environment_is_one_that_the_operator_reads() -> None:
    told = {name: entry.get("value", "a-namespace") for name, entry in environment().items()}

    assert Settings.read(told) == Settings(namespace="a-namespace", http_port=8080, log_format="json")
    assert environment()["PASSERELLE_NAMESPACE"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_the_operator_is_told_which_namespaces_secrets_trainings_may_name() -> None:
    def listed(*values: str) -> tuple[str, ...]:
        told = environment(*values)["PASSERELLE_SECRET_NAMESPACES"]["value"]
        return Settings.read({"PASSERELLE_SECRET_NAMESPACES": told}).secret_namespaces

    assert listed() == ()
    assert listed('secretNamespaces=["team-a", "team-b"]') == ("team-a", "team-b")
    assert listed('secretNamespaces=["*"]') == ("*",)


def test_the_object_stores_are_told_to_the_operator() -> None:
    told = environment('objectStoreHosts=["lumidata.eu", "*.amazonaws.com"]')["PASSERELLE_OBJECT_STORE_HOSTS"]["value"]

    hosts = Settings.read({"PASSERELLE_OBJECT_STORE_HOSTS": told}).object_store_hosts
    assert hosts == ("lumidata.eu", "*.amazonaws.com")


def test_a_site_behind_a_proxy_can_be_reached() -> None:
    assert environment('env=[{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]')["HTTPS_PROXY"]["value"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"

    assert container(f'image={{"tag": "9", "digest": "{digest}"}}')["image"].endswith(f"@{digest}")


def test_the_service_and_the_monitor_find_the_pod() -> None:
    manifests = render(*EVERYTHING)
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    service, monitor = one(manifests, "Service"), one(manifests, "ServiceMonitor")

    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert one(manifests, "Deployment")["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_monitor_keeps_the_trainingjobs_own_namespace() -> None:
    (endpoint,) = one(render(*EVERYTHING), "ServiceMonitor")["spec"]["endpoints"]

    assert endpoint["honorLabels"] is True


def test_a_monitor_gets_the_labels_that_prometheus_selects_by() -> None:
    manifests = render('serviceMonitor={"enabled": true, "labels": {"release": "prometheus"}}')

    assert one(manifests, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"


def test_names_tell_the_chart_whatever_the_release_is_called() -> None:
    done = chart.helm("template", "hpc", str(chart.CHART), "--show-only=templates/deployment.yaml")

    assert yaml.safe_load(done.stdout)["metadata"]["name"] == "hpc-passerelle"


def test_no_manifest_holds_a_secret() -> None:
    assert of_kind(render(*EVERYTHING), "Secret") == []


def test_the_values_of_the_installation_guide_are_values(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        values = tmp_path / "values.yaml"
        values.write_text(block, encoding="utf-8")

        done = chart.helm("template", chart.RELEASE, str(chart.CHART), "--values", str(values))

        assert done.returncode == 0, done.stderr
