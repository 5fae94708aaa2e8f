"""The figures of each product that one model is for, on its own test images alone."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.data.products import SeveralProducts
from bench.evaluation.score_figures import defined, mean_of_kinds, score_figures
from bench.metrics.image import image_metrics
from bench.metrics.pixel import PixelResult
from bench.records.record import ProductRecord

# Decisions that are told at the threshold for all products as well, by the names that they have there.
_FOR_ALL = {name: f"{name}_for_all" for name in ("image_accuracy", "image_balanced_accuracy")}


def product_figures(
    data: SeveralProducts,
    scores: NDArray[np.float64],
    localised: PixelResult | None,
    thresholds: Mapping[str, float | None],
    for_all: float | None,
) -> dict[str, ProductRecord]:
    """The figures of each product from the scores (N,) of all test images.

    Args:
        data: all products.
        scores: of the test images, in their order.
        localised: the figures of their pixels; None where there are none.
        thresholds: the threshold of each product, from its own normal images.
        for_all: the threshold that is the same for all.
    """
    owners = np.array([sample.product for sample in data.category.test], dtype=object)
    found = {}
    for name, alone in data.named:
        own = np.flatnonzero(owners == name)
        samples = [data.category.test[index] for index in own.tolist()]
        pixels = None if localised is None or localised.by_product is None else localised.by_product.get(name)
        figures = score_figures(samples, scores[own], thresholds[name], pixels, data.category.defect_types)
        if alone.full_category.saturation:
            figures.metrics["image_auroc_of_kinds"] = mean_of_kinds(figures.metrics_by_defect)
        if for_all is not None:
            decided = defined(image_metrics(scores[own], [sample.is_defect for sample in samples], for_all))
            figures.metrics.update({alias: decided[metric] for metric, alias in _FOR_ALL.items()})
        found[name] = ProductRecord(
            digest=alone.full_category.digest,
            counts=data.counts_of(name),
            validation_images=len(alone.validation_indices),
            differences=alone.differences,
            metrics=figures.metrics,
            metrics_by_defect=figures.metrics_by_defect,
            intervals=figures.intervals,
        )
    return found
