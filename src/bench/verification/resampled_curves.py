"""AUPRO as anomalib computed it up to 2.2: from one curve for each region, resampled by the index of its points.

Each region has its own ROC curve against all normal pixels, with a point for each distinct score. The points up to the
limit, and one interpolated there, are stretched by their index to as many points as the curve of all pixels has. The
mean over regions is sorted by its rate and integrated, and the area is divided by the rate of its last point before
that sorting. With few equal scores this is the exact AUPRO; with many, points of one index are of different rates, some
lie beyond the limit, and the figure may exceed 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from bench.verification.pixel_scores import PixelScores, Scores

MOST_POINTS = 300_000_000  # of all regions' curves together: some ten seconds
MOST_OF_A_CURVE = 5_000_000  # a dozen arrays of so many numbers are held
_CLOSE = 1e-8, 1e-5  # as near to the limit, absolutely or relatively, that no point is interpolated there

Curve = NDArray[np.float64]


class _Levels(NamedTuple):
    """Distinct normal scores, descending, down to the first beyond the limit, and the rate from each of them on."""

    scores: Scores
    rates: Curve


def aupro_of_resampled_curves(pixels: PixelScores, limit: float) -> float:
    """The area up to a false positive rate of `limit`; nan without points, or with too many to compute."""
    if not (pixels.anomalous.size and pixels.normals):
        return float("nan")
    levels = _levels(pixels, limit)
    above = pixels.anomalous[pixels.anomalous > levels.scores[-1]]
    points = 1 + np.union1d(levels.scores[:-1], above).size
    of_a_curve = points + levels.scores.size
    if points < 2 or of_a_curve > MOST_OF_A_CURVE or len(pixels.regions) * of_a_curve > MOST_POINTS:
        return float("nan")
    rates, overlaps = np.zeros(points), np.zeros(points)
    for region in pixels.regions:
        own_rates, own_overlaps = _resampled(*_curve(levels, np.sort(region)), limit, points)
        rates += own_rates
        overlaps += own_overlaps
    end, order = rates[-1], np.argsort(rates, kind="stable")
    return float(trapezoid(overlaps[order], rates[order]) / len(pixels.regions) / end) if end else float("nan")


def _levels(pixels: PixelScores, limit: float) -> _Levels:
    lowest = pixels.normal_score(pixels.normals_within(limit))
    parts = (pixels.normal_of_good, pixels.normal_of_defective)
    together = np.concatenate([part[np.searchsorted(part, np.float32(lowest)) :] for part in parts])
    scores, counts = np.unique(together, return_counts=True)
    return _Levels(scores[::-1], np.cumsum(counts[::-1]) / pixels.normals)


def _curve(levels: _Levels, region: Scores) -> tuple[Curve, Curve]:
    """Rates and overlaps of one region, its scores ascending, at each distinct score, from (0, 0) on."""
    own = np.unique(region)
    own = own[(own > levels.scores[-1]) & ~np.isin(own, levels.scores)][::-1]
    places = np.searchsorted(-levels.scores, -own)
    rates = np.insert(levels.rates, places, np.append(0.0, levels.rates)[places])
    scores = np.insert(levels.scores, places, own)
    overlaps = 1 - np.searchsorted(region, scores, side="left") / region.size
    return np.append(0.0, rates), np.append(0.0, overlaps)


def _resampled(rates: Curve, overlaps: Curve, limit: float, points: int) -> tuple[Curve, Curve]:
    """The points up to the limit as so many points, by their index; the last one lies at the limit."""
    kept = int(np.searchsorted(rates, limit, side="right"))
    if rates[kept - 1] == 0:  # no point but those of rate 0 lies within the limit: the next rate takes its place
        kept = int(np.searchsorted(rates, rates[kept], side="right"))
    index = np.arange(kept)
    wanted = np.arange(points, dtype=np.float64)
    inside = abs(rates[kept - 1] - limit) <= _CLOSE[0] + _CLOSE[1] * limit
    if not inside:
        index = np.append(index, np.searchsorted(rates, limit))
    places = index / index.max() * (points - 1)
    if not inside:
        beyond = index[-1]
        share = 1 - (rates[beyond] - limit) / (rates[beyond] - rates[beyond - 1])
        wanted[-1] = places[-2] + (places[-1] - places[-2]) * share
    return np.interp(wanted, places, rates[index]), np.interp(wanted, places, overlaps[index])
