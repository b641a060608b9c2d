"""What the operator writes to kube-apiserver, and the few things that it reads: patches, events, Secrets, ConfigMaps.

Every patch carries `resourceVersion`: on a conflict the caller reads and decides again, so a process that wakes up
late can write nothing stale. The verbs used here are the operator's RBAC.
"""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import kube_config

from passerelle.errors import MESSAGE_LIMIT, Invalid, Unavailable, redact
from passerelle.objects import Key
from passerelle.v1alpha1 import API_VERSION, GROUP, VERSION
from passerelle.v1alpha1.site import PLURAL as SITES
from passerelle.v1alpha1.trainingjob import PLURAL as TRAININGJOBS

COMPONENT = "passerelle"
TIMEOUT_SECONDS = 30.0
LEASE_TIMEOUT_SECONDS = 3.0
"""A Lease is soon lost: better another try than a long wait."""
PATCHES_AT_ONCE = 8
"""Of TrainingJobs. Of a crowd each has something to write, and with 80 of them in hand kube-apiserver does no more a
second: each takes longer, its watches fall behind by half a minute, and everybody else waits, too.
"""
PAGE = 500
"""Objects of a listing that are asked for at once: 2 MB."""
DEFAULT_NAMESPACE = "default"
_LEASES = ("coordination.k8s.io", "v1")
_MERGE = "application/merge-patch+json"
_IN_NAMESPACE = "/namespaces/{namespace}/{kind}/{name}"


