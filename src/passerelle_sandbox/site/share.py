"""How much of this machine's CPU the nodes of all sites get together: half as much as one daemon, where all are busy.

A real site's nodes are machines of their own, so whatever runs on these must not slow down what looks at them. nice(1)
does not see to that alone: a kernel with autogroups shares the CPU out by session first, see sched(7), and each job is
a session of its own. A hundred of them once left slurmctld and the operator 5 % of two cores, and a record that takes
30 ms took 26 s. So the nodes have a control group, where one can be made; in a container it often can't.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "passerelle-nodes"

PLACES = (  # where the hierarchy of the cpu controller begins, what a weight is named there, half of its default
    ("/sys/fs/cgroup", "cpu.weight", "50"),  # cgroups(7), version 2: all controllers in one hierarchy
    ("/sys/fs/cgroup/cpu", "cpu.shares", "512"),  # version 1
    ("/sys/fs/cgroup/cpu,cpuacct", "cpu.shares", "512"),
)


def give(pids: Iterable[int], places: Iterable[tuple[str, str, str]] = PLACES) -> None:
    """Put these processes, and whatever they start from now on, into the nodes' group; nothing where there is none."""
    for root, name, value in places:
        group = Path(root) / NAME
        try:
            group.mkdir(exist_ok=True)
            with (group / name).open("r+", encoding="ascii") as weight:  # the kernel makes it, or this is no such place
                weight.write(value)
        except OSError:  # or not ours to change
            with suppress(OSError):
                group.rmdir()
            continue
        for pid in pids:
            with suppress(OSError):  # it has ended
                (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        return


def tidy(places: Iterable[tuple[str, str, str]] = PLACES) -> None:
    """Remove the group where nobody is in it any more."""
    for root, _, _ in places:
        with suppress(OSError):
            (Path(root) / NAME).rmdir()
