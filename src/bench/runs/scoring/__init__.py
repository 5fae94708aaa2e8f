"""Scores and heat maps of new images, from the checkpoint of a finished run."""
