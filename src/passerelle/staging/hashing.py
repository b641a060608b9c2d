"""SHA-256 of a stream that may go on later: where it stands, and what it is so far."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_IN_THREAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Hashed:
    """The first `offset` bytes."""

    offset: int = 0
    _state: _Hash = field(default_factory=hashlib.sha256, repr=False)

    async def after(self, content: bytes) -> Hashed:
        """With these bytes behind them. Many are hashed beside the event loop."""
        state = self._state.copy()
        if len(content) < _IN_THREAD_BYTES:
            state.update(content)
        else:
            await asyncio.to_thread(state.update, content)
        return Hashed(self.offset + len(content), state)

    @property
    def hexdigest(self) -> str:
        return self._state.hexdigest()
