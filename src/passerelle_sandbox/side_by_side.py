"""Several long things at the same time, of which all must succeed: where one fails, the others are ended at once."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from passerelle_sandbox import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run(parts: Sequence[Callable[[], object]], *, clean: Callable[[], object] = lambda: None) -> None:
    """Do all parts. Where one fails or somebody interrupts, the others are ended, and it is raised.

    The commands of builds are ended here; `clean` ends the daemons that a part waits for.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(parts))) as pool:
        started = [pool.submit(part) for part in parts]
        try:
            wait(started, return_when=FIRST_EXCEPTION)
            for part in started:
                if part.done():
                    part.result()
        except BaseException:
            for part in started:
                part.cancel()
            while not all(part.done() for part in started):
                processes.end(processes.own_steps)
                clean()
                wait(started, timeout=0.5)
            clean()
            raise
