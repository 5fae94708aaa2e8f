"""Exact metrics of binary detection from two sets of raw scores, with one sort of the normal ones.

A score is raw and unbounded, and larger means more anomalous. Equal scores are one threshold. A metric that is not
defined (no normal score, no anomalous one) is nan.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Ranking:
    """P anomalous scores, ascending, and how many of the normal scores lie above and at or above each."""

    anomalous: Scores
    above: Counts
    at_or_above: Counts
    normals: int

    def __add__(self, other: "Ranking") -> "Ranking":
        """The same anomalous scores among the normal scores of both."""
        if not np.array_equal(self.anomalous, other.anomalous):
            raise ValueError("only rankings of the same anomalous scores can be added")
        return Ranking(
            self.anomalous,
            np.add(self.above, other.above, dtype=np.int64),
            np.add(self.at_or_above, other.at_or_above, dtype=np.int64),
            self.normals + other.normals,
        )

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Ranking":
        """The chosen (P,) anomalous scores among the same normal scores."""
        return Ranking(self.anomalous[chosen], self.above[chosen], self.at_or_above[chosen], self.normals)

    @property
    def defined(self) -> bool:
        """Whether there is at least one normal and one anomalous score."""
        return self.normals > 0 and self.anomalous.size > 0


class F1Max(NamedTuple):
    """The largest F1 over all thresholds, and a threshold that reaches it when `score > threshold` is anomalous."""

    value: float
    threshold: float


class OperatingPoint(NamedTuple):
    """The metrics at one threshold; precision is nan where nothing is called anomalous."""

    accuracy: float
    balanced_accuracy: float
    precision: float
    recall: float


def rank(anomalous: Scores, normal: Scores) -> Ranking:
    """Rank the anomalous scores (P,) among the normal scores (N,), which are sorted in place: N may be 10^8."""
    normal.sort()
    if not np.all(anomalous[1:] >= anomalous[:-1]):  # so that rankings of one ascending array share it
        anomalous = np.sort(anomalous)
    for ordered in (normal, anomalous):
        _require_finite(ordered[[0, -1]] if ordered.size else ordered)  # sorting puts -inf first, inf and nan last
    at_or_below = np.searchsorted(normal, anomalous, side="right")
    below = np.searchsorted(normal, anomalous, side="left")
    return Ranking(anomalous, _rest(normal.size, at_or_below), _rest(normal.size, below), normal.size)


def auroc(ranking: Ranking) -> float:
    """Area under the ROC curve: the share of (normal, anomalous) pairs in the right order, ties counting one half."""
    if not ranking.defined:
        return float("nan")
    pairs = ranking.normals * ranking.anomalous.size
    return 1 - (int(ranking.above.sum()) + int(ranking.at_or_above.sum())) / (2 * pairs)


def average_precision(ranking: Ranking) -> float:
    """Average precision, the step integral of precision over recall."""
    if not ranking.defined:
        return float("nan")
    _, true, false = _positives(ranking)
    gained = -np.diff(true, append=0)
    return float(np.sum(gained / ranking.anomalous.size * (true / (true + false))))


def f1_max(ranking: Ranking) -> F1Max:
    """The largest F1 over all thresholds: an oracle, since it is chosen with the labels."""
    if not ranking.defined:
        return F1Max(float("nan"), float("nan"))
    thresholds, true, false = _positives(ranking)
    f1 = 2 * true / (true + false + ranking.anomalous.size)
    best = int(np.argmax(f1))
    return F1Max(float(f1[best]), float(np.nextafter(thresholds[best], -np.inf)))


def operating_point(normal: Scores, anomalous: Scores, threshold: float) -> OperatingPoint:
    """The metrics of the decision `score > threshold`, compared with the truth for every score."""
    for values in (normal, anomalous, np.asarray(threshold)):
        _require_finite(values)
    # A float64 scalar: a plain float would be rounded to the type of float32 scores before the comparison.
    exact = np.float64(threshold)
    true, false = int(np.sum(anomalous > exact)), int(np.sum(normal > exact))
    recall, specificity = _ratio(true, anomalous.size), _ratio(normal.size - false, normal.size)
    return OperatingPoint(
        accuracy=_ratio(true + normal.size - false, anomalous.size + normal.size),
        balanced_accuracy=(recall + specificity) / 2,
        precision=_ratio(true, true + false),
        recall=recall,
    )


def _positives(ranking: Ranking) -> tuple[Scores, Counts, Counts]:
    """The distinct anomalous scores, and the true and false positives when each is the lowest positive score."""
    scores = ranking.anomalous
    first = np.flatnonzero(np.concatenate(([True], scores[1:] != scores[:-1])))
    return scores[first], scores.size - first, ranking.at_or_above[first]


def _rest(total: int, counts: Counts) -> Counts:
    """The total minus the counts, in the smallest type: one ranking per block of scores waits to be added."""
    return np.subtract(total, counts, out=counts).astype(np.min_scalar_type(total))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _require_finite(scores: NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("scores and thresholds must be finite")
