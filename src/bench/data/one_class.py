"""The one-class split: learn from train/good, test on the test folder, as MVTec AD is laid out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.cache import cached_images, cached_masks
from bench.data.geometry import Content, Geometry
from bench.data.layout import Category, Sample
from bench.data.loading import ImageDataset, TestDataset
from bench.data.masks import marks_surroundings
from bench.data.saturation import NO_SATURATION, Saturations
from bench.data.transforms import Augmentation, RandomPose
from bench.errors import UsageError
from bench.phases import phase


@dataclass(frozen=True)
class OneClassSplit:
    """The split as images lie in their folders; with `random_pose`, each image has a pose of its own.

    `few` says that the number of training images was chosen, however small it is.
    """

    category: Category
    geometry: Geometry
    protocol: Literal["model", "full"]
    random_pose: bool
    seed: int
    cache: Path
    few: bool = False

    def prepare(self, *, augmented: bool) -> None:
        """Fill the cache; raise a UsageError for a mistake in the data."""
        self.train_dataset()
        if augmented:
            cached_images(self.category, self.category.train, self.geometry.uncropped, self.cache)
        if self.protocol == "full":  # read one by one in the test: a damaged one must be found before the run
            masked = [sample for sample in self.category.test if sample.mask is not None]
            with phase("checking masks", len(masked), "masks") as counted:
                for sample in masked:
                    sample.read_mask()
                    if self.saturation:
                        sample.read_defects(self.saturation)
                    counted.advance()
        with phase("checking masks"):
            self._check_inverted()

    def _check_inverted(self) -> None:
        """Refuse inverted masks: all masks of a type mark most of their images, borders included."""
        test = self.test_dataset()
        kinds: dict[tuple[str, str], list[int]] = {}
        for index, sample in enumerate(self.category.test):
            if sample.is_defect:
                kinds.setdefault((sample.product or self.category.name, sample.defect_type), []).append(index)
        for (product, defect_type), indices in sorted(kinds.items()):
            masks = (mask.numpy() for index in indices if (mask := test.mask(index)) is not None)
            if (marks := [marks_surroundings(mask) for mask in masks]) and all(marks):
                raise UsageError(
                    f"all masks of {product}/{defect_type} mark most of their image and its borders, as if "
                    "defects were black on white: turn their colours round"
                )

    def held_out(self, share: float) -> list[int]:
        """Indices of training images that no method learns from: those that are named, else a share of all.

        With `few`, the share may round to none.
        """
        if named := self.category.held_out:
            return [index for index, sample in enumerate(self.category.train) if sample.relative in named]
        count = len(self.category.train)
        held_out = round(count * share)
        if share and not (0 < held_out < count or (self.few and not held_out)):
            raise UsageError(f"--data.validation_share {share} of {count} images leaves nothing on one side")
        order = np.random.default_rng(self.seed).permutation(count)
        return sorted(order[:held_out].tolist())

    def train_dataset(self, augmentations: Sequence[Augmentation] | None = None) -> ImageDataset:
        """Images of train/good, changed by the first augmentation, that of good images."""
        # Images are moved before they are cropped, so that real pixels move in at the border of the crop.
        geometry = self.geometry.uncropped if augmentations else self._stored
        images = cached_images(self.category, self.category.train, geometry, self.cache)
        if augmentations:  # the boxes of moved images are unknown
            return ImageDataset(images, augmentations[0], self._pose("train"))
        return ImageDataset(images, None, self._pose("train"), self._content(self.category.train))

    def test_dataset(self, *, defects: bool = False) -> TestDataset:
        """The test folder with its masks; with `defects` those are told apart, where that is scored."""
        category = self.category
        images = cached_images(category, category.test, self._stored, self.cache)
        model_size = self.protocol == "model"
        masks = None
        if model_size and category.has_masks:
            masks = cached_masks(category, category.test, self._stored, self.cache)
        content = self._content(category.test)
        saturation = self.saturation if defects else NO_SATURATION
        types, pose = category.defect_types, self._pose("test")
        return TestDataset(images, masks, category.test, types, pose, content, saturation)

    @property
    def saturation(self) -> Saturations:
        """How much of each defect must be found, where that is scored: of whole images, in the masks' own size."""
        whole = self.protocol == "full" and not any(sample.region for sample in self.category.test)
        return self.category.saturation if whole else NO_SATURATION

    def _content(self, samples: Sequence[Sample]) -> list[Content] | None:
        """The part of each image's square that counts; None where that is all of it."""
        if self.geometry.aspect != "pad" and not any(sample.region for sample in samples):
            return None
        fitted: dict[Path | None, Tensor | None] = {None: None}
        for sample in samples:
            if sample.region not in fitted and (region := sample.read_region()) is not None:
                kept = self._stored.fit_region(region)
                fitted[sample.region] = torch.from_numpy(kept)
                if not kept.any():
                    raise UsageError(
                        f"region {sample.region} has no pixel left at the model's size; make it larger, or raise "
                        "--data.image_size"
                    )
        boxes = [self.geometry.content(self.category.headers[sample.path].size) for sample in samples]
        return [Content(box, fitted[sample.region]) for box, sample in zip(boxes, samples, strict=True)]

    @property
    def masks_without_pixels(self) -> int:
        """Number of defect images without a region: at the model's resolution or after the crop, the mask is empty."""
        test = self.test_dataset()
        if test.masks is None:
            return 0
        masks = (test.mask(i) for i, sample in enumerate(self.category.test) if sample.is_defect)
        return sum(mask is not None and not mask.any() for mask in masks)

    def _pose(self, split: Literal["train", "test"]) -> RandomPose | None:
        if not self.random_pose:
            return None
        samples = self.category.train if split == "train" else self.category.test
        seen: Counter[str] = Counter()
        numbers = []  # of each image in its own product: its pose is that of a run on the product alone
        for sample in samples:
            numbers.append(seen[sample.product])
            seen[sample.product] += 1
        return RandomPose(split, self.geometry.output, numbers)

    @property
    def _stored(self) -> Geometry:
        return self.geometry.uncropped if self.random_pose else self.geometry
