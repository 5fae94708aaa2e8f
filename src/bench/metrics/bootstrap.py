"""Intervals from a stratified bootstrap: how far metrics would move with other test images of the same kinds.

Images are drawn again with replacement within strata, the true classes, whose sizes the split fixes. An interval
covers the choice of test images; it does not cover seeds and other training images.

Percentiles need images and mistakes: a class without a mistake would have a recall of [1, 1], however few its images.
With 8 images and a true recall of .9 the interval would contain it in 54 of 100 cases. Therefore recall by class, a
binomial share, has Wilson's interval, which contains it in 96. Calibration error grows with noise and so with
resampling: its interval lies too high, and sometimes above the metric itself.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from bench.config.tracks import ONE_CLASS, SUPERVISED
from bench.metrics.classification import (
    CALIBRATION_BINS,
    GOOD,
    calibration_error,
    calibration_gaps,
    check_classification,
    class_metrics_of_confusion,
    defect_score,
    metrics_of_confusion,
)
from bench.metrics.ranking import Counts

CONFIDENCE = 0.95
NUMBER = 2000
_AT_ONCE = 2**16  # images drawn at once, so that their counts stay in the cache
ABSENT = -1  # in resamples: an image was drawn that this run did not predict; it counts nothing
ROUNDING = 1e-12  # .1 + .2 against .3 + 0 is no difference between two sums of recalls

Resamples = NDArray[np.intp]  # (R, N): the images of each of R resamples, ABSENT for one without a prediction
Interval = tuple[float, float]
Predictions = NDArray[Any]  # (N, ...)
Strata = NDArray[Any]  # (N,): the true classes
# A metric (R,) of each resample of predictions and their true classes.
Statistic = Callable[[Predictions, Strata, Resamples], NDArray[np.float64]]
# The same from the number of draws of each distinct score, ascending: of defective and normal images, (R, S) each.
CountStatistic = Callable[[Counts, Counts], NDArray[np.float64]]


class Intervals(NamedTuple):
    """Intervals by metric, over all images and by class; None for a metric that is not defined."""

    overall: dict[str, Interval | None]
    by_class: dict[str, dict[str, Interval | None]]


class Difference(NamedTuple):
    """A metric after minus the metric before, and its interval; nan where the metric is not defined."""

    value: float
    low: float
    high: float

    @property
    def larger_than_chance(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def resample(strata: ArrayLike, seed: int = 0, number: int = NUMBER) -> Resamples:
    """Draw N images `number` times, with replacement within strata (N,): each position keeps its stratum."""
    strata = np.asarray(strata)
    rng = np.random.default_rng(seed)
    rows = np.empty((number, strata.size), dtype=np.intp)
    for stratum in np.unique(strata):
        images = np.flatnonzero(strata == stratum)
        rows[:, images] = images[rng.integers(images.size, size=(number, images.size))]
    return rows


def percentile_interval(values: NDArray[np.float64]) -> Interval | None:
    """The middle `CONFIDENCE` of a metric (R,) over resamples, without those where it is nan; None if all are."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def classification_intervals(
    logits: ArrayLike, targets: ArrayLike, classes: Sequence[str], seed: int = 0, number: int = NUMBER
) -> Intervals:
    """The intervals of the supervised track, and those of recall, precision and F1 by the name of the class."""
    logits, targets = check_classification(logits, targets)
    if len(classes) != logits.shape[1]:
        raise ValueError(f"{len(classes)} names for {logits.shape[1]} classes")
    rows = resample(targets, seed, number)
    overall = {
        name: percentile_interval(CLASSIFICATION_STATISTICS[name](logits, targets, rows))
        for name in SUPERVISED.intervals
    }
    found = class_metrics_of_confusion(resampled_confusions(logits, targets, rows))
    by_class: dict[str, dict[str, Interval | None]] = {}
    for i, name in enumerate(classes):
        by_class[name] = {key: percentile_interval(values[:, i]) for key, values in found.items()}
        by_class[name]["recall"] = _share_interval(logits[targets == i].argmax(axis=1) == i)
    return Intervals(overall, by_class)


