"""`python -m passerelle_sandbox up|down|status|shell|logs|env`"""

from passerelle_sandbox.cli import main

main()
