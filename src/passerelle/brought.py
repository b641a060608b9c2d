"""What a TrainingJob brings along from ConfigMaps and Secrets: files, and environment variables. Pure.

Secrets and the rest part here, and never meet again before the trainer: what comes of Secrets is in `Sealed`, which no
`repr` shows and which neither Plan nor Batch holds. The rest, and so the script, depends on no Secret at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from passerelle import registry
from passerelle.errors import Invalid
from passerelle.registry import Login
from passerelle.v1alpha1.sources import VARIABLE
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

Data = Mapping[str, Mapping[str, bytes] | None]
"""ConfigMaps or Secrets by name: their keys, or None where there is none of this name."""

VARIABLES_LIMIT = 64 * 1024
"""Bytes of all variables from Secrets together, as an environment holds them: they reach the trainers as one of
Slurm's, in base64, and the kernel takes no more than 128 KiB of one.
"""
_BETWEEN = len("=\0")

SOURCES_LIMIT = 32
"""ConfigMaps and Secrets that one job may name: each is a request to kube-apiserver, again for every plan."""

Files = tuple[tuple[str, bytes], ...]
"""Absolute path in the container, and content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What comes of Secrets: only the attempt's own trainer may know it."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None
    files: Files = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """`environment` holds no value that is written in spec. `sealed` None: the job names no Secret. `sealed_folders`
    are those of the Secrets' files. `origins`: every variable's name, and what brings it. `passed_over`: keys that
    can't be a variable's name, each with what holds it.
    """

    files: Files = ()
    environment: tuple[tuple[str, str], ...] = ()
    sealed: Sealed | None = None
    sealed_folders: tuple[str, ...] = ()
    origins: tuple[tuple[str, str], ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()


def check_sources(job: TrainingJobSpec) -> None:
    """Raises Invalid where the job names too many ConfigMaps and Secrets."""
    number = len(config_maps(job)) + len(secrets(job))
    if number > SOURCES_LIMIT:
        raise Invalid(
            f"env, envFrom, files and imagePullSecrets name {number} ConfigMaps and Secrets, and may name "
            f"{SOURCES_LIMIT}; bring several keys in one.",
            reason="TooManySources",
        )


def config_maps(job: TrainingJobSpec) -> tuple[str, ...]:
    """The ConfigMaps that the job names, each once."""
    return tuple(dict.fromkeys(each.name for each in _sources(job) if each.kind == "ConfigMap"))


def secrets(job: TrainingJobSpec) -> tuple[str, ...]:
    """The Secrets that the job names, each once."""
    return tuple(dict.fromkeys(each.name for each in _sources(job) if each.kind == "Secret"))


def field_of(job: TrainingJobSpec, secret: str) -> str | None:
    """The first field that names a Secret."""
    return next((each.field for each in _sources(job) if (each.kind, each.name) == ("Secret", secret)), None)


def bring(
    job: TrainingJobSpec, namespace: str, config_maps: Data, secrets: Data, *, lenient: Collection[str] = ()
) -> Brought:
    """Sort out what these ConfigMaps and Secrets hold for the job. Raises Invalid for what is missing, and for what
    can't be brought. Of the kinds in `lenient` a whole object may be missing, too.
    """
    check_sources(job)
    there = _There(namespace, {"ConfigMap": config_maps, "Secret": secrets}, lenient)
    plain: dict[str, str] = {}
    hidden: dict[str, str] = {}
    origins: list[tuple[str, str]] = []
    passed_over: list[tuple[str, str]] = []
    for name, value, source, field_ in _variables(job, there):
        told = f"{field_}: {source}"
        if re.fullmatch(VARIABLE, name) is None:
            passed_over.append((name, told))
            continue
        text = _text(name, value, source)
        origins.append((name, told))
        if source.kind == "Secret":
            hidden[name] = text
        else:
            plain[name] = text
            hidden.pop(name, None)
    for entry in job.env:
        if entry.value_from is None:
            hidden.pop(entry.name, None)
    size = sum(len(name) + len(value.encode()) + _BETWEEN for name, value in hidden.items())
    if size > VARIABLES_LIMIT:
        raise Invalid(
            f"env and envFrom: the variables from Secrets have {size} bytes, and may have {VARIABLES_LIMIT} together; "
            "bring large values by files, each as a file in the container.",
            reason="SecretTooLarge",
        )
    files, sealed_files = _files(job, there, "ConfigMap"), _files(job, there, "Secret")
    named = [entry.path.rstrip("/") for entry in job.files if entry.secret is not None]
    return Brought(
        files=files,
        environment=tuple(plain.items()),
        sealed=Sealed(variables=hidden, files=sealed_files, login=_login(job, there)) if _names_secrets(job) else None,
        sealed_folders=tuple(dict.fromkeys(named)),
        origins=tuple(origins),
        passed_over=tuple(passed_over),
    )


_names_secrets = secrets


@dataclass(frozen=True, slots=True)
class _Source:
    """One ConfigMap or Secret as a field of the spec names it, for a sentence."""

    kind: str
    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def _sources(job: TrainingJobSpec) -> Iterator[_Source]:
    """Every ConfigMap and Secret that the job names, as often as it does."""
    for place, entry in enumerate(job.files):
        yield from _source(f"spec.files[{place}]", entry.secret, entry.config_map)
    for place, each in enumerate(job.env_from):
        whole = each.secret_ref, each.config_map_ref
        yield from _source(f"spec.envFrom[{place}]", *(one.name if one is not None else None for one in whole))
    for place, variable in enumerate(job.env):
        if (chosen := variable.value_from) is not None:
            keys = chosen.secret_key_ref, chosen.config_map_key_ref
            yield from _source(f"spec.env[{place}]", *(one.name if one is not None else None for one in keys))
    for place, login in enumerate(job.image_pull_secrets if _is_pulled(job) else []):
        yield from _source(f"spec.imagePullSecrets[{place}]", login.name)


def _source(field: str, secret: str | None, config_map: str | None = None) -> Iterator[_Source]:
    """What an entry names: one of both."""
    if secret is not None:
        yield _Source("Secret", secret, field)
    if config_map is not None:
        yield _Source("ConfigMap", config_map, field)


@dataclass(frozen=True, slots=True)
class _There:
    """What was read, by kind and name."""

    namespace: str
    by_kind: Mapping[str, Data] = field(repr=False)
    lenient: Collection[str]

    def keys(self, source: _Source, *, optional: bool) -> Mapping[str, bytes]:
        """All keys; none of what is missing and may be."""
        found = self._found(source)
        if found is None and not optional and source.kind not in self.lenient:
            text = f"There is no {source.kind} named {source.name!r} in namespace {self.namespace}; create it first."
            raise Invalid(text, reason=f"{source.kind}NotFound", field=source.field)
        return found or {}

    def key(self, source: _Source, key: str, *, optional: bool) -> bytes | None:
        """The value of one key; None of what is missing and may be."""
        found = self.keys(source, optional=optional)
        if key not in found and not optional and self._found(source) is not None:
            where = f"{source} in namespace {self.namespace} has no key {key!r}"
            text = f"{where}; create the key, or write one that is there."
            raise Invalid(text, reason=f"{source.kind}NotFound", field=source.field)
        return found.get(key)

    def _found(self, source: _Source) -> Mapping[str, bytes] | None:
        return self.by_kind[source.kind].get(source.name)


def _variables(job: TrainingJobSpec, there: _There) -> Iterator[tuple[str, bytes, _Source, str]]:
    """Name, value, source and field of every variable, in the order in which they count, the last of a name at last."""
    for place, each in enumerate(job.env_from):
        reference = each.secret_ref or each.config_map_ref
        if reference is None:
            continue
        kind = "Secret" if each.secret_ref is not None else "ConfigMap"
        source = _Source(kind, reference.name, f"spec.envFrom[{place}]")
        for key, value in sorted(there.keys(source, optional=reference.optional).items()):
            yield each.prefix + key, value, source, "envFrom"
    for place, entry in enumerate(job.env):
        chosen = entry.value_from
        wanted = (chosen.secret_key_ref or chosen.config_map_key_ref) if chosen is not None else None
        if chosen is None or wanted is None:
            continue
        kind = "Secret" if chosen.secret_key_ref is not None else "ConfigMap"
        source = _Source(kind, wanted.name, f"spec.env[{place}]")
        found = there.key(source, wanted.key, optional=wanted.optional)
        if found is not None:
            yield entry.name, found, source, "env"


def _is_pulled(job: TrainingJobSpec) -> bool:
    """Whether the image comes from a registry."""
    return not job.image.startswith("/")


def _login(job: TrainingJobSpec, there: _There) -> registry.Login | None:
    """Of the job's registry. Raises Invalid where its Secrets have none."""
    if not job.image_pull_secrets or not _is_pulled(job):
        return None
    entries = enumerate(job.image_pull_secrets)
    sources = [_Source("Secret", entry.name, f"spec.imagePullSecrets[{place}]") for place, entry in entries]
    told = [there.key(source, registry.KEY, optional=False) for source in sources]
    try:
        found = registry.login(job.image, [each for each in told if each is not None])
    except ValueError as error:
        raise Invalid(f"imagePullSecrets: {error}.", reason="LoginInvalid") from None
    if found is None and None not in told:
        text = (
            f"imagePullSecrets: none of these Secrets has a login for {registry.host(job.image)}; create one that has."
        )
        raise Invalid(text, reason="LoginInvalid")
    return found


def _text(name: str, value: bytes, source: _Source) -> str:
    """A value as an environment can hold it. Raises Invalid, without the value."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid(
            f"{source}: the value of {name} is no text, which a variable must be; bring it by files instead.",
            reason="VariableInvalid",
            field=source.field,
        ) from None
    return text


def _files(job: TrainingJobSpec, there: _There, kind: str) -> Files:
    """The files of this kind's entries, in the order of spec.files, keys sorted."""
    found: list[tuple[str, bytes]] = []
    for place, entry in enumerate(job.files):
        name = entry.config_map if kind == "ConfigMap" else entry.secret
        if name is None:
            continue
        keys = there.keys(_Source(kind, name, f"spec.files[{place}]"), optional=False)
        found += [(f"{entry.path.rstrip('/')}/{key}", keys[key]) for key in sorted(keys)]
    return tuple(found)
