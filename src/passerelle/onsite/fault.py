"""The attempt could not begin: says why, in the log and in the job's record, which is read from afar."""

import sys
import time
from typing import List

from passerelle.onsite.codes import SITE_FAULT
from passerelle.onsite.files import tell
from passerelle.onsite.post import ways
from passerelle.onsite.report import Progress


def report(text: str, code: int = SITE_FAULT) -> int:
    """Say it before any other process of this job writes the record. Returns the code with which the job shall end."""
    tell(text)
    end = {"code": code, "signal": None, "rank": None, "err": text}
    record = Progress().record(time.time(), end)
    for way in ways():
        why = way(record)
        if why is not None:
            tell("the fault can't be reported: " + why)
    return code


def main(argv: List[str]) -> int:
    """`fault TEXT`."""
    return report(argv[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
