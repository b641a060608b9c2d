"""A real Kubernetes control plane and a real Slurm site on one machine, for the demo and the tests.

Real parts only: nothing here imitates a daemon. It is in neither wheel nor image, and `passerelle` never imports it.
"""
