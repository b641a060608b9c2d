"""What preflight says of a job that is fine but for what a test gives."""

from __future__ import annotations

from typing import Any

from passerelle import profiles
from passerelle.preflight import Finding, preflight
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec


def at(
    profile: str,
    *,
    partition: str | None = None,
    accounts: tuple[str, ...] = (),
    qos: tuple[str, ...] = (),
    run_root: str = "/mnt/somewhere/runs",
    **spec: Any,
) -> tuple[Finding, ...]:
    """What is said of a job that is fine but for what is given."""
    facts = profiles.load(profile)
    account = facts.accounts.example or "project1"
    site = SiteSpec.model_validate(
        {
            "profile": profile,
            "partition": partition,
            "gateway": {"driver": "slurmrestd", "url": "https://site.example.eu", "credentials": {"name": "token"}},
            "runRoot": run_root,
            "admission": [{"namespaces": ["team-a"], "accounts": accounts or (account,), "qos": qos}],
        }
    )
    given = {"site": "s", "image": "/mnt/images/train.img", "command": ["python", "/t.py"], "timeLimit": "2h"}
    size = {} if spec.keys() & {"gpus", "nodes"} else {"nodes": 1}
    job = TrainingJobSpec.model_validate(given | size | spec)
    return preflight(job, site, facts, entry=site.admission[0])


def said(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    return {(each.id, each.field) for each in findings if each.severity != "info"}
