"""The region of interest: one mask for a product, or one for each image, of the pixels that count."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.images import read_header
from bench.data.layout import Category, Sample
from bench.data.masks import read_region
from bench.errors import UsageError, counted

ReadRegion = Callable[[Path], NDArray[np.bool_]]


def within_region(category: Category, named: Path) -> Category:
    """The category with the region of each image, from `named`.

    It is a file, the region of all images, or a folder: of `CATEGORY.png`, the region of all images of a category, or
    of a file for each image under the image's own path, `CATEGORY/test/good/000.png`. Of two values the larger one
    counts. A defect image whose mask has no pixel in its region leaves the test, for nobody could find its defect
    there; a note says how many these are. A UsageError names a region that is missing or does not fit its image.
    """
    threshold = category.train[0].reading.mask_threshold
    read = cache(partial(read_region, threshold=threshold))
    train = tuple(_placed(sample, category.name, named, read) for sample in category.train)
    test = tuple(_placed(sample, category.name, named, read) for sample in category.test)
    seen = tuple(sample for sample in test if not _is_hidden(sample, read))
    notes = [*category.notes]
    if hidden := len(test) - len(seen):
        notes.append(
            f"{counted(hidden, 'defect image')} of {category.name} left out of the test: the defect lies outside the "
            "region"
        )
    return replace(category, train=train, test=seen, notes=tuple(notes))


def region_digest(category: Category) -> str | None:
    """SHA-256 of the one region of all images, or over those of each; None without regions."""
    samples = [sample for sample in (*category.train, *category.test) if sample.region is not None]
    found = [category.hashes[sample.region] for sample in samples if sample.region is not None]
    if len(set(found)) < 2:
        return found[0] if found else None
    lines = [f"{sample.relative} {digest}\n" for sample, digest in zip(samples, found, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def region_of_product(named: Path, category: str) -> Path | None:
    """The file of the region of all images, None where each has its own."""
    if not named.is_dir():
        return named
    path = named / f"{category}.png"
    return path if path.is_file() else None


def _placed(sample: Sample, category: str, named: Path, read: ReadRegion) -> Sample:
    path = next((path for path in _candidates(sample, category, named) if path.is_file()), None)
    if path is None:
        there = " nor ".join(str(path) for path in _candidates(sample, category, named))
        raise UsageError(f"no region of {sample.path}: {there} is not there; name a mask or a folder of masks")
    height, width = read(path).shape
    if (width, height) != (size := read_header(sample.path).size):
        raise UsageError(
            f"region {path} and {sample.path} differ in size: {width} x {height} and {size[0]} x {size[1]}; give the "
            "region its image's size"
        )
    return replace(sample, region=path)


def _candidates(sample: Sample, category: str, named: Path) -> Iterator[Path]:
    """Where the region of an image may lie."""
    if not named.is_dir():
        yield named
        return
    yield named / f"{category}.png"
    yield (named / sample.relative).with_suffix(".png")


def _is_hidden(sample: Sample, read: ReadRegion) -> bool:
    if sample.mask is None or sample.region is None:
        return False
    mask = sample.read_mask()
    return mask is not None and not (mask & read(sample.region)).any()
