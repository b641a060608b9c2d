"""The GitOps examples: kustomize builds them, and Argo CD's health check is run by a real Lua."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from chart.manifests import Manifest
from passerelle.brought import Brought
from passerelle.crd import KINDS
from passerelle.marker import Run
from passerelle.plan import plan
from passerelle.profiles import load as load_profile
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from passerelle_sandbox import host
from passerelle_sandbox.control_plane import build
from passerelle_sandbox.deploy import REPOSITORY

pytestmark = pytest.mark.chart

GITOPS = REPOSITORY / "examples" / "gitops"
QUICKSTART = REPOSITORY / "examples" / "quickstart"
LUA = {"lua5.4": "lua5.4"}
CONFIG = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text(encoding="utf-8"))["data"]
KEEP = {"kustomize.toolkit.fluxcd.io/prune": "disabled", "argocd.argoproj.io/sync-options": "Prune=false"}


@pytest.fixture(scope="module")
def built() -> dict[str, Manifest]:
    """Kind -> the one manifest of that kind that the example folder comes to."""
    said = subprocess.run(
        [str(build.kubectl()), "kustomize", str(GITOPS / "training")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(said.stdout)}


def load(name: str) -> Manifest:
    found: Manifest = yaml.safe_load((GITOPS / name).read_text(encoding="utf-8"))
    return found


def test_a_run_and_its_files_get_the_runs_name(built: dict[str, Manifest]) -> None:
    job, files = built["TrainingJob"], built["ConfigMap"]

    assert job["metadata"]["name"] == "llm-7b-s3"
    assert files["metadata"]["name"].startswith("llm-7b-s3-")
    assert [each["configMap"] for each in job["spec"]["files"]] == [files["metadata"]["name"]]


def test_what_kustomize_builds_is_what_the_models_say(built: dict[str, Manifest]) -> None:
    kind = next(kind for kind in KINDS if kind.name == "TrainingJob")

    kind.spec.model_validate(built["TrainingJob"]["spec"])


@pytest.mark.parametrize("profile", ["jupiter-booster", "meluxina-gpu", "sandbox"])
def test_the_site_of_the_examples_takes_every_training_of_theirs(built: dict[str, Manifest], profile: str) -> None:
    written = yaml.safe_load((QUICKSTART / "site.yaml").read_text(encoding="utf-8"))["spec"]
    site = SiteSpec.model_validate(written | {"profile": profile})
    first = yaml.safe_load((QUICKSTART / "trainingjob.yaml").read_text(encoding="utf-8"))

    for job in (first, built["TrainingJob"]):
        planned = plan(
            TrainingJobSpec.model_validate(job["spec"]),
            site,
            load_profile(site.profile),
            run=Run.of_uid("0a1b2c3d-0000-4000-8000-000000000001"),
            attempt=1,
            namespace=job["metadata"]["namespace"],
            name=job["metadata"]["name"],
            namespace_labels={},
            brought=Brought(),
        )
        assert planned.world_size == job["spec"]["gpus"]


def test_the_next_run_deletes_neither_the_last_one_nor_its_files(built: dict[str, Manifest]) -> None:
    for manifest in built.values():
        assert manifest["metadata"]["annotations"].items() >= KEEP.items()


def test_flux_never_replaces_a_run_and_waits_for_its_conditions() -> None:
    spec = load("flux/kustomization.yaml")["spec"]

    assert (spec["force"], spec["wait"]) == (False, True)


def test_argo_cd_never_replaces_a_run_and_leaves_a_suspended_one_suspended() -> None:
    spec = load("argocd/application.yaml")["spec"]

    assert not {"Replace=true", "Force=true"} & set(spec["syncPolicy"]["syncOptions"])
    assert spec["ignoreDifferences"][0]["jsonPointers"] == ["/spec/suspend"]


def test_argo_cd_knows_every_kind_that_has_conditions() -> None:
    assert CONFIG.keys() == {f"resource.customizations.health.passerelle.dev_{kind.name}" for kind in KINDS}


def lua(value: Any) -> str:
    """JSON as a Lua expression. A key without a value isn't there, as in Argo CD."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {lua(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(lua(each) for each in value) + "}"
    return json.dumps(value)


