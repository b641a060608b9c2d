"""Planning without a cluster: the Site is one of a file, or made from a profile, and admits whom the manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from passerelle import admission, profiles
from passerelle.body import body, filled
from passerelle.cli import files, manifests
from passerelle.cli.manifests import Manifests
from passerelle.errors import Invalid
from passerelle.objects import TrainingJob
from passerelle.plan import Plan, plan
from passerelle.preflight import Finding, preflight
from passerelle.render import render
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import FilesFrom, TrainingJobSpec

RUN_ROOT = "/RUN-ROOT"
"""Where a Site's runRoot would stand: a profile knows no one's directories."""


def read(paths: Sequence[Path], site_file: Path | None) -> Manifests:
    """What files hold together, with the Sites of another beside them. Raises Invalid."""
    if [*paths, site_file].count(files.STANDARD) > 1:
        raise Invalid("Standard input can be read once; write - for one file alone.")
    found = Manifests()
    for each in paths:
        manifests.read(files.read(each), found)
    if site_file is not None:
        beside = manifests.read(files.read(site_file))
        if not beside.sites:
            raise Invalid(f"{site_file} holds no Site; name a file that does, or write --profile.")
        found.sites |= beside.sites
        found.labels |= beside.labels
    return found


def site_of(job: TrainingJob, documents: Manifests, profile: str | None) -> SiteSpec:
    """The Site to plan for: of a profile, else the one that the job names. Raises Invalid where there is none."""
    name = profile or (job.site if job.site not in documents.sites else None)
    if name is None:
        return documents.sites[job.site]
    if name not in profiles.names():
        known = ", ".join(profiles.names())
        raise Invalid(
            f"There is no profile {name!r}; write one of {known}."
            if profile
            else f"Site {name} is not in the file; add its manifest with --site-file, or name its machine with "
            f"--profile: {known}."
        )
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    return made(name, job.spec, job.key.namespace)


def made(profile: str, spec: TrainingJobSpec, namespace: str) -> SiteSpec:
    """A Site with this profile that admits the namespace, with the account and QoS that the job names."""
    entry = {
        "namespaces": [namespace],
        "accounts": [spec.account] if spec.account else [],
        "qos": [spec.qos] if spec.qos else [],
    }
    gateway = {"driver": "slurmrestd", "url": "https://site.invalid", "credentials": {"name": "none"}}
    return SiteSpec.model_validate({"profile": profile, "gateway": gateway, "runRoot": RUN_ROOT, "admission": [entry]})


def planned(job: TrainingJob, site: SiteSpec, documents: Manifests) -> Plan:
    """The plan of the first attempt. Raises Invalid with what to write instead."""
    return _planned(job, site, documents, _files(job, documents))


def _planned(job: TrainingJob, site: SiteSpec, documents: Manifests, brought: list[tuple[str, bytes]]) -> Plan:
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    return plan(
        job.spec,
        site,
        profiles.load(site.profile),
        run=job.run,
        attempt=1,
        namespace=job.key.namespace,
        name=job.key.name,
        namespace_labels=documents.labels.get(job.key.namespace, {}),
        files=brought,
    )


def findings(job: TrainingJob, site: SiteSpec, documents: Manifests, *, known: bool) -> tuple[Finding, ...]:
    """What preflight says. `known`: the Site is a manifest's, and its admission counts. ConfigMaps that the documents
    lack are passed over: they may be made by others, or be in the cluster.
    """
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    spec, refused = job.spec, None
    try:
        there = [entry for entry in spec.files if (job.key.namespace, entry.config_map) in documents.config_maps]
        brought = _files(job, documents, there)
        spec = filled(spec, body(spec, brought))
        render(_planned(job, site, documents, brought))
    except Invalid as error:
        refused = error
    labels = documents.labels.get(job.key.namespace, {})
    entry = admission.entry(site, job.key.namespace, labels) if known else None
    return preflight(spec, site, profiles.load(site.profile), entry=entry, refused=refused)


def missing(job: TrainingJob, documents: Manifests) -> list[str]:
    """The ConfigMaps of spec.files that the documents lack."""
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    named = dict.fromkeys(entry.config_map for entry in job.spec.files)
    return [each for each in named if (job.key.namespace, each) not in documents.config_maps]


def _files(
    job: TrainingJob, documents: Manifests, entries: Sequence[FilesFrom] | None = None
) -> list[tuple[str, bytes]]:
    """Absolute path in the container, and content, of every file of these entries of spec.files, of all where None; in
    their order, keys sorted. Raises Invalid.
    """
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    found: list[tuple[str, bytes]] = []
    for entry in job.spec.files if entries is None else entries:
        data = documents.config_maps.get((job.key.namespace, entry.config_map))
        if data is None:
            where = f"{entry.config_map} in namespace {job.key.namespace}"
            raise Invalid(
                f"ConfigMap {where} is not in the file; put its manifest beside the TrainingJob's, after ---."
            )
        found += [(f"{entry.path.rstrip('/')}/{key}", data[key]) for key in sorted(data)]
    return found
