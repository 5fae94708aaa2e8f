"""The supervised split: all images of a category, good and defective, dealt into folds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.cache import cached_images
from bench.data.folds import assign_folds, choose_per_class, stratify
from bench.data.geometry import Geometry
from bench.data.layout import Category, Sample
from bench.data.loading import Batch, BatchIndices, ImageDataset
from bench.data.near_duplicates import SIDE, near_duplicates
from bench.data.transforms import Augmentation


@dataclass(frozen=True)
class LabelledSplit:
    """Folds of a category: stratified by defect type, near-duplicates kept together.

    The seed draws at most `per_class` images of each type (None takes all), and deals the folds.
    """

    full_category: Category
    folds: int
    per_class: int | None
    seed: int
    cache: Path

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The images that are used, those of train/good first."""
        return tuple(self._pooled[index] for index in self._chosen)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The defect types of `samples`."""
        return tuple(sample.defect_type for sample in self.samples)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The near-duplicate groups (N,) of `samples`, found among all images of the category."""
        images = np.load(cached_images(self.full_category, self._pooled, Geometry(SIDE), self.cache), mmap_mode="r")
        return near_duplicates(images)[self._chosen]

    @cached_property
    def assignment(self) -> NDArray[np.int64]:
        """The fold (N,) that tests each of `samples`."""
        return assign_folds(self.types, self.groups, self.folds, self.seed)

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        found = Counter(self.types)
        return {name: found[name] for name in self.full_category.defect_types}

    def rows(self, fold: int, *, tested: bool) -> NDArray[np.int64]:
        """Indices in `samples` of the images that a fold tests, or of those that it learns from."""
        return np.flatnonzero((self.assignment == fold) == tested)

    @cached_property
    def _pooled(self) -> tuple[Sample, ...]:
        named = self.full_category.held_out  # never learned from, in any fold
        return (*(s for s in self.full_category.train if s.relative not in named), *self.full_category.test)

    @cached_property
    def _chosen(self) -> list[int]:
        return choose_per_class([sample.defect_type for sample in self._pooled], self.per_class, self.seed)


@dataclass(frozen=True)
class LabelledFold:
    """One fold: learn from the images of all others, test on its own; `all` tests on those of every fold."""

    split: LabelledSplit
    fold: int | Literal["all"]
    geometry: Geometry

    @cached_property
    def category(self) -> Category:
        """The fold as a category: `train` holds the other folds' images, of all types."""
        samples = self.split.samples
        learned, tested = (tuple(samples[i] for i in self._rows(tested=part)) for part in (False, True))
        return self.split.full_category.part(learned, tested)

    @property
    def masks_without_pixels(self) -> int:
        """0: classifiers are tested without masks."""
        return 0

    def prepare(self, *, augmented: bool) -> None:
        """Fill the cache; raise a UsageError for a mistake in the data."""
        _ = self.split.assignment
        self._images(augmented=False)
        if augmented:
            self._images(augmented=True)

    def held_out(self, share: float) -> list[int]:
        """Indices in `train` for validation: stratified, near-duplicates together, no class loses all its images."""
        if not share:
            return []
        rows = self._rows(tested=False)
        types, groups = [self.split.types[row] for row in rows], self.split.groups[rows]
        chosen = np.flatnonzero(stratify(types, groups, max(2, round(1 / share)), self.split.seed) == 0)
        left, kept = Counter(types), []
        for index in chosen.tolist():
            if left[types[index]] > 1:
                left[types[index]] -= 1
                kept.append(index)
        return kept

    def train_dataset(self, augmentations: Sequence[Augmentation] | None = None) -> ImageDataset:
        """The training images, with an augmentation for each class."""
        return self._dataset(tested=False, augmentations=augmentations)

    def test_dataset(self) -> ImageDataset:
        """The test images."""
        return self._dataset(tested=True)

    def _dataset(self, *, tested: bool, augmentations: Sequence[Augmentation] | None = None) -> ImageDataset:
        rows, classes = self._rows(tested=tested), self.category.defect_types
        targets = [classes.index(self.split.types[row]) for row in rows]
        return LabelledDataset(self._images(augmented=augmentations is not None), rows, targets, augmentations)

    def _images(self, *, augmented: bool) -> Path:
        # Images are moved before they are cropped, as in the one-class split.
        geometry = self.geometry.uncropped if augmented else self.geometry
        return cached_images(self.split.full_category, self.split.samples, geometry, self.split.cache)

    def _rows(self, *, tested: bool) -> NDArray[np.int64]:
        if self.fold == "all":
            return np.arange(len(self.split.samples)) if tested else np.arange(0)
        return np.flatnonzero((self.split.assignment == self.fold) == tested)


class LabelledDataset(ImageDataset):
    """Images of all classes with their class, each augmented by the policy of its class."""

    def __init__(
        self,
        images: Path,
        rows: NDArray[np.int64],
        targets: Sequence[int],
        augmentations: Sequence[Augmentation] | None = None,
    ) -> None:
        super().__init__(images)
        self.rows = rows
        self.targets = torch.tensor(targets)
        self.augmentations = augmentations

    def __getitem__(self, draw: BatchIndices) -> Batch:
        images = np.load(self.images, mmap_mode="r")[self.rows[draw.indices]]
        targets = self.targets[draw.indices]
        if self.augmentations is not None and draw.positions:
            each = zip(images, targets.tolist(), draw.positions, strict=True)
            images = np.stack([self.augmentations[t](image, (draw.epoch, position)) for image, t, position in each])
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor(draw.indices), targets)
