"""What runs on the supercomputer: POSIX shell, bash and the standard library of Python 3.6, no dependency.

These files travel inside the script and lie in the attempt's directory; `python3 LIB NAME ARGUMENTS` runs one of them.
User strings come only from spec.json. Nothing here ends a job for a reason of its own, but the fence and a site at
fault.
"""
