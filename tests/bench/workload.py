"""What is run: TrainingJobs of one GPU that compute nothing, report their progress and end after some seconds."""

from __future__ import annotations

from typing import Any

from bench.crowd import Crowd, Part, site
from bench.identities import HELD_QOS, QOS
from passerelle.v1alpha1 import API_VERSION

SHORTEST, LONGEST = 15, 45
STEP = 7
"""Seconds from one job's length to the next one's, round and round: every run of the bench has the same jobs."""

TRAINER = """\
done=0
while [ "$done" -lt "$1" ]; do
    sleep 5
    done=$((done + 5))
    echo "{\\"step\\": $done, \\"totalSteps\\": $1}" >> "$PASSERELLE_PROGRESS_FILE"
done
"""


def trainingjob(
    namespace: str,
    name: str,
    *,
    site: str,
    lasts: int,
    qos: str = QOS,
) -> dict[str, Any]:
    """One TrainingJob that lasts for so many seconds once it runs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "site": site,
            "image": "/none.sif",  # the Sites have no container runtime
            "command": ["/bin/sh", "-c", TRAINER, "train", str(lasts)],
            "gpus": 1,
            "timeLimit": "10m",
            "qos": qos,
        },
    }


def length(number: int) -> int:
    """Seconds that the TrainingJob of a number lasts."""
    return SHORTEST + number * STEP % (LONGEST - SHORTEST + 1)


def of_crowd(namespace: str, crowd: Crowd, number: int) -> dict[str, Any]:
    """The TrainingJob of a number, counted from 0. Those that do not live their whole life never start."""
    part = crowd.part(number)
    return trainingjob(
        namespace,
        f"job-{number:05}",
        site=site(number),
        lasts=length(number),
        qos=QOS if part is Part.LIVES else HELD_QOS,
    )
