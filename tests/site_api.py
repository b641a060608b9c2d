"""Kube, as far as a command asks it of one Site and its Secret."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from passerelle.kube import Gone, Kube


class SiteApi:
    """`secret_error` and `trouble` are raised in the place of an answer."""

    def __init__(self, site: dict[str, Any]) -> None:
        self.site_body = copy.deepcopy(site)
        self.trouble: Exception | None = None
        self.secret_error: Exception | None = None

    def connect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Commands connect to it from now on."""

        async def connect() -> SiteApi:
            return self

        monkeypatch.setattr(Kube, "connect", connect)

    async def site(self, name: str) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        if name != self.site_body["metadata"]["name"]:
            raise Gone
        return self.site_body

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        assert (namespace, name) == ("passerelle-system", self.site_body["spec"]["gateway"]["credentials"]["name"])
        if self.secret_error is not None:
            raise self.secret_error
        return {"username": b"startup", "token": b"hush"}

    async def close(self) -> None:
        return
