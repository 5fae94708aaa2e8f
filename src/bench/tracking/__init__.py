"""Weights & Biases: the only package that knows it. A run is never lost because the service is away."""
