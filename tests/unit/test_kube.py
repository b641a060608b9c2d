"""What the operator makes of kube-apiserver's refusals and of its absence."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import aiohttp
import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import kube_config

from passerelle.errors import Invalid, Unavailable
from passerelle.kube import UNAVAILABLE, Conflict, Forbidden, Gone, Kube
from passerelle.objects import Key
from stories import made_of


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError("cut off"),
        aiohttp.ClientError(),
        ConnectionRefusedError(),
        TimeoutError(),
        *(ApiException(status=status) for status in (0, 408, 429, 500, 502, 503, 504)),
    ],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'status', '')}",
)
async def test_what_may_pass_by_itself_is_unavailable(error: Exception) -> None:
    made = await made_of(error)

    assert isinstance(made, Unavailable)
    assert made.reason == "KubernetesUnavailable"


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 415, 422])
async def test_what_will_be_refused_again_is_told_apart(status: int) -> None:
    made = await made_of(ApiException(status=status, reason="No"))

    assert isinstance(made, Unavailable)
    assert made.reason == "KubernetesRefused"
    assert f"{status} No" in made.message


@pytest.mark.parametrize("status,kind", [(404, Gone), (409, Conflict)])
async def test_an_object_that_is_gone_or_has_changed_is_no_error_of_kube_apiserver(
    status: int, kind: type[Exception]
) -> None:
    assert type(await made_of(ApiException(status=status))) is kind


async def test_a_missing_right_is_told_apart() -> None:
    made = await made_of(ApiException(status=403, reason="Forbidden"))

    assert isinstance(made, Forbidden)
    assert made.reason == "KubernetesRefused"


async def test_a_defect_of_ours_is_nobodys_refusal() -> None:
    error = KeyError("metadata")

    assert await made_of(error) is error


async def test_where_there_is_no_kubeconfig_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own warning would stand before it."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    paths = os.pathsep.join(str(tmp_path / each) for each in ("a", "b"))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", paths)

    with caplog.at_level(logging.DEBUG), pytest.raises(Invalid, match=r"neither .* nor a kubeconfig at .*; set KUB"):
        await Kube.connect()
    assert caplog.records == []

    (tmp_path / "b").write_text("{}")
    with pytest.raises(Invalid, match="nor a usable kubeconfig"):
        await Kube.connect()


async def test_whoever_does_not_lead_writes_nothing_but_the_lease() -> None:
    def fence() -> None:
        raise Unavailable("another one acts", reason="NotLeading", sent=False)

    told: list[tuple[str, str]] = []
    api = ApiClient(Configuration(host="http://127.0.0.1:9"))
    kube = Kube(api, lambda kind, outcome: told.append((kind, outcome)), fence)
    key = Key("team", "llm")
    writes = [
        kube.patch_trainingjob(key, "1", {}),
        kube.patch_trainingjob_status(key, "1", {}),
        kube.patch_site_status("site", "1", {}),
        kube.delete_trainingjob(key, "uid"),
        kube.event(at=0.0, involved={"name": "llm"}, namespace="team", kind="Normal", reason="A", message="B"),
    ]
    for each in writes:
        with pytest.raises(Unavailable, match="another one acts") as caught:
            await each
        assert caught.value.reason == UNAVAILABLE, "as in any outage it is tried again, and is no fault of the operator"
    assert len(told) == len(writes)
    for other in (kube.any_trainingjob(), kube.create_lease("home", "passerelle", {})):
        with pytest.raises(Unavailable, match="can't be asked"):
            await other
    await kube.close()
