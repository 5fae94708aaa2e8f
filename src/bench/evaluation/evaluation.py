"""The metrics of a record, computed from the scores of a test."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.datamodule import DefectData
from bench.data.layout import Sample
from bench.errors import RunError
from bench.evaluation.passes import ScoredImages
from bench.metrics.bootstrap import Interval, classification_intervals, detection_intervals
from bench.metrics.classification import class_metrics, classification_metrics, confusion_matrix
from bench.metrics.image import image_metrics, image_metrics_by_defect
from bench.metrics.pixel import PixelResult
from bench.records.predictions import Predicted
from bench.records.record import ConfusionMatrix, Metrics


class TestedFold(NamedTuple):
    """A fold, or a run without folds, after its test."""

    data: DefectData
    scored: ScoredImages
    threshold: float | None  # None for classifiers, and where there were too few images to choose one
    localised: PixelResult | None
    fit_seconds: float = 0.0
    test_seconds: float = 0.0
    saved_seconds: float = 0.0  # of both: features were read, and took so long where they were computed


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one test, over all its folds."""

    samples: Sequence[Sample]
    scores: NDArray[np.float64]
    threshold: float | None
    metrics: Metrics
    metrics_by_defect: dict[str, Metrics]
    predictions: list[Predicted]
    intervals: dict[str, Interval | None] = field(default_factory=dict)
    intervals_by_defect: dict[str, dict[str, Interval | None]] = field(default_factory=dict)
    confusion: ConfusionMatrix | None = None
    logits: NDArray[np.float64] | None = None  # (B, classes), of classifiers
    map_range: Interval | None = None

    def figures(self) -> dict[str, Any]:
        """The fields of a record that the evaluation fills, by name."""
        names = ("metrics", "metrics_by_defect", "intervals", "intervals_by_defect", "confusion", "map_range")
        return {name: getattr(self, name) for name in names}


def evaluate(folds: Sequence[TestedFold]) -> Evaluation:
    """Compute all metrics of a test; the predictions of several folds are pooled first."""
    samples = [sample for fold in folds for sample in fold.data.category.test]
    scores = np.concatenate([fold.scored.score.double().numpy() for fold in folds])
    logits = np.concatenate([fold.scored.logits.double().numpy() for fold in folds])
    for values, what in ((scores[:, None], "score"), (logits, "logit")):
        if not np.isfinite(values).all():
            worst = samples[int(np.argmin(np.isfinite(values).all(axis=1)))]
            raise RunError(f"the {what} of {worst.relative} is no finite number")
    hashes = folds[0].data.full_category.hashes
    rows = [
        Predicted(
            sample.relative,
            hashes[sample.path],
            sample.defect_type,
            sample.is_defect,
            float(score),
            tuple(one.tolist()),
        )
        for sample, score, one in zip(samples, scores, logits, strict=True)
    ]
    if folds[0].data.fold is not None:
        return _evaluate_classes(samples, scores, logits, folds[0].data.full_category.defect_types, rows)
    return _evaluate_scores(samples, scores, folds[0], rows)


def _evaluate_scores(
    samples: Sequence[Sample], scores: NDArray[np.float64], fold: TestedFold, rows: list[Predicted]
) -> Evaluation:
    types = [s.defect_type for s in samples]
    labels = np.array([s.is_defect for s in samples])
    metrics: Metrics = defined(image_metrics(scores, labels, fold.threshold))
    found = image_metrics_by_defect(scores, types, fold.threshold)
    by_defect = {name: defined(values) for name, values in found.items()}
    if fold.localised is not None:
        metrics |= defined(fold.localised.overall)
        for index, values in fold.localised.by_defect.items():
            by_defect[fold.data.category.defect_types[index]] |= defined(values)
    metrics["threshold"] = fold.threshold
    intervals = detection_intervals(scores, types)
    heat = map_range(fold.scored.map_quantiles.double().numpy(), labels)
    return Evaluation(samples, scores, fold.threshold, metrics, by_defect, rows, intervals, map_range=heat)


def _evaluate_classes(
    samples: Sequence[Sample],
    scores: NDArray[np.float64],
    logits: NDArray[np.float64],
    classes: Sequence[str],
    rows: list[Predicted],
) -> Evaluation:
    targets = np.array([classes.index(s.defect_type) for s in samples])
    predicted = logits.argmax(axis=1)
    intervals = classification_intervals(logits, targets, classes)
    confusion = ConfusionMatrix(
        classes=list(classes), counts=confusion_matrix(predicted, targets, len(classes)).tolist()
    )
    by_class = {name: defined(values) for name, values in class_metrics(predicted, targets, classes).items()}
    metrics = defined(classification_metrics(logits, targets))
    return Evaluation(
        samples, scores, None, metrics, by_class, rows, intervals.overall, intervals.by_class, confusion, logits
    )


def map_range(quantiles: NDArray[np.float64], defective: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The ends of the colour range of a run's heat maps, from median and maximum (N, 2) of each test image's map.

    The low end is the median of the medians. The high end is the median of the maxima, of defective images alone where
    there are any: half of these reach it, and no single image decides the colours of the others. None without maps.
    """
    if not quantiles.size:
        return None
    low = float(np.median(quantiles[:, 0]))
    high = float(np.median(quantiles[defective if defective.any() else slice(None), 1]))
    return low, max(high, float(np.nextafter(low, np.inf)))


def defined(metrics: Mapping[str, float]) -> Metrics:
    """The metrics, with null for those that are undefined on these data: JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}
