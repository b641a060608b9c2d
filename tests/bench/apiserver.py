"""The bench's own door to kube-apiserver: as little as it takes to create, watch, patch and delete TrainingJobs."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from passerelle.v1alpha1 import API_VERSION
from passerelle.v1alpha1.trainingjob import PLURAL

CONNECTIONS = 16
TIMEOUT_SECONDS = 60.0
_MERGE = {"content-type": "application/merge-patch+json"}

Object = dict[str, Any]


@contextmanager
def _pair(user: dict[str, str]) -> Iterator[Path]:
    """A client certificate with its key, as a file: ssl takes nothing else."""
    with tempfile.NamedTemporaryFile() as file:
        for name in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[name]))
        file.flush()
        yield Path(file.name)


class ApiServer:
    """TrainingJobs of one namespace, asked for as the kubeconfig's user. An answer that is no success raises."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        document = json.loads(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        trust = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode("ascii")
        )
        with _pair(user) as pair:
            trust.load_cert_chain(pair)
        self._client = httpx.AsyncClient(
            base_url=cluster["server"],
            verify=trust,
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            trust_env=False,
        )
        self._path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"

    async def close(self) -> None:
        await self._client.aclose()

    async def create(self, manifest: Object) -> Object:
        return _object(await self._client.post(self._path, json=manifest))

    async def version(self) -> str:
        """The resource version of now, from which a watch may begin."""
        found = _object(await self._client.get(self._path, params={"limit": "1"}))
        return str(found["metadata"]["resourceVersion"])

    async def list(self) -> Object:
        return _object(await self._client.get(self._path))

    async def patch_status(self, name: str, status: Object) -> Object:
        content = json.dumps({"status": status})
        return _object(await self._client.patch(f"{self._path}/{name}/status", content=content, headers=_MERGE))

    async def patch(self, name: str, change: Object) -> Object:
        return _object(await self._client.patch(f"{self._path}/{name}", content=json.dumps(change), headers=_MERGE))

    async def annotate(self, name: str, value: str) -> None:
        await self.patch(name, {"metadata": {"annotations": {"bench.passerelle.dev/storm": value}}})

    async def delete(self, name: str) -> None:
        _object(await self._client.delete(f"{self._path}/{name}"))

    async def delete_all(self) -> None:
        """All of them, by one call."""
        _object(await self._client.delete(self._path))

    async def watch(self, since: str) -> AsyncIterator[tuple[Object, bool]]:
        """Every object that changes from a resource version on, and whether it is gone, until kube-apiserver ends that:
        it does where somebody hears too slowly, and after the time that was asked for.
        """
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "3600"}
        unhurried = httpx.Timeout(TIMEOUT_SECONDS, read=None)  # whoever waits for a change has a deadline of its own
        async with self._client.stream("GET", self._path, params=query, timeout=unhurried) as answer:
            answer.raise_for_status()
            async for line in _lines(answer.aiter_bytes()):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the watch broke: {event['object']}")
                yield event["object"], event["type"] == "DELETED"


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """httpx would decode each piece, and look through it for every kind of line end."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line


def _object(answer: httpx.Response) -> Object:
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise TypeError(f"kube-apiserver answered with {type(found).__name__}")
    return found
