"""Test images with the maps that others made of them: what is judged, and the passes over all maps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.layout import Sample
from bench.evaluation.passes import JudgedMask, add_pixels
from bench.metrics.pixel import GOOD, PixelMetrics
from bench.metrics.regions import label_regions
from bench.models.base import resize_map
from bench.phases import phase
from bench.verification.maps import AnomalyMaps, Values
from bench.verification.pixel_scores import PixelScores, Scores, sorted_pixels
from bench.verification.protocols import LIMITS, Mask, aupro_at_thresholds

_STEPS_OF_AN_IMAGE = 200


class MapValues(NamedTuple):
    """Maximum and mean (B,) of each map, and its size (height, width)."""

    maxima: NDArray[np.float64]
    means: NDArray[np.float64]
    sizes: list[tuple[int, int]]


@dataclass
class JudgedMaps:
    """The maps of the test images of a category, beside their masks; `types` are the defect types, good first."""

    samples: Sequence[Sample]
    types: Sequence[str]
    maps: AnomalyMaps
    _masks: dict[int, tuple[tuple[int, int], NDArray[np.uint8]]] = field(default_factory=dict)  # in bits: read once

    @property
    def has_masks(self) -> bool:
        """Whether pixels can be judged: some defect image has a mask."""
        return any(sample.mask is not None for sample in self.samples)

    def values(self) -> MapValues:
        """What is known of the maps without their masks; each is checked."""
        maxima, means, sizes = [], [], []
        for values in self._each("reading the maps"):
            maxima.append(float(values.max()))
            means.append(float(values.mean(dtype=np.float64)))
            sizes.append((values.shape[0], values.shape[1]))
        return MapValues(np.array(maxima), np.array(means), sizes)

    def has_resized(self, sizes: Sequence[tuple[int, int]]) -> bool:
        """Whether some map, of these sizes, has another size than its mask."""
        masks = (self.mask(index) for index in range(len(sizes)))
        return any(mask is not None and mask.shape != size for mask, size in zip(masks, sizes, strict=True))

    def collect(
        self,
        name: str,
        *,
        of_map: Callable[[Values], Values] | None = None,
        of_mask: Callable[[Mask, tuple[int, int]], Mask] | None = None,
    ) -> PixelScores:
        """The judged pixels, as the evaluation of a run gathers them: maps resized bilinearly to their masks.

        With `of_map`, each map is changed first. With `of_mask`, masks are brought to the size of their maps instead.
        """
        pixels = PixelMetrics(sync_on_compute=False)
        regions: list[Scores] = []
        by_image: dict[float, list[float]] = {limit: [] for limit in LIMITS.values()}
        for index, values in enumerate(self._each(name)):
            mask = self.mask(index)
            if mask is None:
                continue
            if of_mask is not None:
                mask = of_mask(mask, (values.shape[0], values.shape[1]))
            self._add(pixels, regions, by_image, index, values if of_map is None else of_map(values), mask)
        with phase(f"{name}: sorting the pixels"):
            return sorted_pixels(pixels, regions, by_image)

    def mask(self, index: int) -> Mask | None:
        """The mask (height, width) of a test image; None where its pixels are not judged."""
        if not self.has_masks:
            return None
        if index not in self._masks:
            mask = self.samples[index].read_mask()
            if mask is None:
                return None
            self._masks[index] = mask.shape, np.packbits(mask)
        shape, bits = self._masks[index]
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)

    def _add(
        self,
        pixels: PixelMetrics,
        regions: list[Scores],
        by_image: dict[float, list[float]],
        index: int,
        values: Values,
        mask: Mask,
    ) -> None:
        """Add one image's pixels, the scores of each of its regions, and its own AUPRO."""
        judged = JudgedMask(torch.from_numpy(mask), None)
        defect_type = torch.tensor(self.types.index(self.samples[index].defect_type))
        fitted = resize_map(torch.from_numpy(values), judged.mask.shape)
        add_pixels(pixels, fitted, judged, defect_type)
        if defect_type == GOOD or not mask.any():
            return
        labels, count = label_regions(mask)
        scores, region = fitted.numpy()[mask], labels[mask]
        regions += [scores[region == number] for number in range(1, count + 1)]
        alone = PixelMetrics(sync_on_compute=False)
        add_pixels(alone, fitted, judged, defect_type)
        own = sorted_pixels(alone, [], {})
        for limit, found in by_image.items():
            found.append(aupro_at_thresholds(own, _STEPS_OF_AN_IMAGE, limit, from_zero=True))

    def _each(self, name: str) -> Iterator[Values]:
        with phase(name, len(self.samples), "maps") as counted:
            for values in self.maps:
                yield values
                counted.advance()
