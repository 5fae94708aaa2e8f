"""Check the figures of anomaly maps that others made: exact, and under the protocols that the field knows."""