def _share_interval(right: NDArray[np.bool_]) -> Interval | None:
    """Wilson's interval of a share, as recall within a class is one; None without an image."""
    return share_interval(int(right.sum()), right.size)


def share_interval(count: int, of: int) -> Interval | None:
    """Wilson's interval of a binomial share `count / of`; None of nothing."""
    if not of:
        return None
    interval = binomtest(count, of).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


def detection_intervals(
    scores: ArrayLike, defect_types: ArrayLike, seed: int = 0, number: int = NUMBER
) -> dict[str, Interval | None]:
    """The intervals of the one-class track; `defect_types` (N,) are names, `good` for a normal image."""
    scores, types = np.asarray(scores, dtype=np.float64), np.asarray(defect_types, dtype=str)
    rows = resample(types, seed, number)
    return {name: percentile_interval(DETECTION_STATISTICS[name](scores, types, rows)) for name in ONE_CLASS.intervals}


def paired_difference(
    before: ArrayLike, after: ArrayLike, statistic: Statistic, strata: ArrayLike, seed: int = 0, number: int = NUMBER
) -> Difference:
    """Compare two predictions (N, ...) of the same images, resampled together, by one metric.

    For logits, `statistic` is one of `CLASSIFICATION_STATISTICS`, and the strata are the true classes. For scores, it
    is one of `DETECTION_STATISTICS`, and the strata are the names of the defect types. Others of that signature work.
    """
    before, after, strata = np.asarray(before), np.asarray(after), np.asarray(strata)
    if not len(before) == len(after) == len(strata):
        raise ValueError(f"{len(before)} and {len(after)} predictions for {len(strata)} images")

    def change(rows: Resamples) -> NDArray[np.float64]:
        return statistic(after, strata, rows) - statistic(before, strata, rows)

    return difference_of([change], strata, seed, number)


def difference_of(
    changes: Sequence[Callable[[Resamples], NDArray[np.float64]]],
    strata: ArrayLike,
    seed: int = 0,
    number: int = NUMBER,
) -> Difference:
    """The mean of `changes`, one for each seed, over images that are drawn once for all seeds, within strata (N,)."""
    strata = np.asarray(strata)

    def mean(rows: Resamples) -> NDArray[np.float64]:
        found = np.mean([change(rows) for change in changes], axis=0)
        return np.where(np.abs(found) < ROUNDING, 0, found)

    interval = percentile_interval(mean(resample(strata, seed, number)))
    value = float(mean(np.arange(len(strata))[None])[0])
    return Difference(value, *(interval or (float("nan"), float("nan"))))


def resampled_confusions(logits: ArrayLike, targets: ArrayLike, rows: Resamples) -> NDArray[np.int64]:
    """Confusion matrix (R, K, K) of each resample of logits (N, K) and classes (N,)."""
    logits, targets = check_classification(logits, targets)
    classes = logits.shape[1]
    cells = targets * classes + logits.argmax(axis=1)
    return _count(cells, rows, classes**2).reshape(-1, classes, classes)


def _confusion_statistic(name: str, logits: Predictions, targets: Strata, rows: Resamples) -> NDArray[np.float64]:
    return metrics_of_confusion(resampled_confusions(logits, targets, rows))[name]


def _calibration_error(logits: Predictions, targets: Strata, rows: Resamples) -> NDArray[np.float64]:
    bins, gaps = calibration_gaps(*check_classification(logits, targets))
    if (rows == ABSENT).any():
        raise ValueError("the calibration error of resamples takes predictions for all images")
    sums = np.bincount(_apart(bins, rows, CALIBRATION_BINS), gaps[rows].ravel(), len(rows) * CALIBRATION_BINS)
    return calibration_error(sums.reshape(-1, CALIBRATION_BINS), rows.shape[1])