UNAVAILABLE = "KubernetesUnavailable"
REFUSED = "KubernetesRefused"
"""Of a request that will be refused again: a defect of ours, or a right that is missing."""
_AGAIN = frozenset({0, 408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may pass."""


class Conflict(Exception):
    """The object has changed since it was read."""


class Gone(Exception):
    """The object does not exist."""


class Forbidden(Unavailable):
    """Kubernetes refuses the operator the right; the same request may pass once somebody has given it."""

    reason = REFUSED


Wrote = Callable[[str, str], None]
Fence = Callable[[], None]


class Kube:
    """A connection to kube-apiserver. Raises Conflict, Gone or Unavailable, which Forbidden is, too.

    `wrote` is told of each write: what it was, and whether it ended with ok, conflict, gone or error. `fence` raises
    Unavailable where nothing may be written any more; the Lease alone is asked for without it.
    """

    def __init__(
        self, api: client.ApiClient, wrote: Wrote = lambda _kind, _outcome: None, fence: Fence = lambda: None
    ) -> None:
        self._api = api
        self._wrote = wrote
        self._fence = fence
        self._custom = client.CustomObjectsApi(api)
        self._patches = asyncio.Semaphore(PATCHES_AT_ONCE)

    @classmethod
    async def connect(cls, wrote: Wrote = lambda _kind, _outcome: None, fence: Fence = lambda: None) -> Kube:
        """In a cluster by the ServiceAccount, elsewhere by KUBECONFIG. Raises Invalid where there is neither."""
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]  # the client carries no types there
        except config.ConfigException:
            _find_kubeconfig()
            try:
                await config.load_kube_config()  # type: ignore[no-untyped-call]  # likewise
            except (config.ConfigException, OSError) as error:
                text = f"Neither a ServiceAccount nor a usable kubeconfig is here ({error}); set KUBECONFIG."
                raise Invalid(text) from error
        settings = client.Configuration.get_default_copy()
        # Else each request reads netrc and the environment's proxies, in a thread; kopf's watches use neither.
        settings.client_session_kwargs = {"trust_env": False}
        return cls(client.ApiClient(settings), wrote, fence)

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]  # likewise

    async def default_namespace(self) -> str:
        """The namespace of the kubeconfig's current context, as kubectl has it."""
        try:
            _, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]  # likewise
        except (config.ConfigException, OSError):
            return DEFAULT_NAMESPACE
        return str(active["context"].get("namespace") or DEFAULT_NAMESPACE)

    async def sites(self) -> list[dict[str, Any]]:
        """Every Site."""
        found = await self._object(
            self._custom.list_cluster_custom_object(GROUP, VERSION, SITES, _request_timeout=TIMEOUT_SECONDS)
        )
        return list(found["items"])

    async def trainingjobs(self) -> AsyncIterator[dict[str, Any]]:
        """Every TrainingJob, as they all were at one moment."""
        more: str | None = None
        while True:
            found = await self._object(
                self._custom.list_custom_object_for_all_namespaces(
                    GROUP, VERSION, TRAININGJOBS, limit=PAGE, _continue=more, _request_timeout=TIMEOUT_SECONDS
                )
            )
            for each in found["items"]:
                yield each
            more = found["metadata"].get("continue")
            if not more:
                return

    async def any_trainingjob(self) -> bool:
        """Whether there is a TrainingJob at all: the cheapest proof that kube-apiserver answers."""
        found = await self._object(
            self._custom.list_custom_object_for_all_namespaces(
                GROUP, VERSION, TRAININGJOBS, limit=1, _request_timeout=TIMEOUT_SECONDS
            )
        )
        return bool(found["items"])

    async def trainingjob(self, key: Key) -> dict[str, Any]:
        return await self._object(
            self._custom.get_namespaced_custom_object(
                GROUP, VERSION, key.namespace, TRAININGJOBS, key.name, _request_timeout=TIMEOUT_SECONDS
            )
        )

    async def patch_trainingjob(self, key: Key, resource_version: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Patch metadata: finalizers and annotations."""
        async with self._patches:
            return await self._object(
                self._custom.patch_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    key.namespace,
                    TRAININGJOBS,
                    key.name,
                    _at(resource_version, patch),
                    _content_type=_MERGE,
                    _request_timeout=TIMEOUT_SECONDS,
                ),
                write="trainingjob_metadata",
            )

    async def patch_trainingjob_status(
        self, key: Key, resource_version: str, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        kind = "trainingjob_progress" if _progress_alone(status) else "trainingjob_status"
        async with self._patches:
            return await self._object(
                self._custom.patch_namespaced_custom_object_status(
                    GROUP,
                    VERSION,
                    key.namespace,
                    TRAININGJOBS,
                    key.name,
                    _at(resource_version, {"status": status}),
                    _content_type=_MERGE,
                    _request_timeout=TIMEOUT_SECONDS,
                ),
                write=kind,
            )

    async def delete_trainingjob(self, key: Key, uid: str, resource_version: str) -> None:
        """Delete this very object as it was read; a changed one is a Conflict."""
        preconditions = client.V1Preconditions(uid=uid, resource_version=resource_version)
        await self._call(
            self._custom.delete_namespaced_custom_object(
                GROUP,
                VERSION,
                key.namespace,
                TRAININGJOBS,
                key.name,
                body=client.V1DeleteOptions(preconditions=preconditions),
                _request_timeout=TIMEOUT_SECONDS,
            ),
            write="trainingjob_delete",
        )

    async def site(self, name: str) -> dict[str, Any]:
        return await self._object(
            self._custom.get_cluster_custom_object(GROUP, VERSION, SITES, name, _request_timeout=TIMEOUT_SECONDS)
        )

    async def patch_site_status(self, name: str, resource_version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        return await self._object(
            self._custom.patch_cluster_custom_object_status(
                GROUP,
                VERSION,
                SITES,
                name,
                _at(resource_version, {"status": status}),
                _content_type=_MERGE,
                _request_timeout=TIMEOUT_SECONDS,
            ),
            write="site_status",
        )

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        found = await self._object(self._core("GET", _IN_NAMESPACE, namespace=namespace, kind="secrets", name=name))
        return _decoded(found.get("data"))

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes]:
        """The keys of a ConfigMap, text and binary alike."""
        found = await self._object(self._core("GET", _IN_NAMESPACE, namespace=namespace, kind="configmaps", name=name))
        texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return texts | _decoded(found.get("binaryData"))

    async def namespace_labels(self, name: str) -> dict[str, str]:
        found = await self._object(self._core("GET", "/namespaces/{name}", name=name))
        return dict(found["metadata"].get("labels") or {})

    async def lease(self, namespace: str, name: str) -> dict[str, Any]:
        return await self._object(
            self._custom.get_namespaced_custom_object(
                *_LEASES, namespace, "leases", name, _request_timeout=LEASE_TIMEOUT_SECONDS
            )
        )

    async def create_lease(self, namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        body = _lease({"name": name, "namespace": namespace}, spec)
        return await self._object(
            self._custom.create_namespaced_custom_object(
                *_LEASES, namespace, "leases", body, _request_timeout=LEASE_TIMEOUT_SECONDS
            )
        )

    async def replace_lease(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        """`lease` is what was read or written last; another one's write since then is a Conflict."""
        metadata = lease["metadata"]
        return await self._object(
            self._custom.replace_namespaced_custom_object(
                *_LEASES,
                metadata["namespace"],
                "leases",
                metadata["name"],
                _lease(metadata, spec),
                _request_timeout=LEASE_TIMEOUT_SECONDS,
            )
        )

    async def event(
        self, *, at: float, involved: Mapping[str, Any], namespace: str, kind: str, reason: str, message: str
    ) -> None:
        """One event; `at` is when it happened, in epoch seconds; `kind` is Normal or Warning. Events of cluster-scoped
        objects go to `default`, as Kubernetes does.
        """
        stamp = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {"name": f"{str(involved['name'])[:200]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {"apiVersion": API_VERSION, **involved},
            "type": kind,
            "reason": reason,
            "message": redact(message)[:MESSAGE_LIMIT],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
        }
        await self._object(
            self._core("POST", "/namespaces/{namespace}/events", body, namespace=namespace), write="event"
        )

    async def _core(self, method: str, path: str, body: Mapping[str, Any] | None = None, **places: str) -> object:
        """A call of the core API. The client's own class for that loads its models of all of Kubernetes, 25 MB."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = await self._api.param_serialize(
            method,
            f"/api/v1{path}",
            path_params=places,
            query_params=[],
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
        await answer.read()  # type: ignore[no-untyped-call]  # the client carries no types there
        return self._api.response_deserialize(answer, {"2XX": "object"}).data

    async def _object(self, call: Awaitable[object], *, write: str = "") -> dict[str, Any]:
        found = await self._call(call, write=write)
        if not isinstance(found, dict):
            raise Unavailable("kube-apiserver answered with something that is no object", reason=UNAVAILABLE)
        return found

    async def _call(self, call: Any, *, write: str = "") -> Any:  # noqa: ANN401 -- the generated client carries no types
        outcome = "error"
        try:
            if write:
                self._pass(call)
            found = await call
            outcome = "ok"
        except ApiException as error:
            if error.status == 409:  # noqa: PLR2004 -- HTTP Conflict
                outcome = "conflict"
                raise Conflict(redact(str(error.reason))) from error
            if error.status == 404:  # noqa: PLR2004 -- HTTP Not Found
                outcome = "gone"
                raise Gone(redact(str(error.reason))) from error
            text = f"kube-apiserver answered {error.status} {error.reason}: {error.body or ''}"
            if error.status == 403:  # noqa: PLR2004 -- HTTP Forbidden
                raise Forbidden(text) from error
            raise Unavailable(text, reason=UNAVAILABLE if error.status in _AGAIN else REFUSED) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"kube-apiserver can't be asked: {str(error) or repr(error)}", reason=UNAVAILABLE
            ) from error
        finally:
            if write:
                self._wrote(write, outcome)
        return found

    def _pass(self, call: Any) -> None:  # noqa: ANN401 -- likewise
        """Nothing is sent until it is awaited. To whoever writes it is an outage: the same may pass in a moment."""
        try:
            self._fence()
        except Unavailable as error:
            call.close()
            raise Unavailable(error.message, reason=UNAVAILABLE, sent=False) from error


def _find_kubeconfig() -> None:
    """Raises Invalid where there is none: the client would log that, and go on with an empty one."""
    where = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    if not any(Path(each).expanduser().is_file() for each in where.split(os.pathsep)):
        raise Invalid(f"There is neither a ServiceAccount nor a kubeconfig at {where!r}; set KUBECONFIG.")


def _decoded(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}


def _lease(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "/".join(_LEASES), "kind": "Lease", "metadata": dict(metadata), "spec": dict(spec)}


def _progress_alone(status: Mapping[str, Any]) -> bool:
    """Whether a patch tells of progress only: a step stands in the progress and in its attempt. All else that happens
    to an attempt changes a condition, too.
    """
    return "progress" in status and status.keys() <= {"progress", "attempts"}


def _at(resource_version: str, patch: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {**patch.get("metadata", {}), "resourceVersion": resource_version}
    return {**patch, "metadata": metadata}
