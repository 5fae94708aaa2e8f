"""Schedules of the learning rate, counted in updates."""

import math


def cosine(update: int, total: int) -> float:
    """One falling half wave, from 1 to 0."""
    return (1 + math.cos(math.pi * min(update / max(total, 1), 1.0))) / 2


def warm_cosine(update: int, total: int, warm_up: int, least: float) -> float:
    """A linear rise from 0 to 1 over the first `warm_up` updates, then a falling half wave to `least`.

    Update `warm_up - 1` is the first of the full rate, as in the code of Dinomaly's authors.
    """
    if update < warm_up:
        return update / max(warm_up - 1, 1)
    return least + (1 - least) * cosine(update - warm_up, total - warm_up)
