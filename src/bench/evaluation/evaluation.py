"""The metrics of a record, computed from the scores of a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.datamodule import DefectData
from bench.data.layout import Sample
from bench.data.products import SeveralProducts
from bench.errors import RunError
from bench.evaluation.passes import ScoredImages
from bench.evaluation.product_figures import product_figures
from bench.evaluation.score_figures import defined, mean_of_kinds, score_figures
from bench.metrics.bootstrap import Interval, classification_intervals
from bench.metrics.classification import class_metrics, classification_metrics, confusion_matrix
from bench.metrics.pixel import PixelResult
from bench.records.predictions import Predicted
from bench.records.record import ConfusionMatrix, Metrics, ProductRecord


class ProductThresholds(NamedTuple):
    """The thresholds of one product, from its own normal images: of images and of pixels; None where it has none."""

    image: float | None
    pixel: float | None


class TestedFold(NamedTuple):
    """A fold, or a run without folds, after its test."""

    data: DefectData
    scored: ScoredImages
    threshold: float | None  # None for classifiers, and where there were too few images to choose one
    localised: PixelResult | None
    thresholds: Mapping[str, ProductThresholds] | None = None  # of each product, where the model is for several
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
    products: dict[str, ProductRecord] | None = None

    def figures(self) -> dict[str, Any]:
        """The fields of a record that the evaluation fills, by name."""
        names = (
            "metrics",
            "metrics_by_defect",
            "intervals",
            "intervals_by_defect",
            "confusion",
            "map_range",
            "products",
        )
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
            sample.product,
        )
        for sample, score, one in zip(samples, scores, logits, strict=True)
    ]
    if folds[0].data.fold is not None:
        return _evaluate_classes(samples, scores, logits, folds[0].data.full_category.defect_types, rows)
    return _evaluate_scores(samples, scores, folds[0], rows)


def _evaluate_scores(
    samples: Sequence[Sample], scores: NDArray[np.float64], fold: TestedFold, rows: list[Predicted]
) -> Evaluation:
    labels = np.array([s.is_defect for s in samples])
    classes = fold.data.category.defect_types
    found = score_figures(samples, scores, fold.threshold, fold.localised, classes)
    if fold.data.category.saturation:
        found.metrics["image_auroc_of_kinds"] = mean_of_kinds(found.metrics_by_defect)
    heat = map_range(fold.scored.map_quantiles.double().numpy(), labels)
    return Evaluation(
        samples,
        scores,
        fold.threshold,
        found.metrics,
        found.metrics_by_defect,
        rows,
        found.intervals,
        map_range=heat,
        products=_products(fold, scores),
    )


def _products(fold: TestedFold, scores: NDArray[np.float64]) -> dict[str, ProductRecord] | None:
    if not isinstance(fold.data, SeveralProducts) or fold.thresholds is None:
        return None
    thresholds = {name: each.image for name, each in fold.thresholds.items()}
    return product_figures(fold.data, scores, fold.localised, thresholds, fold.threshold)


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
