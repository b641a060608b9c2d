"""The driver for UNICORE's REST service, the door to JUPITER and JUWELS.

`encode` and `decode` are pure, `errors` is a table, `credential` reads a Secret, `passport` proves who asks, `calls`,
`files` and `driver` carry.

A job goes in as a raw one: its batch file has our own `#SBATCH` lines, which UNICORE hands to sbatch(1) as they are.
What it makes of its own Resources is not what was asked: a job's name with a hyphen becomes UNICORE_job, CPUs a node
become tasks a node, GPUs a node are not passed on (UNICORE/X 3.0.0 writes the memory there), and for the rest there is
no word.
"""
