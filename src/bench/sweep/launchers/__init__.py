"""Launchers: where the cells of a sweep are run."""
