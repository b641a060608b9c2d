"""A defect on purpose: patches carry no resourceVersion, so that one who is late writes over what was written since."""

from collections.abc import Mapping
from typing import Any

from passerelle import kube


def _at_any_version(resource_version: str, patch: Mapping[str, Any]) -> dict[str, Any]:
    return dict(patch)


kube._at = _at_any_version
