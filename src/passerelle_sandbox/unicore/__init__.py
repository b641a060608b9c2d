"""A UNICORE/X before a site: the real server, from Maven Central, and a small TSI of our own.

The server runs on this machine and listens on loopback. What touches the site is its TSI (target system interface).
UNICORE's own is on no registry, so `tsi.py` speaks its protocol, written after what the server's and its sources do. It
runs inside the site, as the site's user, and hands raw jobs to the site's real sbatch.
"""
