"""The driver for a login node: Slurm's own commands over one SSH connection.

`address`, `certificate`, `commands`, `decode`, `errors`, `pauses` and `sessions` are pure, `credential` reads a Secret,
`login` and `connection` carry, `node` says who may log in when, `driver` which command answers which question, `names`
shares a listing, `files` speaks SFTP.
"""
