"""Sweeps: many cells in one command."""
