"""The figures of scores against labels, of all test images or of a part of them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.layout import Sample
from bench.metrics.bootstrap import Interval, detection_intervals
from bench.metrics.image import image_metrics, image_metrics_by_defect
from bench.metrics.pixel import PixelResult
from bench.records.record import Metrics


class ScoreFigures(NamedTuple):
    """Metrics at a threshold, those of each defect type, and the intervals of those that have one."""

    metrics: Metrics
    metrics_by_defect: dict[str, Metrics]
    intervals: dict[str, Interval | None]


def score_figures(
    samples: Sequence[Sample],
    scores: NDArray[np.float64],
    threshold: float | None,
    localised: PixelResult | None,
    classes: Sequence[str],
) -> ScoreFigures:
    """The figures of scores (N,) of N samples; `classes` are the defect types by the indices of `localised`."""
    types = [sample.defect_type for sample in samples]
    metrics: Metrics = defined(image_metrics(scores, [sample.is_defect for sample in samples], threshold))
    found = image_metrics_by_defect(scores, types, threshold)
    by_defect = {name: defined(values) for name, values in found.items()}
    if localised is not None:
        metrics |= defined(localised.overall)
        for index, values in localised.by_defect.items():
            by_defect[classes[index]] |= defined(values)
    metrics["threshold"] = threshold
    return ScoreFigures(metrics, by_defect, detection_intervals(scores, types))


def mean_of_kinds(by_defect: Mapping[str, Metrics]) -> float | None:
    """The mean image AUROC of the kinds of defects, of which there are several, each against all good images."""
    values = [values["image_auroc"] for values in by_defect.values()]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) > 1 else None


def defined(metrics: Mapping[str, float]) -> Metrics:
    """The metrics, with null for those that are undefined on these data: JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}
