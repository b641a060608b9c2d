"""What a site tells of itself to whoever sets it up: accounts, partitions, the clock. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a survey may tell of."""

    ACCOUNTS = "accounts"
    QOS = "their QoS"
    CLOSED = "which take no jobs"
    PARTITIONS = "partitions"
    STATES = "their states"
    NODES = "nodes"
    TIMES = "time limits"
    GPUS = "GPUs"
    CLOCK = "the clock"


EVERY_TOPIC = frozenset(Topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """An account that our user may charge, in Slurm's word for the pair. `partition` is "" where it holds for all.

    `qos` are those that may be named with it, None where the gateway doesn't tell; `default_qos` the one that counts
    where none is, "" where the site has no such. `default`: the account that is charged where none is named. `closed`:
    a limit of 0 lets no job of ours in.
    """

    account: str
    partition: str = ""
    qos: tuple[str, ...] | None = ()
    default_qos: str = ""
    default: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePartition:
    """A partition as the scheduler has it. `state` is Slurm's word: UP, DOWN, DRAIN or INACTIVE; "" if it isn't told.

    A limit that is None is none, or not told; `nodes` None: not told; `gpus_per_node` None: not told, or not the same
    on all nodes. Of the lists an empty one of those that are allowed means: all are.
    """

    name: str
    state: str = ""
    nodes: int | None = None
    max_nodes: int | None = None
    max_time_minutes: int | None = None
    gpus_per_node: int | None = None
    allowed_accounts: frozenset[str] = frozenset()
    denied_accounts: frozenset[str] = frozenset()
    allowed_qos: frozenset[str] = frozenset()
    denied_qos: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a site lets our user have. None: it doesn't tell, or not now. `clock` is its own, in epoch seconds."""

    associations: tuple[Association, ...] | None = None
    partitions: tuple[SitePartition, ...] | None = None
    clock: float | None = None
