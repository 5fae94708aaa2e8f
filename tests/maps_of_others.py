"""Maps that somebody made of a fake category, and figures of them by independent, slow code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import auc

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Test:
    """The test images of a category with a map each; `defects` tells which images are defective."""

    __test__ = False

    names: list[str]  # bottle/test/good/000
    masks: list[Mask]
    maps: list[Values]

    @property
    def defects(self) -> NDArray[np.bool_]:
        return np.array(["/good/" not in name for name in self.names])

    def pooled(self) -> tuple[NDArray[np.bool_], Values]:
        """Labels and scores of all pixels; maps have the size of their masks."""
        return np.concatenate([m.ravel() for m in self.masks]), np.concatenate([v.ravel() for v in self.maps])

    def only(self, kept: NDArray[np.bool_]) -> "Test":
        chosen = np.flatnonzero(kept)
        return Test(*([each[i] for i in chosen] for each in (self.names, self.masks, self.maps)))

    def changed(self, of_map: Callable[[Values], Values]) -> "Test":
        return Test(self.names, self.masks, [of_map(values) for values in self.maps])


def make_maps(root: Path, category: str, make: Callable[[Mask, np.random.Generator], Values]) -> Test:
    """A map of each test image below `root/category`, made of its mask."""
    names, masks, maps = [], [], []
    rng = np.random.default_rng(0)
    for path in sorted((root / category / "test").rglob("*.png")):
        drawn = root / category / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        with Image.open(drawn if drawn.is_file() else path) as image:
            mask = np.asarray(image) > 127 if drawn.is_file() else np.zeros(image.size[::-1], np.bool_)
        names.append(path.relative_to(root).with_suffix("").as_posix())
        masks.append(mask)
        maps.append(make(mask, rng).astype(np.float32))
    return Test(names, masks, maps)


def write_tiffs(test: Test, folder: Path) -> Path:
    """The maps in the layout of MVTec's evaluation."""
    for name, values in zip(test.names, test.maps, strict=True):
        path = folder / f"{name}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return folder


def regions(test: Test) -> list[tuple[int, Mask]]:
    """Each region of each mask, with the index of its image."""
    found = []
    for index, mask in enumerate(test.masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        found += [(index, labels == number) for number in range(1, count + 1)]
    return found


def overlaps(test: Test, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positive rate and mean overlap of all regions where `score > threshold`, one threshold after the other."""
    labels, scores = test.pooled()
    own = [(test.maps[index][region]) for index, region in regions(test)]
    rates = [np.mean(scores[~labels] > threshold) for threshold in thresholds]
    found = [np.mean([np.mean(each > threshold) for each in own]) for threshold in thresholds]
    return np.array(rates), np.array(found)


def full_curve(test: Test) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve over all thresholds, from (0, 0) to (1, 1)."""
    _, scores = test.pooled()
    thresholds = np.unique(scores)[::-1].astype(np.float64)
    rates, found = overlaps(test, thresholds)
    return np.concatenate([rates, [1.0]]), np.concatenate([found, [1.0]])


def area_up_to(rates: NDArray[np.float64], found: NDArray[np.float64], limit: float) -> float:
    """The area under a curve up to a rate, cut on the straight line between two points."""
    cut = np.interp(limit, rates, found)
    kept = rates < limit
    return float(auc(np.append(rates[kept], limit), np.append(found[kept], cut)))


def by_steps(test: Test, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve at equally spaced thresholds, as repositories with ADer's function compute it."""
    _, scores = test.pooled()
    low, high = float(scores.min()), float(scores.max())
    return overlaps(test, np.arange(steps) * (high - low) / steps + low)
