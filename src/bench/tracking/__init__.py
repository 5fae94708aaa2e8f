"""Weights & Biases, which no other package uses. A run is never lost because the service does not answer."""
