"""`python -m passerelle`: the command line where the script `passerelle` is not on PATH."""

from passerelle.cli import main

main()
