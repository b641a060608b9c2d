"""What the operator makes of kube-apiserver's refusals and of its absence."""

from __future__ import annotations

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from passerelle.errors import Unavailable
from passerelle.kube import Conflict, Forbidden, Gone
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
