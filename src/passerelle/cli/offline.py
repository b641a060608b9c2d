"""Planning without a cluster: the Site is one of a file, or made from a profile, and admits whom the manifest names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from passerelle import admission, brought, profiles
from passerelle.body import body, filled
from passerelle.brought import Brought
from passerelle.cli import files, manifests
from passerelle.cli.manifests import Manifests
from passerelle.errors import Invalid
from passerelle.objects import TrainingJob
from passerelle.parcels import CARRIERS, no_way
from passerelle.plan import Plan, plan
from passerelle.preflight import Finding, preflight
from passerelle.render import NeedsFiles, packed
from passerelle.staging import entries
from passerelle.staging.entries import MOVERS
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

RUN_ROOT = "/RUN-ROOT"
"""Where a Site's runRoot would stand: a profile knows no one's directories."""

_NO_DOOR = "https://site.invalid"


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
    gateway = {"driver": "slurmrestd", "url": _NO_DOOR, "credentials": {"name": "none"}}
    return SiteSpec.model_validate({"profile": profile, "gateway": gateway, "runRoot": RUN_ROOT, "admission": [entry]})


def planned(job: TrainingJob, site: SiteSpec, documents: Manifests) -> Plan:
    """The plan of the first attempt. Raises Invalid with what to write instead. A Secret that the documents lack is
    passed over: no plan depends on what is in it.
    """
    return _planned(job, site, documents, _brought(job, documents, lenient=("Secret",)))


def carried(site: SiteSpec) -> bool:
    """Whether the Site's gateway carries files; of a Site that was made from a profile, nobody knows."""
    return site.gateway.url == _NO_DOOR or site.gateway.driver in CARRIERS


def _planned(job: TrainingJob, site: SiteSpec, documents: Manifests, along: Brought) -> Plan:
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    secrets = brought.secrets(job.spec)
    if secrets and not carried(site):
        text = no_way(secrets, job.site, site.gateway.driver)
        raise NeedsFiles(text, field=brought.field_of(job.spec, secrets[0]))
    made = plan(
        job.spec,
        site,
        profiles.load(site.profile),
        run=job.run,
        attempt=1,
        namespace=job.key.namespace,
        name=job.key.name,
        namespace_labels=documents.labels.get(job.key.namespace, {}),
        brought=along,
    )
    moves = site.gateway.url == _NO_DOOR or site.gateway.driver in MOVERS
    refusal = entries.refused(job.spec, site=job.site, driver=site.gateway.driver, moves=moves)
    if refusal is not None:
        raise refusal
    return made


def findings(job: TrainingJob, site: SiteSpec, documents: Manifests, *, known: bool) -> tuple[Finding, ...]:
    """What preflight says. `known`: the Site is a manifest's, and its admission counts. ConfigMaps and Secrets that the
    documents lack are passed over: they may be made by others, or be in the cluster.
    """
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    spec, refused, along = job.spec, None, Brought()
    try:
        along = _brought(job, documents, lenient=("ConfigMap", "Secret"))
        spec = filled(spec, body(spec, along.files))
        packed(_planned(job, site, documents, along), carried=carried(site))
    except Invalid as error:
        refused = error
    labels = documents.labels.get(job.key.namespace, {})
    entry = admission.entry(site, job.key.namespace, labels) if known else None
    return preflight(
        spec, site, profiles.load(site.profile), entry=entry, refused=refused, passed_over=along.passed_over
    )


def missing(job: TrainingJob, documents: Manifests) -> list[str]:
    """The ConfigMaps and Secrets of the spec that the documents lack, each as `ConfigMap code`."""
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    namespace = job.key.namespace
    named = {
        f"ConfigMap {name}": (namespace, name) in documents.config_maps for name in brought.config_maps(job.spec)
    } | {f"Secret {name}": (namespace, name) in documents.secrets for name in brought.secrets(job.spec)}
    return [name for name, there in named.items() if not there]


def _brought(job: TrainingJob, documents: Manifests, *, lenient: Collection[str]) -> Brought:
    """Raises Invalid."""
    assert job.spec is not None  # noqa: S101 - manifests.read refuses others
    namespace = job.key.namespace
    absent = next(
        (name for name in brought.config_maps(job.spec) if (namespace, name) not in documents.config_maps), None
    )
    try:
        return brought.bring(
            job.spec,
            namespace,
            {name: documents.config_maps.get((namespace, name)) for name in brought.config_maps(job.spec)},
            {name: documents.secrets.get((namespace, name)) for name in brought.secrets(job.spec)},
            lenient=lenient,
        )
    except Invalid as error:
        if absent is None or error.reason != "ConfigMapNotFound":
            raise
        text = f"ConfigMap {absent} in namespace {namespace} is not in the file; put its manifest beside the"
        raise Invalid(f"{text} TrainingJob's, after ---.", reason=error.reason, field=error.field) from None
