"""Datasets: reading, checking, caching, splitting and changing images; MVTec AD first."""
