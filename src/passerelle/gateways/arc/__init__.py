"""The driver for ARC CE: A-REX's REST interface, versions 1.0 and 1.1, in front of a Slurm."""