def _count(cells: NDArray[np.int64], rows: Resamples, size: int) -> NDArray[np.int64]:
    """How many images (R, size) each resample draws of each cell, given the cell of each image (N,)."""
    with_absent = np.append(cells, size)  # ABSENT draws the last one
    counts = np.bincount(_apart(with_absent, rows, size + 1), minlength=len(rows) * (size + 1))
    return counts.reshape(len(rows), size + 1)[:, :size]


def _apart(cells: NDArray[np.int64], rows: Resamples, size: int) -> NDArray[np.int64]:
    """The cells (N,), below `size`, of all resampled images, offset so that no two resamples share a cell."""
    return (cells[rows] + size * np.arange(len(rows))[:, None]).ravel()


def _defect_statistic(
    statistic: CountStatistic, logits: Predictions, targets: Strata, rows: Resamples
) -> NDArray[np.float64]:
    logits, targets = check_classification(logits, targets)
    return _ranked(statistic, defect_score(logits), targets != GOOD, rows)


def _detection_statistic(
    statistic: CountStatistic, scores: Predictions, defect_types: Strata, rows: Resamples
) -> NDArray[np.float64]:
    return _ranked(statistic, scores, defect_types != "good", rows)


def _ranked(
    statistic: CountStatistic, scores: Predictions, defective: NDArray[np.bool_], rows: Resamples
) -> NDArray[np.float64]:
    """A metric of each resample, from the number of draws of each distinct score: one sort serves all resamples."""
    if scores.shape != defective.shape:
        raise ValueError(f"expected one score for each of {defective.size} images, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if defective.all() or not defective.any():
        return np.full(len(rows), np.nan)
    distinct, inverse = np.unique(scores, return_inverse=True)
    size = distinct.size
    counts = (
        _count(inverse + size * defective, part, 2 * size) for part in np.array_split(rows, -(-rows.size // _AT_ONCE))
    )
    return np.concatenate([statistic(found[:, size:], found[:, :size]) for found in counts])


def _auroc(anomalous: Counts, normal: Counts) -> NDArray[np.float64]:
    """`ranking.auroc` of counts (R, S) by ascending score."""
    pairs = anomalous.sum(axis=1) * normal.sum(axis=1)
    lost = (anomalous * (2 * _at_or_above(normal) - normal)).sum(axis=1)
    # Without an image of either kind it is not defined: a resample may draw none that a run predicted.
    share: NDArray[np.float64] = np.divide(lost, 2 * pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return 1 - share


def _average_precision(anomalous: Counts, normal: Counts) -> NDArray[np.float64]:
    """`ranking.average_precision` of counts (R, S) by ascending score."""
    true = _at_or_above(anomalous)
    precision = true / np.maximum(true + _at_or_above(normal), 1)  # no 0 / 0 where nothing is found
    gained = anomalous / np.maximum(anomalous.sum(axis=1, keepdims=True), 1) * precision
    found = anomalous > 0
    # Without the zeros between the terms, so that they are added in the same order, to the same bits.
    parts = np.split(gained[found], found.sum(axis=1).cumsum()[:-1])
    return np.array([part.sum() if part.size else np.nan for part in parts])


def _at_or_above(counts: Counts) -> Counts:
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1]


CLASSIFICATION_STATISTICS: Mapping[str, Statistic] = {
    "accuracy": partial(_confusion_statistic, "accuracy"),
    "balanced_accuracy": partial(_confusion_statistic, "balanced_accuracy"),
    "macro_f1": partial(_confusion_statistic, "macro_f1"),
    "image_accuracy": partial(_confusion_statistic, "image_accuracy"),
    "image_balanced_accuracy": partial(_confusion_statistic, "image_balanced_accuracy"),
    "image_precision": partial(_confusion_statistic, "image_precision"),
    "image_recall": partial(_confusion_statistic, "image_recall"),
    "calibration_error": _calibration_error,
    "image_auroc": partial(_defect_statistic, _auroc),
    "image_ap": partial(_defect_statistic, _average_precision),
}
DETECTION_STATISTICS: Mapping[str, Statistic] = {
    "image_auroc": partial(_detection_statistic, _auroc),
    "image_ap": partial(_detection_statistic, _average_precision),
}
