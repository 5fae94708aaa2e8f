"""The record and the predictions that a run leaves, and published metrics."""
