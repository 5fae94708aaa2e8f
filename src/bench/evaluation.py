"""From the scores of a test to the metrics of a record."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.datamodule import MVTecAD
from bench.data.layout import GOOD
from bench.errors import RunError
from bench.metrics.image import image_metrics, image_metrics_by_defect
from bench.models.base import Detector
from bench.record import Metrics


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one test."""

    scores: NDArray[np.float64]
    threshold: float
    metrics: Metrics
    metrics_by_defect: dict[str, Metrics]
    predictions: list[dict[str, str]]


def evaluate(model: Detector, data: MVTecAD) -> Evaluation:
    """Compute all metrics of the test that `model` has just gone through."""
    gathered, category = model.gathered, data.category
    assert gathered is not None, "evaluate before test"
    if gathered.indices.tolist() != list(range(len(category.test))):
        raise RunError(f"the test scored {len(gathered.indices)} images instead of each of {len(category.test)} once")
    scores = gathered.score.double().numpy()
    if not np.isfinite(scores).all():
        worst = category.test[int(np.argmin(np.isfinite(scores)))]
        raise RunError(f"the score of {worst.relative} is no finite number")
    threshold = float(model.threshold)
    types = [s.defect_type for s in category.test]
    labels = np.array([s.is_defect for s in category.test])
    metrics: Metrics = {**image_metrics(scores, labels, threshold)}
    found = image_metrics_by_defect(scores, types, threshold)
    by_defect: dict[str, Metrics] = {name: {**values} for name, values in found.items()}
    if model.localised is not None:
        metrics |= model.localised.overall
        for place, values in model.localised.by_defect.items():
            by_defect[category.defect_types[place]] |= values
    return Evaluation(scores, threshold, metrics, by_defect, _rows(model, data))


def _rows(model: Detector, data: MVTecAD) -> list[dict[str, str]]:
    assert model.gathered is not None
    rows = []
    for sample, score, logits in zip(data.category.test, model.gathered.score, model.gathered.logits, strict=True):
        rows.append(
            {
                "path": sample.relative,
                "sha256": data.category.hashes[sample.path],
                "defect_type": sample.defect_type,
                "label": str(int(sample.defect_type != GOOD)),
                # repr of a double: reading it back gives the very same number.
                "score": repr(float(score)),
                "logits": " ".join(repr(float(v)) for v in logits),
            }
        )
    return rows
