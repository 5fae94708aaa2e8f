"""All figures of a test: exact, and under every protocol that applies to its maps."""

import numpy as np
from numpy.typing import NDArray

from bench.metrics.image import image_metrics
from bench.metrics.pixel import pixel_metrics
from bench.phases import phase
from bench.verification.judged_maps import JudgedMaps, MapValues
from bench.verification.pixel_scores import PixelScores
from bench.verification.protocols import (
    OF_IMAGES,
    OF_MAPS,
    OF_MASKS,
    OF_PIXELS,
    OF_SCORES,
    Figures,
    ImageScores,
    image_score_maximum,
)

AND = " + "  # between the names of two protocols at once


def other_figures(
    judged: JudgedMaps, pixels: PixelScores | None, values: MapValues, scores: NDArray[np.float64]
) -> dict[str, Figures]:
    """The figures under each other protocol by its name; the two of a mask and of its pixels may come together.

    A protocol that changes nothing on these data is left out: a mask of its map's size, scores within [0, 1].
    """
    labels = np.array([sample.is_defect for sample in judged.samples], dtype=np.bool_)
    images = ImageScores(scores, labels, values.maxima, values.means)
    found = {each.name: each.apply(images) for each in OF_IMAGES}
    if np.array_equal(scores, values.maxima):
        found.pop(image_score_maximum.__name__)
    for of_scores in OF_SCORES:
        with phase(of_scores.name):
            own: Figures = {}
            if _leaves_unit_range(float(scores.min()), float(scores.max())):
                own |= image_metrics(of_scores.apply(scores), labels, None)
            if pixels is not None and _leaves_unit_range(*pixels.range):
                own |= _metrics(pixels.mapped(of_scores.apply))
            found |= {of_scores.name: own} if own else {}
    if pixels is None:
        return found
    with phase("figures of pixels under other protocols", len(OF_PIXELS), "protocols") as counted:
        for of_pixels in OF_PIXELS:
            found[of_pixels.name] = of_pixels.apply(pixels)
            counted.advance()
    for of_maps in OF_MAPS:
        found[of_maps.name] = _metrics(judged.collect(of_maps.name, of_map=of_maps.apply))
    return found | (_with_masks_resized(judged) if judged.has_resized(values.sizes) else {})


def _with_masks_resized(judged: JudgedMaps) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for of_masks in OF_MASKS:
        small = judged.collect(of_masks.name, of_mask=of_masks.apply)
        found[of_masks.name] = _metrics(small)
        found |= {f"{of_masks.name}{AND}{each.name}": each.apply(small) for each in OF_PIXELS}
    return found


def _leaves_unit_range(low: float, high: float) -> bool:
    return low < 0 or high > 1


def _metrics(pixels: PixelScores) -> Figures:
    return pixel_metrics(pixels.ranking, pixels.weights)
