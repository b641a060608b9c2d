"""A real Slurm site on one machine: nothing in it is imitated but the GPUs.

A site is a Debian release's own Slurm in a root file system of its own (rootfs.py), seen through a mount, PID and UTS
namespace (enter.sh, namespace.py): munge, MariaDB, slurmdbd, slurmctld, one slurmd a node, and slurmrestd and an sshd
on loopback (components.py, config.py, ssh_server.py). It ends with its init, whatever happened to the process that
started it.
"""
