"""Gateways: the doors of the sites. One file a driver, each a set of pure encode/decode pairs and a thin carrier."""
