"""The server's configuration: one site, one user, one partition, real jobs. Pure.

Only raw jobs come here, and the server checks nothing of them; the partition stands for what a site would publish.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

SITE = "SANDBOX"
LOGIN, PASSWORD = "demo@passerelle.dev", "sandbox"
_DN = "CN=Demo, O=Passerelle"
_SALT = "09e9ba795983c2862d1fa83ad9b28959"
_JOBS = "unicore"


@dataclass(frozen=True, slots=True)
class Ports:
    """`server` serves REST, `tsi` is the TSI's, and on `reply` the TSI calls the server back."""

    server: int
    tsi: int
    reply: int


def jobs(home: str) -> str:
    """Where the jobs' directories lie, at the site."""
    return f"{home}/{_JOBS}"


def files(ports: Ports, user: str, home: str) -> dict[str, str]:
    """The files beside the server's keys."""
    return {
        "uas.config": _properties(_server(ports, user, home)),
        "users.txt": f"{LOGIN}:{_hashed(PASSWORD)}:{_SALT}:{_DN}\n",
        "attributes.json": json.dumps({_DN: {"role": "user", "xlogin": [user]}}, indent=1),
        "idb.json": json.dumps(_idb(), indent=1),
        "log4j2.properties": _LOGGING,
    }


def _server(ports: Ports, user: str, home: str) -> dict[str, str | int]:
    return {
        "container.host": "127.0.0.1",
        "container.port": ports.server,
        # A name that leads nowhere: no client may follow the addresses that the server writes.
        "container.externalurl": "https://unicore.invalid:1",
        "container.sitename": SITE,
        "container.security.sslEnabled": "false",
        "container.security.credential.format": "pkcs12",
        "container.security.credential.path": "server.p12",
        "container.security.credential.password": PASSWORD,
        "container.security.truststore.type": "directory",
        "container.security.truststore.directoryLocations.1": "server.crt",
        "container.security.gateway.enable": "false",
        "container.httpServer.fastRandom": "true",
        "container.security.accesscontrol": "true",
        "container.security.rest.authentication.order": "FILE",
        "container.security.rest.authentication.FILE.class": (
            "eu.unicore.services.rest.security.FilebasedAuthenticator"
        ),
        "container.security.rest.authentication.FILE.file": "users.txt",
        "container.security.attributes.order": "FILE",
        "container.security.attributes.FILE.class": "eu.unicore.services.aip.file.FileAttributeSource",
        "container.security.attributes.FILE.file": "attributes.json",
        "container.security.attributes.FILE.matching": "strict",
        "persistence.directory": "data",
        "coreServices.sms.storage.enabledStorages": "ROOT",
        "coreServices.sms.storage.ROOT.name": "ROOT",
        "coreServices.sms.storage.ROOT.type": "FIXEDPATH",
        "coreServices.sms.storage.ROOT.path": "/",
        "XNJS.filespace": jobs(home),
        "XNJS.idbfile": "idb.json",
        "XNJS.numberofworkers": 4,
        "XNJS.bssResubmitCount": 1,
        "XNJS.bssResubmitDelay": 1,
        "XNJS.staging.filesystemGraceTime": 1,
        "CLASSICTSI.machine": "127.0.0.1",
        "CLASSICTSI.port": ports.tsi,
        "CLASSICTSI.replyport": ports.reply,
        "CLASSICTSI.priveduser": user,
        "CLASSICTSI.statusupdate.interval": 1000,  # milliseconds; 10,000 by default
        "CLASSICTSI.statusupdate.grace": 1,
    }


def _idb() -> dict[str, object]:
    resources = {
        "Runtime": "60-604800:3600",
        "Nodes": "1-64:1",
        "CPUsPerNode": "1-288:1",
        "GPUsPerNode": "0-64:0",
        "MemoryPerNode": "1M-4096G",
    }
    return {"Partitions": {"gpu": {"IsDefaultPartition": "true", "Resources": resources}}}


def _hashed(password: str) -> str:
    """As the server's authenticator by a file wants it."""
    return hashlib.md5(f"{_SALT}{password}".encode(), usedforsecurity=False).hexdigest()


def _properties(values: dict[str, str | int]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


_LOGGING = """\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d [%t] %-5p %c{1} %m%n
"""
