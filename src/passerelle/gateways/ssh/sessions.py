"""How the sessions of a connection are shared between commands and files. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SESSIONS = 10
"""sshd's default for a connection."""

CHANNELS = 4
"""Commands at one time, beside a long one: sshd counts a session that has just ended until it tidies up, so that each
of ours may count twice.
"""

HUNG_SESSIONS = 3
"""SFTP sessions of a connection that may be given up: sshd counts each until its server ends, and a hung one stays."""

_BESIDE = 2
"""A long command, and SFTP."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Of one connection, `most` as the site says. Where it lets too few be open, long commands go first, then files."""

    most: int = MOST_SESSIONS

    @property
    def commands(self) -> int:
        return max(1, min(CHANNELS, self.most - _BESIDE))

    @property
    def long(self) -> bool:
        """Whether a command that takes half an hour may be run: others must not wait behind it."""
        return self.most > _BESIDE

    @property
    def files(self) -> bool:
        """Whether SFTP has room beside commands; else it has a connection for itself."""
        return self.most > 1

    @property
    def hung(self) -> int:
        """After so many SFTP sessions that hang the connection is left for another: one more would be too many."""
        return max(1, min(HUNG_SESSIONS, self.most - self.commands - _BESIDE + 1))
