"""ROC and precision-recall curves: exact points, thinned to what a chart can show."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# scikit-learn gives the same points; its import would take longer than all else that is done with them.
Points = NDArray[np.float64]


class Curve(NamedTuple):
    """Points of a curve, from its left end to its right one."""

    x: Points
    y: Points


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> Curve | None:
    """Recall over false positive rate, from (0, 0) to (1, 1), at the corners alone: lines between them lose nothing.

    `scores` (B,) are raw, `labels` (B,) true where the image is anomalous; None where either kind is missing.
    """
    true, false = _positives(scores, labels)
    if true[-1] == 0 or false[-1] == 0:
        return None
    x, y = (np.concatenate(([0], counts)) for counts in (false, true))
    along, up = np.diff(x), np.diff(y)
    bends = along[:-1] * up[1:] != up[:-1] * along[1:]
    corners = np.concatenate(([True], bends, [True]))
    return Curve(x[corners] / false[-1], y[corners] / true[-1])


def precision_recall_curve(scores: ArrayLike, labels: ArrayLike) -> Curve | None:
    """Precision over recall at every distinct score, after the point (0, 1) of no image flagged.

    None where no image is anomalous.
    """
    true, false = _positives(scores, labels)
    if true[-1] == 0:
        return None
    return Curve(np.concatenate(([0.0], true / true[-1])), np.concatenate(([1.0], true / (true + false))))


def thin(curve: Curve, most: int) -> Curve:
    """At most so many of the points, both ends among them."""
    if len(curve.x) <= most:
        return curve
    kept = np.linspace(0, len(curve.x) - 1, most).round().astype(np.intp)
    return Curve(curve.x[kept], curve.y[kept])


def _positives(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false positives when each distinct score, the largest first, is the least that is flagged."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError("a curve needs scores, and all of them finite")
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    true = np.cumsum(labels[order], dtype=np.int64)
    return true[last_of_equals], np.cumsum(~labels[order], dtype=np.int64)[last_of_equals]
