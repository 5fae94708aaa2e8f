"""Launchers, which run the cells of a sweep on a machine or a cluster."""
