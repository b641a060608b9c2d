"""A kubeconfig file: where the API server is, how to know that it is the right one, and who is asking.

Written as JSON, which is YAML; keys and certificates stand in it, so that the file works wherever it is copied to.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from passerelle_sandbox.control_plane.pki import Pair


def write(path: Path, *, server: str, authority: Path, user: str, pair: Pair, context: str) -> Path:
    """Write the kubeconfig of one user and one cluster, readable by its owner alone."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": _data(authority)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)},
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def write_for_token(path: Path, *, like: Path, user: str, token: str) -> Path:
    """Write the kubeconfig of another user of the same cluster, who shows a token."""
    document = json.loads(like.read_text(encoding="utf-8"))
    document["users"] = [{"name": user, "user": {"token": token}}]
    for each in document["contexts"]:
        each["context"]["user"] = user
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def _data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
