"""FirecREST v2, which runs sbatch, sacct, squeue and scancel for us on a login node (`ssh` and `hybrid` mode), or hands
JSON to slurmrestd (`rest` mode, which drops the job's options and is refused unless the Site allows it).
"""
