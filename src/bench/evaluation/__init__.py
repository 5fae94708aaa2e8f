"""Passes of a model over images, and the metrics of their results."""
