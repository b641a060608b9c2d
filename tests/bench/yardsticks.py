"""What the operator is held against: a client that only submits, and one that also writes one status a job.

Both post the operator's own bodies to the same slurmrestd, minutes before it, over as many connections as its gateway
has, and both cancel what they posted. No operator could be faster than the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench import neighbourhood
from bench.apiserver import CONNECTIONS, ApiServer
from bench.bare import BareClient, Body, per_second
from bench.identities import Identity
from bench.workload import trainingjob
from passerelle_sandbox import say
from passerelle_sandbox.sandbox import Sandbox
from passerelle_sandbox.site.serve import Site


async def bare(site: Site, who: Identity, bodies: Sequence[Body]) -> float:
    """Submits a second."""
    client = BareClient(site.url, who.user, site.token(user=who.user))
    try:
        with say.step(f"a bare client posts {len(bodies)} of the same bodies"):
            return await per_second([partial(client.submit, body.content) for body in bodies])
    finally:
        await client.close()
        neighbourhood.cancel(site, f"--user={who.user}")


async def ceiling(there: Sandbox, site: Site, who: Identity, bodies: Sequence[Body], namespace: str) -> float:
    """Submits a second, each with one status patch that tells the job's id. No operator may run."""
    client = BareClient(site.url, who.user, site.token(user=who.user))
    api = ApiServer(there.kubeconfig, namespace)

    async def both(number: int, body: Body) -> None:
        job_id = await client.submit(body.content)
        attempt = {
            "number": 1,
            "marker": body.marker,
            "cluster": site.cluster,
            "user": who.user,
            "runDirectory": who.run_root,
            "scriptDigest": "0" * 64,
            "jobId": job_id,
        }
        await api.patch_status(name(number), {"attempts": [attempt], "attemptsTotal": 1})

    def name(number: int) -> str:
        return f"job-{number:05}"

    try:
        with say.step(f"{len(bodies)} TrainingJobs that nobody works on"):
            manifests = [trainingjob(namespace, name(each), site=who.site, lasts=60) for each in range(len(bodies))]
            await per_second([partial(api.create, each) for each in manifests], CONNECTIONS)
        with say.step("a bare client posts as many bodies, and writes each one's id into a status"):
            return await per_second([partial(both, number, body) for number, body in enumerate(bodies)])
    finally:
        await client.close()
        neighbourhood.cancel(site, f"--user={who.user}")
        await api.delete_all()
        await api.close()
