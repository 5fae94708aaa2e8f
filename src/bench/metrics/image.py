"""Metrics of one raw score per image."""

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.ranking import auroc, average_precision, f1_max, operating_point, rank


def image_metrics(scores: ArrayLike, labels: ArrayLike, threshold: float | None) -> dict[str, float]:
    """Metrics of scores (B,) against labels (B,), true or 1 where the image is anomalous.

    `image_f1max` chooses its threshold with the labels; accuracy, balanced accuracy, precision and recall are those of
    `score > threshold`, and are left out without a threshold.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    anomalous, normal = scores[labels], scores[~labels]
    ranking = rank(anomalous, normal)
    metrics = {
        "image_auroc": auroc(ranking),
        "image_ap": average_precision(ranking),
        "image_f1max": f1_max(ranking).value,
    }
    if threshold is not None:
        decided = operating_point(normal, anomalous, threshold)
        metrics |= {f"image_{name}": value for name, value in decided._asdict().items()}
    return metrics


def image_metrics_by_defect(
    scores: ArrayLike, defect_types: ArrayLike, threshold: float | None
) -> dict[str, dict[str, float]]:
    """Metrics of scores (B,) for each defect type, by name; `defect_types` (B,) are names, `good` for a normal image.

    Positives are the images of the type, negatives all good images, so the mean over types is not the category's
    metric. `count` is the number of positives; `image_recall` is left out without a threshold.
    """
    scores, types = np.asarray(scores, dtype=np.float64), np.asarray(defect_types, dtype=str)
    good = scores[types == "good"]
    metrics = {}
    for name in sorted({*types.tolist()} - {"good"}):
        anomalous = scores[types == name]
        ranking = rank(anomalous, good)
        metrics[name] = {
            "count": float(anomalous.size),
            "image_auroc": auroc(ranking),
            "image_ap": average_precision(ranking),
        }
        if threshold is not None:
            metrics[name]["image_recall"] = operating_point(good, anomalous, threshold).recall
    return metrics
