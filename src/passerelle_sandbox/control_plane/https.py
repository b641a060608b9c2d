"""One HTTPS request to a daemon on this machine, by whom it trusts and to whom one trusts; every one has a timeout."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

from passerelle_sandbox.control_plane.commands import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from passerelle_sandbox.control_plane.pki import Pair

TIMEOUT = 5.0


def get(port: int, path: str, *, authority: Path, pair: Pair) -> tuple[int, str]:
    """Status and body. OSError or HTTPException where nobody answers, or somebody whose certificate isn't ours."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(pair.certificate, pair.key)
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def verdict(port: int, path: str, *, authority: Path, pair: Pair) -> str:
    """What a health endpoint says in a few words: "ok", or what is wrong."""
    try:
        status, body = get(port, path, authority=authority, pair=pair)
    except ConnectionRefusedError:
        return "not running: nobody listens on its port"
    except ssl.SSLError as error:
        return f"its certificate isn't this sandbox's ({error.reason})"
    except (OSError, http.client.HTTPException) as error:
        return f"doesn't answer ({type(error).__name__}: {error})"
    if status == http.client.OK:
        return "ok"
    failed = [line for line in body.splitlines() if line.startswith("[-]")] or body.splitlines()
    return f"not ready: HTTP {status} {'; '.join(failed)[:200]}"
