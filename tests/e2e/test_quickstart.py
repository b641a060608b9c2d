"""The README's files, with this site's names in them, do what the README says."""

import base64
import json
from typing import Any

import pytest
import yaml

from e2e.cluster import IMAGE, Cluster, condition
from passerelle_sandbox.deploy import REPOSITORY, OperatorProcess

pytestmark = pytest.mark.e2e

QUICKSTART = REPOSITORY / "examples" / "quickstart"


def sample(name: str) -> dict[str, Any]:
    found = yaml.safe_load((QUICKSTART / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_the_quickstart_runs_to_its_end(cluster: Cluster, operator: OperatorProcess) -> None:
    secret, site, namespace, job = map(sample, ("credentials.yaml", "site.yaml", "namespace.yaml", "trainingjob.yaml"))
    secret["stringData"] = {"username": cluster.site.user, "token": cluster.site.token(3600)}
    site["spec"]["profile"] = "sandbox"
    site["spec"]["gateway"]["url"] = cluster.site.url
    site["spec"]["runRoot"] = cluster.site.run_root
    site["spec"]["admission"][0]["accounts"] = [cluster.site.account]
    job["spec"] |= {"image": IMAGE, "gpus": 2, "workingDir": "/tmp"}  # noqa: S108 -- of the container
    del job["spec"]["data"]  # what isn't there can't be mounted, and this site has no such code
    job["spec"]["command"] = ["python3", "-c", "import os; print('rank', os.environ['RANK'], 'in', os.getcwd())"]

    for each in (secret, site, namespace, job):
        cluster.apply(each)
    where = (job["metadata"]["namespace"], job["metadata"]["name"])
    waited = cluster.sandbox.kubectl_run(
        *("wait", "-n", where[0], f"tj/{where[1]}", "--for=condition=Finished", "--timeout=50s")
    )

    assert waited.returncode == 0, waited.stderr
    done = cluster.get(*where)
    assert condition(done, "Succeeded")["status"] == "True", condition(done, "Succeeded")
    log = cluster.log(done["status"]["attempts"][0]["logPath"])
    assert "rank 0 in /tmp" in log
    assert "rank 1 in /tmp" in log


def test_no_secret_shows_anywhere(cluster: Cluster, operator: OperatorProcess) -> None:
    kept = json.loads(cluster.kubectl("-n", "passerelle-system", "get", "secret", "sandbox", "-o", "json"))
    token = base64.b64decode(kept["data"]["token"]).decode()

    shown = cluster.kubectl("get", "tj,hpcsites,events", "-A", "-o", "json")

    assert token not in shown
    assert token not in operator.log.read_text(encoding="utf-8")
    assert token not in cluster.site.run(["sh", "-c", f"cat {cluster.site.run_root}/*.log 2>/dev/null"]).stdout
