"""Measure all images of a category: classes, sizes, number and area of defects, near-duplicates."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.category_folders import GOOD
from bench.data.describe.description import (
    DefectClass,
    Defects,
    Description,
    ImageFacts,
    Imbalance,
    NearDuplicates,
    Pair,
    Quantiles,
)
from bench.data.describe.giveaways import find_giveaways
from bench.data.geometry import Geometry
from bench.data.images import read_header
from bench.data.layout import Category, Sample
from bench.data.near_duplicates import SIDE, similar_pairs
from bench.metrics.ranking import auroc, rank
from bench.metrics.regions import region_sizes
from bench.processes import available_cores

_MOST_PAIRS = 100  # pairs that are named; a folder of copies has millions


class Measured(NamedTuple):
    """What was measured on some images, in their order."""

    facts: Sequence[ImageFacts]
    region_pixels: Sequence[NDArray[np.int64] | None]  # of each region; None without a mask
    small: NDArray[np.uint8]  # (N, SIDE, SIDE, channels)

    def ordered(self, order: Sequence[int]) -> "Measured":
        """The same images in another order."""
        return Measured([self.facts[i] for i in order], [self.region_pixels[i] for i in order], self.small[order])


class _Seen(NamedTuple):
    """What is measured on one image."""

    facts: ImageFacts
    region_pixels: NDArray[np.int64] | None  # of each region; None without a mask
    small: NDArray[np.uint8]  # (SIDE, SIDE, channels)


def describe_category(
    category: Category, dataset: str, seen_one: Callable[[], None] = lambda: None, *, is_synthetic: bool = False
) -> Description:
    """Describe a category, reading every image and mask once; `seen_one` is called after each image."""
    measured = measure((*category.train, *category.test), category.channels, seen_one)
    return describe_measured(category, dataset, measured, is_synthetic=is_synthetic)


def measure(samples: Sequence[Sample], channels: int, seen_one: Callable[[], None] = lambda: None) -> Measured:
    """Read every image and mask once; `seen_one` is called after each image."""
    images: list[ImageFacts] = []
    region_pixels: list[NDArray[np.int64] | None] = []
    small = np.empty((len(samples), SIDE, SIDE, channels), np.uint8)
    for index, seen in enumerate(_read(samples, channels)):
        images.append(seen.facts)
        region_pixels.append(seen.region_pixels)
        small[index] = seen.small
        seen_one()
    return Measured(images, region_pixels, small)


def describe_measured(
    category: Category, dataset: str, measured: Measured, *, is_synthetic: bool = False
) -> Description:
    """Describe a category whose images were measured, those of the training split first."""
    samples, images = (*category.train, *category.test), measured.facts
    trained = len(category.train)
    classes = tuple(_class(name, images, measured.region_pixels, trained) for name in category.defect_types)
    return Description(
        category=category.name,
        dataset=dataset,
        is_synthetic=is_synthetic,
        differences=category.differences,
        train=trained,
        test=len(category.test),
        masks=sum(sample.mask is not None for sample in samples),
        classes=classes,
        imbalance=_imbalance(classes),
        imbalance_of_defects=_imbalance([c for c in classes if c.name != GOOD]),
        near_duplicates=_near_duplicates(samples, trained, measured.small),
        brightness_auroc=_brightness_auroc(images[trained:]),
        giveaways=find_giveaways(images, trained),
        images=tuple(images),
    )


def sizes_of_regions(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels of each 8-connected region of a mask (H, W), smallest first."""
    if not mask.any():
        return np.zeros(0, np.int64)
    sizes, pixels = np.unique(region_sizes(mask), return_counts=True)
    regions: NDArray[np.int64] = np.repeat(sizes, pixels // sizes).astype(np.int64)
    return regions


def _read(samples: Sequence[Sample], channels: int) -> Iterator[_Seen]:
    """Measure in order, a few threads ahead, so that the full images are never all in memory."""
    threads = available_cores()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(samples), 8 * threads):
            yield from pool.map(lambda sample: _see(sample, channels), samples[start : start + 8 * threads])


def _see(sample: Sample, channels: int) -> _Seen:
    image = sample.read_image()
    small = Geometry(SIDE).apply(image, Image.Resampling.BILINEAR)
    pixels = np.asarray(small if channels == 1 else small.convert("RGB"))
    mask = sample.read_mask()
    regions = None if mask is None else sizes_of_regions(mask)
    grey = np.asarray(image.convert("L"))
    facts = ImageFacts(
        path=sample.relative,
        defect_type=sample.defect_type,
        size=f"{image.width} x {image.height}",
        mode=read_header(sample.path).mode,
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        border=_border(grey),
        bytes=sample.path.stat().st_size,
        area_share=None if mask is None else float(mask.mean()),
        regions=None if regions is None else len(regions),
    )
    return _Seen(facts, regions, pixels.reshape(SIDE, SIDE, channels))


def _border(grey: NDArray[np.uint8]) -> float:
    """The mean of the outermost twentieth of an image (H, W) on every side."""
    width = max(1, round(min(grey.shape) / 20))
    outer = np.ones(grey.shape, np.bool_)
    outer[width:-width, width:-width] = False
    return float(grey[outer].mean())


def _class(
    name: str, images: Sequence[ImageFacts], region_pixels: Sequence[NDArray[np.int64] | None], trained: int
) -> DefectClass:
    """Describe one class; the first `trained` images are those of the training split."""
    indices = [index for index, image in enumerate(images) if image.defect_type == name]
    own = [images[index] for index in indices]
    pixels = [found for index in indices if (found := region_pixels[index]) is not None]
    defects = None
    if name != GOOD and pixels:
        shares = [image.area_share for image in own if image.area_share is not None]
        regions = [image.regions for image in own if image.regions is not None]
        defects = Defects(
            area_share=_quantiles(shares),
            regions=sum(regions),
            regions_per_image=_quantiles(regions),
            region_pixels=_quantiles(np.concatenate(pixels)),
        )
    train = sum(index < trained for index in indices)
    return DefectClass(
        name=name,
        train=train,
        test=len(own) - train,
        sizes=_by_frequency(image.size for image in own),
        modes=_by_frequency(image.mode for image in own),
        defects=defects,
    )


def _by_frequency(words: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))


def _quantiles(numbers: Sequence[float] | NDArray[np.int64]) -> Quantiles:
    return Quantiles(float(np.min(numbers)), float(np.median(numbers)), float(np.max(numbers)))


def _imbalance(classes: Sequence[DefectClass]) -> Imbalance | None:
    if not classes:
        return None
    most, least = max(classes, key=lambda c: c.images), min(classes, key=lambda c: c.images)
    return Imbalance(most.images / least.images, most.name, least.name)


def _brightness_auroc(images: Sequence[ImageFacts]) -> float | None:
    brightness = np.array([image.brightness for image in images])
    defective = np.array([image.defect_type != GOOD for image in images], dtype=bool)
    area = auroc(rank(brightness[defective], brightness[~defective]))
    return None if np.isnan(area) else area


def _near_duplicates(samples: Sequence[Sample], train: int, small: NDArray[np.uint8]) -> NearDuplicates:
    first, second, correlation = similar_pairs(small)
    across = (first < train) != (second < train)
    order = np.lexsort((second, first, -correlation))[:_MOST_PAIRS]
    pairs = tuple(
        Pair(samples[first[i]].relative, samples[second[i]].relative, round(float(correlation[i]), 4), bool(across[i]))
        for i in order
    )
    return NearDuplicates(len(first), int(across.sum()), pairs)
