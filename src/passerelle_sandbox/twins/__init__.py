"""Twins: the schedulers of real supercomputers, with all their nodes, limits, QoS and accounts, and no machine behind.

One YAML a machine, in the words of slurm.conf(5) and sacctmgr(1), and beside it, where the machine has rules that Slurm
lacks, a Lua file for its job_submit plugin. They are written from what the machines' own pages say, and never from the
profiles of passerelle: two that copied each other would err alike. A twin proves that Slurm takes a job as it was
meant; it doesn't prove the site.
"""
