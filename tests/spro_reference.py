"""sPRO by its definition, slowly: what MVTec's evaluation computes, at every threshold there is."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

GOOD = 0
# The map (H, W) of an image, its kind, and the mask (H, W) and saturation area of each of its defects.
Image = tuple[NDArray[np.float32], int, Sequence[tuple[NDArray[np.bool_], int]]]


def reference(images: Sequence[Image], kind: int, limit: float) -> float:
    """sPRO by its definition: binary maps at every threshold, areas counted, the trapezoids cut at the limit."""
    own = [(scores, defects) for scores, its_kind, defects in images if its_kind in (GOOD, kind)]
    thresholds = sorted({float(value) for scores, _ in own for value in scores.ravel()}, reverse=True)
    points = []
    for threshold in [*thresholds, thresholds[-1] - 1]:
        false = normal = 0
        overlaps = []
        for scores, defects in own:
            positive, anomalous = scores > threshold, np.zeros(scores.shape, bool)
            for mask, area in defects:
                anomalous |= mask
                overlaps.append(min(int((positive & mask).sum()) / area, 1.0))
            false += int((positive & ~anomalous).sum())
            normal += int((~anomalous).sum())
        points.append((false / normal, sum(overlaps) / len(overlaps)))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left >= limit or right == left:
            continue
        if right > limit:
            high = low + (high - low) * (limit - left) / (right - left)
            right = limit
        area += (right - left) * (low + high) / 2
    return area / limit