def health(kind: str, obj: Manifest) -> tuple[str, str]:
    """Status and message, as the shipped Lua finds them. `obj` is Argo CD's name for the object."""
    host.ensure_host_tools(LUA)
    script = CONFIG[f"resource.customizations.health.passerelle.dev_{kind}"]
    program = f"obj = {lua(obj)}\nlocal hs = (function()\n{script}\nend)()\nio.write(hs.status, '\\n', hs.message)\n"
    done = subprocess.run(["lua5.4", "-"], input=program, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 0, done.stderr
    status, _, message = done.stdout.partition("\n")
    return status, message


def seen(*conditions: str, generation: int = 2, observed: int = 2, **spec: Any) -> Manifest:
    """An object whose conditions are written as Type=Status:Reason."""
    told = []
    for condition in conditions:
        kind, _, rest = condition.partition("=")
        status, _, reason = rest.partition(":")
        told.append({"type": kind, "status": status, "reason": reason, "message": f'"{kind}" says so.\nTwice.'})
    return {
        "metadata": {"generation": generation},
        "spec": spec,
        "status": {"observedGeneration": observed, "conditions": told},
    }


@pytest.mark.parametrize(
    "obj, expected",
    [
        pytest.param({"metadata": {"generation": 1}, "spec": {}}, "Progressing", id="nothing has been said yet"),
        pytest.param({"metadata": {"generation": 1}, "spec": {}, "status": {}}, "Progressing", id="an empty status"),
        pytest.param(seen("Ready=True:Submitted", observed=1), "Progressing", id="what was said is of an older spec"),
        pytest.param(
            seen("Accepted=True:Planned", "Ready=False:Unreachable", "Reconciling=True:Unreachable"),
            "Progressing",
            id="the site can't be asked now",
        ),
        pytest.param(
            seen("Accepted=False:AccountNotAllowed", "Ready=False:AccountNotAllowed", "Stalled=True:AccountNotAllowed"),
            "Degraded",
            id="a person must act",
        ),
        pytest.param(
            seen("Running=False:Priority", "Ready=True:Submitted", "Succeeded=Unknown:Active"),
            "Healthy",
            id="it waits in the site's queue",
        ),
        pytest.param(
            seen("Running=True:Running", "Ready=True:Submitted", "Succeeded=Unknown:Active"), "Healthy", id="it runs"
        ),
        pytest.param(
            seen("Running=False:Ended", "Ready=True:Submitted", "Succeeded=True:Completed"),
            "Healthy",
            id="it has succeeded",
        ),
        pytest.param(
            seen("Succeeded=False:TimeLimit", "Ready=False:TimeLimit", "Stalled=True:TimeLimit"),
            "Degraded",
            id="it has failed",
        ),
        pytest.param(
            seen("Succeeded=Unknown:OutcomeLost", "Ready=False:OutcomeLost", "Stalled=True:OutcomeLost"),
            "Degraded",
            id="its outcome is lost",
        ),
        pytest.param(
            seen("Submitted=False:Suspended", "Ready=False:Suspended", suspend=True),
            "Suspended",
            id="it is suspended before its first attempt",
        ),
        pytest.param(
            seen("Running=False:Ended", "Ready=True:Submitted", suspend=True),
            "Suspended",
            id="it was suspended while it ran",
        ),
        pytest.param(
            seen("Running=False:Ended", "Ready=True:Submitted", "Succeeded=True:Completed", suspend=True),
            "Healthy",
            id="it was suspended after it had succeeded",
        ),
    ],
)
def test_a_trainingjob_is(obj: Manifest, expected: str) -> None:
    assert health("TrainingJob", obj)[0] == expected


@pytest.mark.parametrize(
    "obj, expected",
    [
        pytest.param({"metadata": {"generation": 1}, "spec": {}}, "Progressing", id="new"),
        pytest.param(seen("Ready=True:Answering"), "Healthy", id="answering"),
        pytest.param(seen("Ready=False:Unreachable"), "Progressing", id="away for a while"),
        pytest.param(
            seen("Ready=False:Unauthorized", "Stalled=True:Unauthorized"), "Degraded", id="without a valid credential"
        ),
    ],
)
def test_a_site_is(obj: Manifest, expected: str) -> None:
    assert health("Site", obj)[0] == expected


def test_the_health_message_is_the_conditions_reason_and_message() -> None:
    assert health("TrainingJob", seen("Ready=False:TimeLimit", "Stalled=True:TimeLimit"))[1] == (
        'TimeLimit: "Stalled" says so.\nTwice.'
    )
