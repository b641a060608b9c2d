"""A Pod's template -> the trainer's image, command, env and files; notes on all that stands around it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from passerelle.errors import Invalid
from passerelle.imports import commands
from passerelle.imports.draft import NO_COMMAND, Draft, joined
from passerelle.imports.fields import Fields

_GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi")
_OURS = frozenset({"cpu", "memory", "ephemeral-storage", "pods", *_GPUS})
_DOWNLOADS = re.compile(
    r"\b(wget|curl|git clone|aws s3|gsutil|gcloud storage|rclone|azcopy|huggingface-cli|hf download|snapshot_download|"
    r"pip3? install|s3://|gs://|hf://)"
)
_SCHEDULING = ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "schedulerName", "nodeName")
_FILES = 16


@dataclass(frozen=True, slots=True)
class Container:
    """The container that trains, in its Pod."""

    fields: Fields
    pod: Fields

    @property
    def gpus(self) -> int:
        """GPUs of one Pod, by limits, else by requests; 0 where it asks for none."""
        return gpus(self.fields.under("resources"))


def gpus(resources: Fields) -> int:
    """GPUs that a block of limits and requests asks for."""
    for part in (resources.under("limits"), resources.under("requests")):
        for name in _GPUS:
            number = part.count(name)
            if number:
                return number
    return 0


def trainer(template: Fields, *names: str) -> Container:
    """The container of one of these names, else the first with GPUs, else the first. Raises Invalid for none."""
    pod = template.under("spec")
    containers = list(pod.each("containers"))
    if not containers:
        raise Invalid(f"{pod.at('containers')} is empty; write the container that trains.")
    chosen = (
        next((each for each in containers if each.text("name") in names), None)
        or next((each for each in containers if gpus(each.under("resources"))), None)
        or containers[0]
    )
    return Container(chosen, pod)


def take(draft: Draft, container: Container) -> None:
    """Image, env and files of the container, and notes on its Pod. Commands are the kinds' own affair."""
    draft.image(container.fields.text("image"))
    draft.working_dir(container.fields.text("workingDir"))
    environment(draft, container.fields)
    resources(draft, container.fields.under("resources"))
    _volumes(draft, container)
    _surroundings(draft, container)


def words(draft: Draft, container: Fields) -> list[str]:
    """The container's command and args, with $(NAME) put in as Kubernetes does; empty where the image starts by itself.

    args alone follow the image's entry point, which nobody knows here, unless they begin with a launcher: such images
    run what they are given.
    """
    command, args = container.texts("command"), container.texts("args")
    if not command and args and not commands.launches(args[0]):
        command = [NO_COMMAND]
        draft.note(
            "args follow the image's own entry point, which is not run here: write what it runs in place of "
            f"{NO_COMMAND}."
        )
    return [_expanded(word, draft.environment) for word in command + args]


def environment(draft: Draft, container: Fields) -> None:
    """Take env and envFrom: values, and references to Secrets and ConfigMaps."""
    for entry in container.each("env"):
        name = entry.text("name") or ""
        source = entry.under("valueFrom")
        if not source:
            draft.environment[name] = _expanded(entry.text("value") or "", draft.environment)
        elif "secretKeyRef" in source or "configMapKeyRef" in source:
            kind = "secretKeyRef" if "secretKeyRef" in source else "configMapKeyRef"
            draft.refer(name, kind, _reference(draft, source, kind))
        else:
            draft.note(f"env {name} comes from the Pod, and there is none: leave it out, or write a value.")
    for entry in container.each("envFrom"):
        prefix = {"prefix": entry.text("prefix")} if entry.text("prefix") else {}
        for kind in ("secretRef", "configMapRef"):
            if kind in entry:
                draft.env_from.append({**prefix, kind: _reference(draft, entry, kind)})


def _reference(draft: Draft, source: Fields, kind: str) -> dict[str, object]:
    """A reference as it stands; a Secret comes along only where the gateway lets it."""
    found = source.under(kind)
    told = {key: found.text(key) for key in ("name", "key") if key in found}
    if kind.startswith("secret"):
        draft.secret(found.text("name"))
    return {**told, **({"optional": True} if found.flag("optional") else {})}


