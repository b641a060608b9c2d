"""What the operator is told by its environment; each name begins with PASSERELLE_."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from passerelle.errors import Invalid


@dataclass(frozen=True)
class Settings:
    """`namespace` holds the Sites' Secrets; `secret_namespaces` are those whose Secrets TrainingJobs may name.

    `http_port` serves health and metrics; 0 lets the system choose.
    """

    namespace: str = "passerelle-system"
    http_host: str = "0.0.0.0"  # noqa: S104 -- the kubelet's probes and Prometheus come from outside the pod
    http_port: int = 8080
    log_format: str = "json"
    secret_namespaces: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Raises Invalid with what to write instead."""
        log_format = environ.get("PASSERELLE_LOG_FORMAT", cls.log_format)
        if log_format not in ("json", "text"):
            raise Invalid(f"PASSERELLE_LOG_FORMAT is {log_format!r}; write json or text")
        port = environ.get("PASSERELLE_HTTP_PORT", str(cls.http_port))
        if not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 -- the largest port
            raise Invalid(f"PASSERELLE_HTTP_PORT is {port!r}; write a port, like 8080")
        return cls(
            namespace=environ.get("PASSERELLE_NAMESPACE", cls.namespace),
            http_host=environ.get("PASSERELLE_HTTP_HOST", cls.http_host),
            http_port=int(port),
            log_format=log_format,
            secret_namespaces=tuple(environ.get("PASSERELLE_SECRET_NAMESPACES", "").split()),
        )
