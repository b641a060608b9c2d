"""Which nodes of this job answer no more: asked when an attempt has failed and a node's ranks left no word.

Where a node is gone, Slurm takes minutes to notice (SlurmdTimeout), while the other ranks fail at once, on connections
that break: the job looks as if its trainers had failed. A step that does nothing tells at once which node can't be
reached any more. It costs the nodes' time, so it is not for an end of which every node has told.
"""

import os
import re
import signal
import subprocess
from typing import List

PROBE_SECONDS = 60
"""A launch that a dead machine does not answer takes several of Slurm's message timeouts, 10 s each."""
MOST = 8

_WORDS = (
    *("srun", "--overlap", "--mem=0", "--gres=none"),  # what is left of the step before still holds its share
    *("--ntasks-per-node=1", "--kill-on-bad-exit=0", "--mpi=none", "--cpu-bind=none", "true"),
)
_INHERITED = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_CPUS_PER_TASK")
"""What of the job's own size would change the step's."""
_BROKEN = (
    r"Communication connection failure|Connection (?:refused|timed out|reset by peer|failure)|Socket timed out"
    r"|No route to host|Network is unreachable|Host is down|Node failure"
)
"""What srun says of a connection. Of a credential that has expired, or of a plugin, no node is to blame."""
_COMPLAINTS = re.compile(
    r"^srun: error: (?:Task launch for .* failed on node ([\w.-]+): .*(?:%s)|Node failure on ([\w.-]+))" % _BROKEN,
    re.MULTILINE,
)


def node_count() -> int:
    """Of this job."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES") or os.environ.get("SLURM_NNODES") or 1)


def silent_nodes() -> List[str]:
    """Names of nodes that srun can't reach; none where it reached all or none, or did not come to an end in time."""
    count = str(node_count())
    environ = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    environ.pop("SRUN_CPUS_PER_TASK", None)
    try:
        child = subprocess.Popen(
            [_WORDS[0], "--nodes=" + count, "--ntasks=" + count, *_WORDS[1:]],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError:
        return []
    with child:
        try:
            _, said = child.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            return []
    found = named(said.decode("utf-8", "replace"))
    return found if len(found) < node_count() else []


def named(said: str) -> List[str]:
    """The nodes of srun's complaints, each once."""
    found = [one or other for one, other in _COMPLAINTS.findall(said)]
    return sorted(set(found))
