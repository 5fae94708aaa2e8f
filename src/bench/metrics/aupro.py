"""AUPRO: the exact area under the per-region overlap (Bergmann et al. 2021, section 4)."""

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ranking import Ranking


def aupro(ranking: Ranking, weights: NDArray[np.float64], limit: float) -> float:
    """Area under the per-region overlap up to a false positive rate of `limit`, divided by `limit`.

    `weights` (P,), in the order of the ranking, are 1 / |region of the pixel|: their sum is the number of regions. A
    group of equal scores moves the curve along one straight line, which is cut at `limit`.
    """
    if not ranking.defined:
        return float("nan")
    # Along the false positive rate, a pixel's own overlap is 0 up to `start`, then a ramp, and 1 from `end` on.
    start, end = ranking.above / ranking.normals, ranking.at_or_above / ranking.normals
    width = np.minimum(end, limit) - np.minimum(start, limit)
    ramp = width**2 / (2 * np.maximum(end - start, 1 / ranking.normals))  # the maximum keeps 0 / 0 out
    area = ramp + limit - np.minimum(end, limit)
    found = float(np.average(area, weights=weights)) / limit
    return 1.0 if found > 1 else found  # by the rounding of a sum
