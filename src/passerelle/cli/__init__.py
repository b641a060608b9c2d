"""The command line, `passerelle`: reads words and files, asks the rooms below, prints. It decides nothing.

One file a command, and one for what commands share. Whatever a person must change is one sentence on standard error,
never a traceback. Exit codes: 0 fine, 1 findings, 2 bad input.
"""

from passerelle.cli.app import main

__all__ = ["main"]
