"""What a fake FirecREST is, what it is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firecrest.login_node import Done


@dataclass
class Behaviour:
    """What this server is and does. Each mistake is one that a release of FirecREST has."""

    mode: str = "ssh"
    version: str = "24.11.0"
    limit: int = 5 * 1024 * 1024  # of a command's output, and of a file
    default_window: str = "24h"  # 7d before 2.5.7
    filters: bool = True  # name and time_window, from 2.5.7 on
    unwell: str = ""  # what the server's own probe says of the scheduler
    busy: int = 0  # so many requests are answered with 429 by a proxy
    poison: bool = True  # a | in a name breaks lists
    cancel_fails: bool = True  # of what is unknown or has ended
    lower_case_echo: bool = True  # a validation's message repeats the body
    channel_error: bool = True  # a submit that ran out of time is a 500 about its channel, not a 408
    snake: bool = False  # transfer directives before 2.5
    directives: tuple[str, ...] = ("#SBATCH --account={account}", "#SBATCH --time=10", "#SBATCH --partition=gpu")
    home: str = "/tmp"  # noqa: S108 -- the site's; a directory in it for each user is where transfer jobs run
    way: str = "s3"  # of large files
    part: int = 2 * 1024 * 1024 * 1024  # max_part_size
    looks: int = 600  # of a job that waits for its object; the real one looks 1440 times, once a minute
    pause: float = 0.5
    room: int = -1  # bytes that a job may write before a quota is used up; it ends well all the same
    slow: float = 0.0  # seconds between the pieces that a job writes
    lost_parts: tuple[int, ...] = ()  # of a download, that its job could not send; it ends well all the same
    lost_answers: int = 0  # so many requests for a transfer are done, and their answers lost in a proxy
    hash_seconds: float = 5.0


class Refusal(Exception):
    """An answer that is an error of FirecREST's own."""

    def __init__(self, status: int, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind


@dataclass(frozen=True)
class Request:
    """Whose token it came with, what stood in its path and its query, and its JSON body or its file."""

    user: str
    words: dict[str, str]
    body: Any


@dataclass
class Answer:
    status: int
    body: Any = None
    raw: bytes | None = None


def unexpected(done: Done) -> Refusal:
    return Refusal(500, f"Unexpected Slurm command response. exit_status:{done.code} std_err:{done.err}")
