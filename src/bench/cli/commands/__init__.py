"""The commands, one file each: `bench fit` is `fit.py`, whose docstrings are its help."""
