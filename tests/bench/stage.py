"""The whole of it on its stage: a sandbox, a full site, the yardsticks, the operator's trial, and the figures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from bench import neighbourhood, yardsticks
from bench.apiserver import ApiServer
from bench.bare import bodies
from bench.diary import percentile
from bench.figures import Figures
from bench.readings import GATEWAY, WRITES, Between
from bench.trial import Trial
from bench.workload import SITE, trainingjob
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from passerelle_sandbox import deploy, sandbox, say
from passerelle_sandbox.errors import SandboxError
from passerelle_sandbox.sandbox import Sandbox

NODES, GPUS = 7, 16
"""112 jobs of one GPU run at once."""

NEIGHBOURS_JOBS = 2_000
PERIOD, PROGRESS_PERIOD = 5.0, 30.0
"""Seconds. The second is the shortest that a real site should be asked for; the first is short, so that lag is seen."""

QUIET_SECONDS = 40.0
ACCEPT_PATIENCE, RUN_PATIENCE = 900.0, 3600.0
NAMESPACE, CEILING = "bench", "bench-ceiling"


class Stage:
    """A sandbox with everything but the operator. `jobs` is how many TrainingJobs come at once."""

    def __init__(self, there: Sandbox, jobs: int) -> None:
        self.sandbox = there
        self.site = there.sites[sandbox.DEFAULT_RELEASE]
        self.jobs = jobs
        self.manifest = deploy.site_manifest(
            SITE,
            self.site,
            profile="sandbox-bare",
            pollingPeriod=f"{PERIOD:.0f}s",
            progressPeriod=f"{PROGRESS_PERIOD:.0f}s",
        )

    def set(self) -> None:
        """The cluster as a platform engineer leaves it, and a site that others use, too."""
        with say.step("CRDs, a Site and its credentials, a neighbour with another account"):
            deploy.install_crds(self.sandbox)
            deploy.declare_site(self.sandbox, self.site, name=SITE)
            deploy.apply(self.sandbox, self.manifest, deploy.namespace(NAMESPACE), deploy.namespace(CEILING))
            neighbourhood.settle_neighbour(self.site)

    async def play(self) -> Figures | None:
        """All of it; None where a job did not live as it should."""
        with say.step(f"{NEIGHBOURS_JOBS} jobs of the neighbour in the queue, and one on all nodes: the site is full"):
            await neighbourhood.fill_queue(self.site, NEIGHBOURS_JOBS)
            blocking = neighbourhood.fill_nodes(self.site)
        own = bodies(
            [TrainingJobSpec.model_validate(trainingjob(NAMESPACE, number)["spec"]) for number in range(2 * self.jobs)],
            SiteSpec.model_validate(self.manifest["spec"]),
            NAMESPACE,
            {deploy.USERS_LABEL: "true"},
        )
        bare = await yardsticks.bare(self.site, own[: self.jobs])
        say.line(f"  {bare:.1f} a second")
        ceiling = await yardsticks.ceiling(self.sandbox, self.site, own[self.jobs :], CEILING)
        say.line(f"  {ceiling:.1f} a second")
        async with self.trial() as trial:
            return await self.measure(trial, blocking, bare, ceiling)

    @contextlib.asynccontextmanager
    async def trial(self) -> AsyncIterator[Trial]:
        """An operator that looks at the site, and a diary that is kept."""
        with say.step("the operator"):
            operator = deploy.start_operator(self.sandbox)
            await asyncio.to_thread(operator.wait_until_ready)
            words = ("wait", "hpcsites", SITE, "--for=condition=Ready", "--timeout=50s")
            done = await asyncio.to_thread(self.sandbox.kubectl_run, *words)
            if done.returncode != 0:
                raise SandboxError(f"{done.stderr}\n{operator.tail()}")
        api = ApiServer(self.sandbox.kubeconfig, NAMESPACE)
        trial = Trial(api, operator, [trainingjob(NAMESPACE, number) for number in range(self.jobs)], PERIOD)
        follower = trial.follower = asyncio.create_task(trial.follow())
        try:
            yield trial
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
            await api.close()

    async def measure(self, trial: Trial, blocking: str, bare: float, ceiling: float) -> Figures | None:
        """The life of all TrainingJobs: accepted, waiting, run, ended."""
        begin = await trial.reading()
        accepted = await trial.accept(ACCEPT_PATIENCE)
        say.line(f"  {accepted:.1f} a second have their Slurm job id")
        await trial.pause()
        waiting = await trial.quiet(QUIET_SECONDS, "all wait in Slurm's queue")
        await asyncio.to_thread(neighbourhood.cancel, self.site, blocking)
        say.line("the neighbour's job has ended: the nodes are ours")
        free = await trial.reading()
        await trial.until(lambda: trial.diary.finished == self.jobs, "all to finish", RUN_PATIENCE)
        running = Between(free, await trial.reading())
        await trial.pause()
        resting = await trial.quiet(QUIET_SECONDS, "all have ended")
        whole = Between(begin, resting.last)

        lives = await asyncio.to_thread(neighbourhood.lives, self.site)
        if complaints := trial.complaints(lives):
            for complaint in complaints[:20]:
                say.line(f"not as it must be: {complaint}")
            return None
        lags = trial.lags(lives)
        for change, seconds in lags.items():
            middle, most = percentile(seconds, 0.5), percentile(seconds, 0.95)
            say.line(
                f"  lag of a job's {change}: median {middle:.1f} s, p95 {most:.1f} s, the longest {max(seconds):.1f} s"
            )
        for name, between in (("waiting", waiting), ("running", running), ("resting", resting), ("in all", whole)):
            for line in between.table(name):
                say.line(f"  {line}")
        return Figures(
            jobs=self.jobs,
            accepted_per_second=accepted,
            bare_client_per_second=bare,
            ceiling_per_second=ceiling,
            ratio=accepted / bare,
            listing_calls_per_poll=waiting.count(f"{GATEWAY}_responses_total", operation="states") / waiting.polls,
            bytes_per_live_job_per_poll=waiting.count(f"{GATEWAY}_response_bytes_total") / waiting.polls / self.jobs,
            progress_bytes_per_job_minute=running.count(f"{GATEWAY}_response_bytes_total", operation="get")
            / trial.minutes(lives),
            kubernetes_writes_per_job=(
                whole.count(WRITES, kind="trainingjob_status") + whole.count(WRITES, kind="trainingjob_metadata")
            )
            / self.jobs,
            progress_writes=int(whole.count(WRITES, kind="trainingjob_progress")),
            events=int(whole.count(WRITES, kind="event")),
            lag_p95_seconds=percentile([*lags["start"], *lags["end"]], 0.95),
            period_seconds=PERIOD,
            peak_memory_mib=whole.last.peak_mib,
            rest_cpu_percent=resting.cpu_percent,
        )
