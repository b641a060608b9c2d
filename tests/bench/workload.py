"""What is run: TrainingJobs of one GPU that compute nothing, report their progress and end after 20 to 60 seconds."""

from __future__ import annotations

from typing import Any

from passerelle.v1alpha1 import API_VERSION

SITE = "sandbox"
SHORTEST, LONGEST = 20, 60
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


def trainingjob(namespace: str, number: int) -> dict[str, Any]:
    """The TrainingJob of a number, counted from 0."""
    lasts = SHORTEST + number * STEP % (LONGEST - SHORTEST + 1)
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"namespace": namespace, "name": f"job-{number:05}"},
        "spec": {
            "site": SITE,
            "image": "/none.sif",  # the Site has no container runtime
            "command": ["/bin/sh", "-c", TRAINER, "train", str(lasts)],
            "gpus": 1,
            "timeLimit": "10m",
        },
    }
