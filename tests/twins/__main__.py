"""`make twins`: every profile by every launcher by four sizes, against the twin of its machine.

What `passerelle import` makes of its fixtures is brought there, too. It prints what Slurm refused or understood
otherwise, a table, and one line of JSON. The exit code is 1 where a case was refused, a limit differs, or an import
went wrong. A twin proves that Slurm takes the job as planned, and says nothing of the site itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from passerelle.launch import LAUNCHERS
from passerelle.profiles import load, names
from passerelle_sandbox import host, say
from passerelle_sandbox.errors import SandboxError
from twins.verdicts import Verdict, check, twin_of

_COLUMNS = ("cases", "accepted", "unknown", "refused", "submissions", "limits", "imports")


def main(profiles: Sequence[str]) -> int:
    """Check these profiles, one after the other."""
    began = time.monotonic()
    host.ensure_host_tools()
    verdicts = [check(load(name), twin_of(name)) for name in profiles]
    say.line("")
    for verdict in verdicts:
        for complaint in verdict.complaints:
            say.line(f"{verdict.profile}: {complaint}")
    for line in table(verdicts):
        say.line(line)
    totals = {column: sum(getattr(verdict, column) for verdict in verdicts) for column in _COLUMNS}
    told = {"profiles": len(verdicts), "launchers": len(LAUNCHERS), **totals}
    say.line(json.dumps(told | {"seconds": round(time.monotonic() - began)}))
    return int(not all(verdict.good for verdict in verdicts))


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """A line a profile, below the names of the columns."""
    rows = [["profile", *_COLUMNS, "seconds"]]
    rows += [
        [each.profile, *(str(getattr(each, column)) for column in _COLUMNS), f"{each.seconds:.0f}"] for each in verdicts
    ]
    return ["".join([f"{row[0]:18}", *(f"{cell:>13}" for cell in row[1:])]) for row in rows]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or names()))
    except SandboxError as error:
        say.warn(f"twins: {error}")
        sys.exit(1)
