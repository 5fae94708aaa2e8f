"""Exact metrics of a classifier of defect types from raw logits; class 0 is the good image.

A metric that is not defined (no image of a class, none predicted) is nan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from bench.metrics.ranking import auroc, average_precision, rank

GOOD = 0
CALIBRATION_BINS = 15

Counts = NDArray[np.int64]
MetricArrays = dict[str, NDArray[np.float64]]


def classification_metrics(logits: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """Metrics of logits (N, K) against classes (N,): over all classes, and `image_*` for good against any defect.

    The predicted class has the largest logit; any class but 0 counts as a defect. AUROC and AP are those of
    `defect_score`. `balanced_accuracy` and `macro_f1` are means over the classes that occur in `targets`.
    """
    logits, targets = check_classification(logits, targets)
    confusion = confusion_matrix(logits.argmax(axis=1), targets, logits.shape[1])
    bins, gaps = calibration_gaps(logits, targets)
    score, defective = defect_score(logits), targets != GOOD
    ranking = rank(score[defective], score[~defective])
    return {
        **{name: float(value) for name, value in metrics_of_confusion(confusion).items()},
        "calibration_error": float(calibration_error(np.bincount(bins, gaps, CALIBRATION_BINS), targets.size)),
        "image_auroc": auroc(ranking),
        "image_ap": average_precision(ranking),
    }


def class_metrics(predicted: ArrayLike, targets: ArrayLike, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """`count`, `recall`, `precision` and `f1` of each class, good included, by name.

    `predicted` and `targets` (N,) are indices into `classes`. Precision is nan where the class is never predicted,
    recall where it has no image, F1 where both hold.
    """
    confusion = confusion_matrix(predicted, targets, len(classes))
    found = {"count": confusion.sum(axis=1), **class_metrics_of_confusion(confusion)}
    return {name: {key: float(value[i]) for key, value in found.items()} for i, name in enumerate(classes)}


def confusion_matrix(predicted: ArrayLike, targets: ArrayLike, classes: int) -> Counts:
    """Number of images (classes, classes) by true class, the row, and predicted class, the column."""
    predicted, targets = _check_classes(predicted, classes), _check_classes(targets, classes)
    if predicted.size != targets.size:
        raise ValueError(f"{predicted.size} predicted classes for {targets.size} images")
    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def defect_score(logits: ArrayLike) -> NDArray[np.float64]:
    """Log-odds (N,) of any defect: log Σ exp of the logits of all defects, minus that of good.

    With several types of defect it can be positive where good has the largest logit.
    """
    logits = np.asarray(logits, dtype=np.float64)
    score: NDArray[np.float64] = logsumexp(logits[:, GOOD + 1 :], axis=1) - logits[:, GOOD]
    return score


def metrics_of_confusion(confusion: Counts) -> MetricArrays:
    """The metrics of `classification_metrics` that confusion matrices (..., K, K) determine, each (...)."""
    by_class = class_metrics_of_confusion(confusion)
    kept, alarms = confusion[..., GOOD, GOOD], confusion[..., GOOD, 1:].sum(axis=-1)
    missed, found = confusion[..., 1:, GOOD].sum(axis=-1), confusion[..., 1:, 1:].sum(axis=(-2, -1))
    total = confusion.sum(axis=(-2, -1))
    occurs = confusion.sum(axis=-1) > 0
    recall = _ratio(found, found + missed)
    return {
        "accuracy": _ratio(_diagonal(confusion).sum(axis=-1), total),
        "balanced_accuracy": _mean(by_class["recall"], occurs),
        "macro_f1": _mean(by_class["f1"], occurs),
        "image_accuracy": _ratio(kept + found, total),
        "image_balanced_accuracy": (recall + _ratio(kept, kept + alarms)) / 2,
        "image_precision": _ratio(found, found + alarms),
        "image_recall": recall,
    }


def class_metrics_of_confusion(confusion: Counts) -> MetricArrays:
    """`recall`, `precision` and `f1` of each class from confusion matrices (..., K, K), each (..., K)."""
    right, true, called = _diagonal(confusion), confusion.sum(axis=-1), confusion.sum(axis=-2)
    return {"recall": _ratio(right, true), "precision": _ratio(right, called), "f1": _ratio(2 * right, true + called)}


def calibration_gaps(logits: NDArray[np.float64], targets: Counts) -> tuple[Counts, NDArray[np.float64]]:
    """The bin (N,) of each image by its top class's probability, and that probability minus 1 if the class is right."""
    probability = softmax(logits, axis=1).max(axis=1)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]  # not the outer two: a probability of 1 is in the last bin
    return np.digitize(probability, edges), probability - (logits.argmax(axis=1) == targets)


def calibration_error(gaps: NDArray[Any], images: int) -> NDArray[np.float64]:
    """Expected calibration error (...), L1, from sums of gaps by bin (..., CALIBRATION_BINS)."""
    return _ratio(np.abs(gaps).sum(axis=-1), np.asarray(images))


def check_classification(logits: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], Counts]:
    """Logits (N, K) and classes (N,) as arrays; a ValueError for other shapes or values."""
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    if logits.ndim != 2 or logits.shape[1] < 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits (N, K) of 2 classes or more and classes (N,), got {logits.shape}, {targets.shape}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite")
    return logits, _check_classes(targets, logits.shape[1])


def _check_classes(indices: ArrayLike, classes: int) -> Counts:
    indices = np.asarray(indices)
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"classes must be integers, got {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < classes:
        raise ValueError(f"classes must lie in 0 to {classes - 1}, got {indices.min()} to {indices.max()}")
    return indices.astype(np.int64)


def _diagonal(confusion: Counts) -> Counts:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of the chosen values along the last axis, nan where none is chosen."""
    return _ratio(np.where(chosen, values, 0).sum(axis=-1), chosen.sum(axis=-1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    ratio = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
