"""One trainer process under a launcher's agent, in the container: runs the user's command and tells how it ended.

The agent starts this instead of the trainer, so the user's words pass no parser of the agent's, and the record names
the rank that failed and not its node. It runs under the agent's own Python.
"""

import os
import sys
from typing import List

from passerelle.onsite import notice
from passerelle.onsite.files import read_json
from passerelle.onsite.supervise import fault, supervise


def main(argv: List[str]) -> int:
    """`worker SPEC`, with RANK in the environment."""
    rank = int(os.environ.get("RANK", "0"))  # an agent that starts a single process may not say it
    here = os.path.dirname(os.path.abspath(argv[0]))
    record, path = os.path.join(here, "ends", "rank-%d.json" % rank), notice.signal_file(here, rank)
    facts = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": rank}
    spec = read_json(argv[0])
    if spec is None:
        return fault(record, facts, "%s can't be read in the container" % argv[0])
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != spec["worldSize"]:
        # an agent that has not met the others begins alone, and trains a model of its own
        return fault(record, facts, "the agent made a world of %d, the plan has %d" % (world, spec["worldSize"]))
    if spec["checkpoint"]:
        notice.attend(path)
    return supervise(spec["command"], dict(os.environ, **{notice.VARIABLE: path}), record, facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
