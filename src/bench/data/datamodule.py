"""A category of MVTec AD, or of any folder in its layout, as a Lightning datamodule."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from bench.data.cache import Geometry, cache_folder, cached_images, cached_masks
from bench.data.images import read_mask
from bench.data.layout import Category, read_category
from bench.data.loading import Batch, BatchSampler, Draw, ImageDataset, TestDataset, make_loader
from bench.data.transforms import Augmentation
from bench.errors import UsageError


class DataSpec(NamedTuple):
    """What a model must know of its data when it is built."""

    size: int  # side of the square input in pixels
    channels: int  # 1 (grey) or 3
    train_images: int  # images in the statistics pass


class MVTecAD(LightningDataModule):
    """One category in the layout of MVTec AD.

    Args:
        category: name of the category's folder.
        seed: seed of the validation split, the order of training images and their augmentation.
        protocol: `model` scores pixels at the model's resolution, `full` at each mask's own.
        root: folder that holds the categories; without it the environment variable BENCH_DATA.
        image_size: side in pixels that images are resized to (antialiased bilinear).
        crop: side of the centre crop after resizing; null keeps all.
        validation_share: share of train/good that no method learns from: loss curves, early stopping, threshold.
        batch_size: images per step over all processes together.
        augment: whether training images are changed at random, within the category's symmetries.
        num_workers: loader processes per training process; matters only with augmentation.
        cache: folder of the decoded images; without it BENCH_CACHE or the user's cache folder.
    """

    def __init__(
        self,
        category: str,
        seed: int,
        protocol: Literal["model", "full"],
        *,
        root: str | None = None,
        image_size: int = 256,
        crop: int | None = None,
        validation_share: float = 0.1,
        batch_size: int = 32,
        augment: bool = False,
        num_workers: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        _check(image_size, crop, validation_share, batch_size, protocol)
        self.category_name = category
        self.seed = seed
        self.protocol = protocol
        self.root = root
        self.geometry = Geometry(image_size, crop)
        self.validation_share = validation_share
        self.batch_size = batch_size
        self.augment = augment
        self.num_workers = num_workers
        self.cache = Path(cache or cache_folder()) / "images"

    def find_root(self) -> Path:
        """The folder that holds the categories; a UsageError where none is named."""
        named = self.root or os.environ.get("BENCH_DATA")
        if not named:
            raise UsageError(
                "no data folder; name the one that holds the categories with --data.root or BENCH_DATA, "
                "or try --data synthetic"
            )
        return Path(named).expanduser()

    @cached_property
    def category(self) -> Category:
        """The category's files."""
        return read_category(self.find_root(), self.category_name)

    @property
    def official(self) -> bool:
        """Whether counts and sizes are those that MVTec published."""
        return not self.category.differences

    @property
    def masks_without_pixels(self) -> int:
        """Defect images whose mask is empty at the model's resolution or after the crop: defects without a region."""
        masks = self._test_dataset().masks
        if masks is None:
            return 0
        pairs = zip(np.load(masks, mmap_mode="r"), self.category.test, strict=True)
        return sum(sample.is_defect and not mask.any() for mask, sample in pairs)

    @cached_property
    def spec(self) -> DataSpec:
        """What a model must know when it is built."""
        return DataSpec(self.geometry.output, self.category.channels, len(self.training_indices))

    @cached_property
    def validation_indices(self) -> list[int]:
        """Places in train/good that no method learns from."""
        count = len(self.category.train)
        held_out = round(count * self.validation_share)
        if self.validation_share and not 0 < held_out < count:
            raise UsageError(
                f"--data.validation_share {self.validation_share} of {count} images leaves nothing on one side"
            )
        order = np.random.default_rng(self.seed).permutation(count)
        return sorted(order[:held_out].tolist())

    @cached_property
    def training_indices(self) -> list[int]:
        """Places in train/good that methods learn from."""
        return sorted(set(range(len(self.category.train))) - set(self.validation_indices))

    def prepare_data(self) -> None:
        """Fill the cache, on one process."""
        self._train_images()
        test = self._test_dataset()
        if test.masks is None:  # read one by one in the test: a damaged one must be known before a run begins
            for sample in self.category.test:
                if sample.mask is not None:
                    read_mask(sample.mask)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented where asked."""
        augmentation = Augmentation(self.category_name, self.seed) if self.augment else None
        sampler = BatchSampler(self.training_indices, self.batch_size, shuffle_seed=self.seed)
        return make_loader(ImageDataset(self._train_images(), augmentation), sampler, self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The held-out normal images; no loader where none are held out."""
        return self.ordered_train_loader(self.validation_indices) if self.validation_indices else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, each image once."""
        count = len(self.category.test)
        return make_loader(self._test_dataset(), BatchSampler(range(count), self.batch_size), 0)

    def test_batch(self, indices: list[int]) -> Batch:
        """A few test images, outside any loop."""
        return self._test_dataset()[Draw(indices, 0)]

    def ordered_train_loader(self, indices: list[int]) -> DataLoader[Batch]:
        """Images of train/good as they are, each once: for statistics and for held-out scores."""
        return make_loader(ImageDataset(self._train_images()), BatchSampler(indices, self.batch_size), 0)

    def _train_images(self) -> Path:
        return cached_images(self.category, self.category.train, self.geometry, self.cache)

    def _test_dataset(self) -> TestDataset:
        category = self.category
        images = cached_images(category, category.test, self.geometry, self.cache)
        model_size = self.protocol == "model"
        masks = cached_masks(category, category.test, self.geometry, self.cache) if model_size else None
        return TestDataset(images, masks, category.test, category.defect_types)


def _check(image_size: int, crop: int | None, validation_share: float, batch_size: int, protocol: str) -> None:
    if not 16 <= image_size <= 4096:
        raise UsageError(f"--data.image_size {image_size} does not lie between 16 and 4096")
    if crop is not None and not 16 <= crop <= image_size:
        raise UsageError(f"--data.crop {crop} does not lie between 16 and --data.image_size {image_size}")
    if not 0 <= validation_share < 1:
        raise UsageError(f"--data.validation_share {validation_share} does not lie in [0, 1)")
    if batch_size < 1:
        raise UsageError(f"--data.batch_size {batch_size} is not positive")
    if protocol == "full" and crop is not None:
        raise UsageError("--protocol full scores every pixel of the masks; it needs --data.crop null")
