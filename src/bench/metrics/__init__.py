"""Exact image and pixel metrics from raw, unbounded anomaly scores."""
