"""The one-class split: learn from train/good, test on the test folder, as MVTec AD is laid out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.cache import cached_images, cached_masks
from bench.data.geometry import Box, Geometry
from bench.data.layout import Category, Sample
from bench.data.loading import ImageDataset, TestDataset
from bench.data.masks import marks_surroundings
from bench.data.transforms import Augmentation, RandomPose
from bench.errors import UsageError


@dataclass(frozen=True)
class OneClassSplit:
    """The split as images lie in their folders; with `random_pose`, each image has a pose of its own."""

    category: Category
    geometry: Geometry
    protocol: Literal["model", "full"]
    random_pose: bool
    seed: int
    cache: Path

    def prepare(self, *, augmented: bool) -> None:
        """Fill the cache; raise a UsageError for a mistake in the data."""
        self.train_dataset()
        if augmented:
            cached_images(self.category, self.category.train, self.geometry.whole, self.cache)
        if self.protocol == "full":  # read one by one in the test: a damaged one must be found before the run
            for sample in self.category.test:
                if sample.mask is not None:
                    sample.read_mask()
        self._check_inverted()

    def _check_inverted(self) -> None:
        """Refuse inverted masks: all masks of a type mark most of their images, borders included."""
        test = self.test_dataset()
        for defect_type in self.category.defect_types[1:]:
            places = [i for i, sample in enumerate(self.category.test) if sample.defect_type == defect_type]
            masks = (mask.numpy() for place in places if (mask := test.mask(place)) is not None)
            if (marks := [marks_surroundings(mask) for mask in masks]) and all(marks):
                raise UsageError(
                    f"all masks of {self.category.name}/{defect_type} mark most of their image and its borders, as if "
                    "defects were black on white: turn their colours round"
                )

    def held_out(self, share: float) -> list[int]:
        """Indices in train/good that no method learns from."""
        count = len(self.category.train)
        held_out = round(count * share)
        if share and not 0 < held_out < count:
            raise UsageError(f"--data.validation_share {share} of {count} images leaves nothing on one side")
        order = np.random.default_rng(self.seed).permutation(count)
        return sorted(order[:held_out].tolist())

    def train_dataset(self, augmentations: Sequence[Augmentation] | None = None) -> ImageDataset:
        """Images of train/good, changed by the first augmentation, that of good images."""
        # Images are moved before they are cropped, so that real pixels move in at the border of the crop.
        geometry = self.geometry.whole if augmentations else self._stored
        images = cached_images(self.category, self.category.train, geometry, self.cache)
        if augmentations:  # the boxes of moved images are unknown
            return ImageDataset(images, augmentations[0], self._pose("train"))
        return ImageDataset(images, None, self._pose("train"), self._content(self.category.train))

    def test_dataset(self) -> TestDataset:
        """The test folder with its masks."""
        category = self.category
        images = cached_images(category, category.test, self._stored, self.cache)
        model_size = self.protocol == "model"
        masks = None
        if model_size and category.has_masks:
            masks = cached_masks(category, category.test, self._stored, self.cache)
        content = self._content(category.test)
        return TestDataset(images, masks, category.test, category.defect_types, self._pose("test"), content)

    def _content(self, samples: Sequence[Sample]) -> list[Box] | None:
        """The box of each image in its square; None without padding."""
        if self.geometry.aspect != "pad":
            return None
        return [self.geometry.content(self.category.headers[sample.path].size) for sample in samples]

    @property
    def masks_without_pixels(self) -> int:
        """Number of defect images without a region: at the model's resolution or after the crop, the mask is empty."""
        test = self.test_dataset()
        if test.masks is None:
            return 0
        masks = (test.mask(i) for i, sample in enumerate(self.category.test) if sample.is_defect)
        return sum(mask is not None and not mask.any() for mask in masks)

    def _pose(self, split: Literal["train", "test"]) -> RandomPose | None:
        return RandomPose(split, self.geometry.output) if self.random_pose else None

    @property
    def _stored(self) -> Geometry:
        return self.geometry.whole if self.random_pose else self.geometry