def resources(draft: Draft, asked: Fields) -> None:
    """Notes on what was asked for beside GPUs."""
    names = list(dict.fromkeys(asked.under("limits").names() + asked.under("requests").names()))
    shares = [name for name in names if name in {"cpu", "memory"}]
    if shares:
        draft.note(f"{joined(shares)} of each Pod: left out, since a GPU comes with the site's share of its node.")
    others = [name for name in names if name not in _OURS]
    if others:
        draft.note(f"Resources {joined(others)}: left out, the site's network and devices need no asking.")
    vendors = {name.partition(".")[0] for name in names if name in _GPUS}
    if vendors - {"nvidia"}:
        draft.note("The image is for other GPUs than NVIDIA's: choose a Site that has them.")


def _volumes(draft: Draft, container: Container) -> None:
    volumes = {each.text("name"): each for each in container.pod.each("volumes")}
    files: list[dict[str, str]] = []
    for mount in container.fields.each("volumeMounts"):
        volume, path = volumes.get(mount.text("name")), mount.text("mountPath") or ""
        kind = next((name for name in volume.names() if name != "name"), "") if volume else ""
        if volume is None or kind == "emptyDir":
            continue
        if kind == "configMap":
            source = volume.under("configMap")
            config_map = source.text("name")
            if config_map and path.startswith("/") and "subPath" not in mount and "items" not in source:
                files.append({"configMap": config_map, "path": path})
            else:
                draft.note(
                    f"{path} is a part of ConfigMap {config_map}: make a ConfigMap of those keys alone, and name it in "
                    "files with its folder."
                )
        elif kind == "persistentVolumeClaim":
            claim = volume.under(kind).text("claimName")
            draft.note(f"{path} is the volume of claim {claim}: copy its data to the site, and use their path there.")
        elif kind == "secret":
            source = volume.under(kind)
            secret = source.text("secretName")
            if secret and path.startswith("/") and "subPath" not in mount and "items" not in source:
                files.append({"secret": secret, "path": path})
                draft.secret(secret)
            else:
                draft.note(
                    f"{path} is a part of Secret {secret}: make a Secret of those keys alone, and name it in files "
                    "with its folder."
                )
        else:
            draft.note(f"{path} is a volume of kind {kind}: bring its data to the site, and use their path there.")
    if len(files) > _FILES:
        draft.note(f"files takes {_FILES} ConfigMaps and Secrets; the last {len(files) - _FILES} are left out.")
    draft.put(files=files[:_FILES] or None)


def _surroundings(draft: Draft, container: Container) -> None:
    pod = container.pod
    for each in pod.each("initContainers"):
        text = " ".join(each.texts("command") + each.texts("args"))
        what = "downloads" if _DOWNLOADS.search(text) else "runs before the trainer"
        draft.note(f"Init container {each.text('name')} {what}: do that at the site before, once, and use its result.")
    others = [
        each.text("name") or "?"
        for each in pod.each("containers")
        if each.text("name") != container.fields.text("name")
    ]
    if others:
        draft.note(f"Sidecar {joined(others)}: left out, a job has the trainer alone.")
    placing = [name for name in _SCHEDULING if name in pod]
    if placing:
        draft.note(f"{joined(placing)}: left out, the Site's partition says where the job runs.")
    logins = [name for each in pod.each("imagePullSecrets") if (name := each.text("name"))]
    for name in dict.fromkeys(logins):
        draft.secret(name)
    draft.put(imagePullSecrets=[{"name": name} for name in dict.fromkeys(logins)] or None)
    if "priorityClassName" in pod:
        draft.note("priorityClassName: left out; at a site, qos is what changes a job's priority.")
    if "serviceAccountName" in pod:
        draft.note("serviceAccountName: left out, a job at a site can't reach this cluster.")
    if container.fields.under("securityContext") or pod.under("securityContext"):
        draft.note("securityContext: left out, containers run as the site's user and without privileges.")


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """$(NAME) as Kubernetes puts it in: a known name's value, an unknown one as it stands, and $$( for a plain $(."""

    def put(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        return known.get(found[1], found[0])

    return re.sub(r"\$?\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", put, text)
