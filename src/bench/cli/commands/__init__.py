"""The commands, one file each: `bench fit` is `fit.py`, and the docstring of its `run` is the help."""
