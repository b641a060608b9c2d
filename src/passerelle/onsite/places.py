"""Files of a run directory that both sides know by name: their paths follow from the directory and the attempt, before
Slurm has given the job a number.
"""


def report(run: str, attempt: int) -> str:
    """Where the attempt's job writes its record (post.py), and the operator reads it."""
    return "%s/report-%d.json" % (run, attempt)


def stop_request(run: str, attempt: int) -> str:
    """What the operator writes to have the attempt save and stop, and its job looks for (claim.py)."""
    return "%s/stop-%d" % (run, attempt)
