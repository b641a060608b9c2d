"""The whole of it on its stage: a sandbox, a full site, the yardsticks, the operator's trials, and the figures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bench import fairness, limit, neighbourhood, reporters, yardsticks
from bench.bare import Body, bodies
from bench.crowd import Crowd, Part
from bench.diary import percentile
from bench.figures import Figures
from bench.identities import Identity, hold_back, identities, settle
from bench.readings import GATEWAY, WRITES, Between
from bench.rest import rest
from bench.storm import delete, storm
from bench.trial import CANCELLED, COMPLETED, Trial, by_run, complaints, lags, trial
from bench.watched import Watched
from bench.workload import of_crowd
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec
from passerelle_sandbox import deploy, sandbox, say
from passerelle_sandbox.sandbox import Sandbox

NODES, GPUS = 7, 16
"""112 jobs of one GPU run at once."""

NEIGHBOURS_JOBS = 5_000
YARDSTICK = 1_000
"""Submits by which the bare client and the ceiling are measured, at most."""

PERIOD, PROGRESS_PERIOD = 5.0, 30.0
"""Seconds. The second is the shortest that a real site should be asked for; the first is short, so that lag is seen."""

ACCEPT_PATIENCE, RUN_PATIENCE = 1800.0, 1800.0
NAMESPACE, CEILING = "bench", "bench-ceiling"


class Stage:
    """A sandbox with everything but the operator. `jobs` is how many TrainingJobs come at once."""

    def __init__(self, there: Sandbox, jobs: int) -> None:
        self.sandbox = there
        self.place = there.sites[sandbox.DEFAULT_RELEASE]
        self.crowd = Crowd(jobs)
        self.identities = identities()
        self.watched = Watched(there)

    def set(self) -> None:
        """The cluster as a platform engineer leaves it, and a site that others use, too."""
        namespaces = (NAMESPACE, CEILING, *fairness.NAMESPACES, reporters.NAMESPACE, limit.NAMESPACE)
        with say.step(f"CRDs, {len(self.identities)} Sites with a user and an account each, a neighbour"):
            deploy.install_crds(self.sandbox)
            deploy.apply(self.sandbox, *map(deploy.namespace, (deploy.OPERATOR_NAMESPACE, *namespaces)))
            for each in self.identities:
                settle(self.place, each)
                deploy.apply(self.sandbox, each.secret(self.place), self.manifest(each))
            hold_back(self.place)
            neighbourhood.settle_neighbour(self.place)

    def manifest(self, each: Identity) -> dict[str, object]:
        return each.manifest(self.place, pollingPeriod=f"{PERIOD:.0f}s", progressPeriod=f"{PROGRESS_PERIOD:.0f}s")

    async def play(self) -> Figures | None:
        """All of it; None where a job did not live as it should."""
        with say.step(f"{NEIGHBOURS_JOBS} jobs of the neighbour in the queue, and one on all nodes: the site is full"):
            await neighbourhood.fill_queue(self.place, NEIGHBOURS_JOBS)
            blocking = neighbourhood.fill_nodes(self.place)
        count, who = min(YARDSTICK, self.crowd.jobs), self.identities[0]
        own = self._bodies(2 * count, who)
        bare = await yardsticks.bare(self.place, who, own[:count])
        say.line(f"  {bare:.1f} a second")
        ceiling = await yardsticks.ceiling(self.sandbox, self.place, who, own[count:], CEILING)
        say.line(f"  {ceiling:.1f} a second")
        with say.step("the operator"):
            await self.watched.start()
            await self.watched.until_sites_answer(each.site for each in self.identities)
        manifests = [of_crowd(NAMESPACE, self.crowd, number) for number in range(self.crowd.jobs)]
        async with trial(self.sandbox, self.watched, NAMESPACE, manifests) as crowd:
            return await self.measure(crowd, blocking, bare, ceiling)

    def _bodies(self, count: int, who: Identity) -> list[Body]:
        """What the operator would post for so many of the crowd, were they all of one Site."""
        specs = [of_crowd(NAMESPACE, self.crowd, number)["spec"] | {"site": who.site} for number in range(count)]
        parsed = [TrainingJobSpec.model_validate(each) for each in specs]
        site = SiteSpec.model_validate(self.manifest(who)["spec"])
        return bodies(parsed, site, NAMESPACE, {deploy.USERS_LABEL: "true"})

    async def measure(self, crowd: Trial, blocking: str, bare: float, ceiling: float) -> Figures | None:
        """The life of all TrainingJobs: accepted, waiting, found again, run, deleted."""
        watched, jobs = self.watched, self.crowd.jobs
        begin = await watched.reading()
        accepted, guests = await asyncio.gather(crowd.accept(ACCEPT_PATIENCE), fairness.guests(crowd, self.sandbox))
        say.line(f"  {accepted:.1f} a second have their Slurm job id; the guests waited {guests:.1f} s")
        await watched.until_still("all to be known")
        await self.pause()
        found = await rest(watched, "all wait in Slurm's queue")
        waiting = found.window
        tell("waiting", waiting)
        if found.full_listing_cpu_seconds is not None:
            say.line(f"  a full listing took {found.full_listing_cpu_seconds:.1f} s of CPU")
        before = Between(begin, await watched.reading())

        with say.step("the operator ends, and starts anew"):
            again = await watched.restart(jobs)
        writes = sum(again.last.total(WRITES, kind=f"trainingjob_{kind}") for kind in ("status", "metadata"))
        say.line(f"  synced after {again.seconds:.1f} s, {again.cpu_seconds:.1f} s of CPU, {writes:.0f} patches")
        stormy = await storm(crowd, self.names(crowd, *Part))
        fair = await fairness.beside_a_dead_site(self.sandbox, self.place, self.identities[0], watched, self.crowd)
        say.line(f"  {fair.alone:.1f} a second beside suspended ones, {fair.beside:.1f} beside those of a dead site")

        await asyncio.to_thread(neighbourhood.cancel, self.place, blocking)
        say.line("the neighbour's job has ended: the nodes are ours")
        free = await watched.reading()
        await crowd.until(lambda: crowd.diary.finished == self.crowd.lives, "those that live", RUN_PATIENCE)
        running = Between(free, await watched.until_still("their ends"))
        tell("running", running)
        lag = await self.lag(crowd)
        reported = await reporters.reporters(self.sandbox, watched, PROGRESS_PERIOD)
        at_once = await delete(crowd, self.names(crowd, Part.DELETED_AT_ONCE), RUN_PATIENCE)
        last = await delete(crowd, self.names(crowd, Part.DELETED_LAST), RUN_PATIENCE)
        await watched.until_still("the deletions")
        full = await limit.at_the_limit(self.sandbox, self.place, watched)

        if not await self.well(crowd, await self.jobs_of_runs()):
            return None
        accept_writes = _patches(before) / jobs
        life_writes = _patches(running) / self.crowd.lives
        say.line(f"  {accept_writes:.2f} patches until a job waits, {life_writes:.2f} until it has ended")
        live_per_poll = waiting.polls * jobs / len(self.identities)
        return Figures(
            jobs=jobs,
            accepted_per_second=accepted,
            bare_client_per_second=bare,
            ceiling_per_second=ceiling,
            ratio=accepted / bare,
            ceiling_share=accepted / ceiling,
            guests_accepted_seconds=guests,
            listing_calls_per_poll=waiting.count(f"{GATEWAY}_responses_total", operation="states") / waiting.polls,
            listing_bytes_per_live_job_per_poll=waiting.count(f"{GATEWAY}_response_bytes_total", operation="states")
            / live_per_poll,
            bytes_per_live_job_per_poll=waiting.count(f"{GATEWAY}_response_bytes_total") / live_per_poll,
            rest_cpu_percent=waiting.cpu_percent,
            full_listing_cpu_seconds=found.full_listing_cpu_seconds,
            rest_memory_mib=waiting.last.held_mib,
            restart_to_synced_seconds=again.seconds,
            restart_cpu_seconds=again.cpu_seconds,
            restart_writes=int(writes),
            storm_events_per_second=stormy.per_second,
            storm_behind_seconds=stormy.behind_seconds,
            storm_cpu_milliseconds_per_event=stormy.cpu_ms,
            dead_site_ratio=fair.ratio,
            kubernetes_writes_per_job=accept_writes + life_writes,
            progress_writes=int(running.count(WRITES, kind="trainingjob_progress")),
            events=int(before.count(WRITES, kind="event") + running.count(WRITES, kind="event")),
            lag_p95_seconds=lag,
            period_seconds=PERIOD,
            reporting_jobs=reporters.REPORTERS,
            progress_bytes_per_job_minute=reported.bytes_per_job_minute,
            deleted_at_once=self.crowd.at_once,
            deleted_at_once_seconds=at_once,
            deleted_last_per_second=self.crowd.last / last,
            waited_at_limit=full.waited,
            submits_at_limit=full.submits,
            peak_memory_mib=watched.peak_mib,
        )

    @property
    def users(self) -> list[str]:
        return [each.user for each in self.identities]

    def expected(self, crowd: Trial) -> dict[str, str]:
        """How the one Slurm job of each TrainingJob must have ended, by name."""
        lived = self.names(crowd, Part.LIVES)
        rest = self.names(crowd, Part.DELETED_AT_ONCE, Part.DELETED_LAST)
        return dict.fromkeys(lived, COMPLETED) | dict.fromkeys(rest, CANCELLED)

    def names(self, crowd: Trial, *parts: Part) -> list[str]:
        """Of the TrainingJobs of these parts."""
        return [
            each["metadata"]["name"] for number, each in enumerate(crowd.manifests) if self.crowd.part(number) in parts
        ]

    async def jobs_of_runs(self) -> Mapping[str, list[neighbourhood.Life]]:
        return by_run(await asyncio.to_thread(neighbourhood.lives, self.place, self.users))

    async def lag(self, crowd: Trial) -> float:
        """Of the starts and ends of those that lived, in seconds: the 95th percentile."""
        lived = [crowd.diary.entries[each] for each in self.names(crowd, Part.LIVES)]
        seconds = lags(lived, await self.jobs_of_runs())
        for change, each in seconds.items():
            middle, most = percentile(each, 0.5), percentile(each, 0.95)
            say.line(
                f"  lag of a job's {change}: median {middle:.1f} s, p95 {most:.1f} s, the longest {max(each):.1f} s"
            )
        return percentile([*seconds["start"], *seconds["end"]], 0.95)

    async def well(self, crowd: Trial, jobs_of: Mapping[str, list[neighbourhood.Life]]) -> bool:
        """Whether everything is as it must be."""
        found = complaints(crowd.diary, jobs_of, self.expected(crowd))
        found += [f"{key} had {len(lives)} Slurm jobs" for key, lives in jobs_of.items() if len(lives) > 1]
        found += [f"{name} was left at the site" for name in neighbourhood.left(self.place, self.users)]
        for complaint in found[:20]:
            say.line(f"not as it must be: {complaint}")
        return not found

    async def pause(self) -> None:
        """Let the looks that follow a change pass by."""
        with say.step("a pause of two periods"):
            await asyncio.sleep(2 * PERIOD + 1)


def tell(name: str, between: Between) -> None:
    for line in between.table(name):
        say.line(f"  {line}")


def _patches(between: Between) -> float:
    return between.count(WRITES, kind="trainingjob_status") + between.count(WRITES, kind="trainingjob_metadata")
