"""One trainer process under a launcher's agent, in the container: runs the user's command and tells how it ended.

The agent starts this instead of the trainer, so the user's words pass no parser of the agent's, and the record names
the rank that failed and not its node. It runs under the agent's own Python.
"""

import os
import sys
from typing import List

from passerelle.onsite.files import read_json
from passerelle.onsite.supervise import fault, supervise


def main(argv: List[str]) -> int:
    """`worker SPEC`, with RANK in the environment."""
    rank = int(os.environ["RANK"])
    record = os.path.join(os.path.dirname(os.path.abspath(argv[0])), "ends", "rank-%d.json" % rank)
    facts = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": rank}
    spec = read_json(argv[0])
    if spec is None:
        return fault(record, facts, "%s can't be read in the container" % argv[0])
    return supervise(spec["command"], dict(os.environ), record, facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
