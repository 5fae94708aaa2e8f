"""Schedules of the learning rate, counted in updates."""

import math


def cosine(update: int, total: int) -> float:
    """One falling half wave, from 1 to 0."""
    return (1 + math.cos(math.pi * min(update / max(total, 1), 1.0))) / 2
