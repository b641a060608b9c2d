"""The sandbox has one error: a sentence that tells a person what is wrong and, where it is known, the way round."""

from __future__ import annotations


class SandboxError(Exception):
    """One clear sentence. The command line prints it without a traceback."""
