"""The driver for Slurm's own REST daemon.

`encode` and `decode` are pure, `errors` and `versions` are tables, `credential` reads a Secret, `whose` proves who
answers, `driver` carries.
"""
