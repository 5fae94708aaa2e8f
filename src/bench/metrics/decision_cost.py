"""The cost of decisions at a threshold, and the threshold that costs least on labelled images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROUNDING = 1e-12  # equal costs of other counts may differ in the last digit


@dataclass(frozen=True)
class Costs:
    """What a mistake costs, in one unit, and the share of bad parts at the line."""

    miss: float  # of a bad part that passes
    alarm: float  # of a good part that is stopped
    bad_share: float

    def expected(self, missed: ArrayLike, stopped: ArrayLike) -> NDArray[np.float64]:
        """The expected cost of a part, from the share of bad parts that pass and of good ones that are stopped."""
        bad = self.bad_share * self.miss * np.asarray(missed, dtype=np.float64)
        return bad + (1 - self.bad_share) * self.alarm * np.asarray(stopped, dtype=np.float64)


def expected_cost(normal: ArrayLike, anomalous: ArrayLike, threshold: float, costs: Costs) -> float:
    """The expected cost of a part where a score above the threshold is an alarm; nan without images of either kind."""
    good, bad = np.asarray(normal, dtype=np.float64), np.asarray(anomalous, dtype=np.float64)
    if not (good.size and bad.size):
        return float("nan")
    return float(costs.expected((bad <= threshold).mean(), (good > threshold).mean()))


def cheapest_threshold(normal: ArrayLike, anomalous: ArrayLike, costs: Costs) -> float:
    """The threshold of the lowest expected cost on these scores; of several the lowest, which misses least elsewhere.

    It is one of the scores, or just below all of them where it costs least to stop every part. It was chosen with the
    bad images, so its cost on them flatters it.
    """
    good, bad = (np.sort(np.asarray(each, dtype=np.float64)) for each in (normal, anomalous))
    if not (good.size and bad.size):
        raise ValueError("a cost takes scores of good and of bad parts")
    if not (np.isfinite(good).all() and np.isfinite(bad).all()):
        raise ValueError("scores must be finite")
    scores = np.unique(np.concatenate([good, bad]))
    thresholds = np.concatenate([[np.nextafter(scores[0], -np.inf)], scores])
    missed = np.searchsorted(bad, thresholds, side="right")
    stopped = good.size - np.searchsorted(good, thresholds, side="right")
    found = costs.expected(missed / bad.size, stopped / good.size)
    cheapest = found <= found.min() * (1 + _ROUNDING)
    return float(thresholds[cheapest][0])
