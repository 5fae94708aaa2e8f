"""The commands, one file each: `bench fit` is `fit.py`, whose `run` is the command and whose first line is its help."""
