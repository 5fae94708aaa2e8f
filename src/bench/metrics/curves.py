"""Curves behind the areas: exact corners from a ranking, thinned where the difference is invisible."""

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ranking import Ranking

Points = NDArray[np.float64]

_GRID = 2000  # cells along a visible axis: a fifth of a pixel where an axis has 400


def overlap_curve(ranking: Ranking, weights: Points | None = None, limit: float = 1.0) -> Points:
    """Corners (N, 2) of the ROC curve, or with 1 / |region| of each pixel as `weights` of the PRO curve, up to `limit`.

    x is the false positive rate, y the mean share that is found. A group of equal scores is one straight line, so the
    area under the curve is `auroc` or, divided by `limit`, `aupro`.
    """
    if not ranking.defined:
        return np.empty((0, 2))
    shares = np.ones(ranking.anomalous.size) if weights is None else weights
    scores = ranking.anomalous[::-1]
    last = np.flatnonzero(np.concatenate((scores[1:] != scores[:-1], [True])))
    found = (np.cumsum(shares[::-1]) / shares.sum())[last]
    before = np.concatenate(([0.0], found[:-1]))
    above = ranking.above[::-1][last] / ranking.normals
    at_or_above = ranking.at_or_above[::-1][last] / ranking.normals
    xs, ys = np.stack([above, at_or_above], axis=1).ravel(), np.stack([before, found], axis=1).ravel()
    x, y = np.concatenate(([0.0], xs, [1.0])), np.concatenate(([0.0], ys, [1.0]))
    inside = x <= limit
    end = [[limit, float(np.interp(limit, x, y))]] if not inside.all() else []
    return np.concatenate([np.stack([x[inside], y[inside]], axis=1), np.reshape(end, (-1, 2))])


def precision_recall_curve(ranking: Ranking) -> Points:
    """Corners (N, 2) of precision over recall, in the steps that average precision sums."""
    if not ranking.defined:
        return np.empty((0, 2))
    scores = ranking.anomalous
    first = np.flatnonzero(np.concatenate(([True], scores[1:] != scores[:-1])))[::-1]
    true = scores.size - first
    precision = true / (true + ranking.at_or_above[first].astype(np.int64))
    recall = true / scores.size
    start = np.concatenate(([0.0], recall[:-1]))
    return np.stack([np.stack([start, recall], axis=1).ravel(), np.repeat(precision, 2)], axis=1)


def thin(
    points: Points, low: tuple[float, float] = (0.0, 0.0), high: tuple[float, float] = (1.0, 1.0), cells: int = _GRID
) -> Points:
    """The first and the last of consecutive points in the same cell of a grid of `cells` x `cells`."""
    cell = np.floor((points - low) / np.subtract(high, low) * cells)
    changes = (cell[1:] != cell[:-1]).any(axis=1)
    keep = np.concatenate(([True], changes)) | np.concatenate((changes, [True]))
    chosen: Points = points[keep]
    return chosen
