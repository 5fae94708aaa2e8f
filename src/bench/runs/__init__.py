"""A run: its plan, its processes, training, test and record."""
