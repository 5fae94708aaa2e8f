"""Many cells in one command."""
