"""One HTTP request to a daemon on this machine, over TLS where it has that; every one has a timeout.

Proxies that the environment names are for other machines: none is asked.
"""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "127.0.0.1"
TIMEOUT = 5.0


def trusting(authority: Path) -> ssl.SSLContext:
    """By whom the daemon has to be trusted; it asks nobody who he is."""
    return ssl.create_default_context(cafile=str(authority))


def tls(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """By whom the daemon has to be trusted, and what it is shown."""
    context = trusting(authority)
    context.load_cert_chain(certificate, key)
    return context


def get(port: int, path: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body. OSError or HTTPException where nobody answers, or somebody whose certificate isn't trusted."""
    connection = (
        http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT)
        if context is None
        else http.client.HTTPSConnection(ADDRESS, port, timeout=TIMEOUT, context=context)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def verdict(port: int, path: str, context: ssl.SSLContext | None = None) -> str:
    """What a health endpoint says in a few words: "ok", or what is wrong."""
    try:
        status, body = get(port, path, context)
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
