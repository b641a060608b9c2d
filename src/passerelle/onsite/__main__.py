"""Runs one module of this package: `python3 LIB claim ...`, where LIB is the folder that this file was written into."""

import runpy
import sys

if __name__ == "__main__":
    runpy.run_module("passerelle.onsite." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
