"""The dashboard and the alerts come where those that read them look for them."""

from __future__ import annotations

import json

import pytest
import yaml

from chart.manifests import one, render
from passerelle_sandbox import chart

pytestmark = pytest.mark.chart

FILES = chart.CHART / "files"


def test_the_dashboard_comes_as_a_config_map_that_grafanas_sidecar_finds() -> None:
    found = one(render('dashboard={"enabled": true}'), "ConfigMap")

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["passerelle.json"]) == json.loads(
        (FILES / "dashboard.json").read_text(encoding="utf-8")
    )


def test_the_alerts_come_as_a_rule_whose_texts_prometheus_fills_in() -> None:
    found = one(render('prometheusRule={"enabled": true}'), "PrometheusRule")

    alerts = yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))
    assert found["spec"]["groups"] == [{"name": "passerelle", "rules": alerts}]
