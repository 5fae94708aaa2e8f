"""A category of MVTec AD, or of any folder in its layout, as a Lightning datamodule."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from bench.data.cache import Geometry, cache_folder, cached_images, cached_masks
from bench.data.facts import mvtec_categories
from bench.data.images import read_mask
from bench.data.layout import Category, read_category
from bench.data.loading import Batch, BatchSampler, Draw, ImageDataset, TestDataset, make_loader
from bench.data.transforms import Augmentation, Policy, RandomPose
from bench.errors import UsageError


class DataSpec(NamedTuple):
    """What a model must know of its data when it is built."""

    size: int  # side of the square input in pixels
    channels: int  # 1 (grey) or 3
    train_images: int  # images in the statistics pass
    patch: int | None = None  # side of the patches of a texture that training sees; None: whole images
    aligned: bool = False  # whether the object always lies in the same place


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
        augmentation: how training images are changed at random (see `bench.data.transforms.Augmentation`).
        samples_per_epoch: images drawn per training epoch, however many there are; null takes each once.
        texture_patch: side in pixels of the random patches that training sees of textures; null: whole images.
        random_pose: rotate within 10 degrees and crop at random all images, of the test too (PaDiM's Rd-MVTec).
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
        augmentation: Policy = "none",
        samples_per_epoch: int | None = None,
        texture_patch: int | None = None,
        random_pose: bool = False,
        num_workers: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        _check_geometry(image_size, crop, texture_patch, protocol)
        _check_draws(validation_share, batch_size, samples_per_epoch)
        if random_pose and crop is None:
            raise UsageError("--data.random_pose true crops at random: set --data.crop to the side that is kept")
        self.category_name = category
        self.seed = seed
        self.protocol = protocol
        self.root = root
        self.geometry = Geometry(image_size, crop)
        self.validation_share = validation_share
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.samples_per_epoch = samples_per_epoch
        self.texture_patch = texture_patch
        self.random_pose = random_pose
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
        """Whether counts, sizes and poses are those that MVTec published."""
        return not self.differences

    @property
    def differences(self) -> list[str]:
        """What is not as MVTec published it, in words."""
        posed = ["images rotated within 10 degrees and cropped at random"] if self.random_pose else []
        return [*self.category.differences, *posed]

    @property
    def masks_without_pixels(self) -> int:
        """Defect images whose mask is empty at the model's resolution or after the crop: defects without a region."""
        test = self._test_dataset()
        if test.masks is None:
            return 0
        return sum(sample.is_defect and not test.mask(i).any() for i, sample in enumerate(self.category.test))

    @cached_property
    def spec(self) -> DataSpec:
        """What a model must know when it is built."""
        facts, size = mvtec_categories().get(self.category_name), self.geometry.output
        patch = self.texture_patch if facts and facts.group == "texture" else None
        if patch and patch > size:
            raise UsageError(f"--data.texture_patch {patch} is larger than the {size} pixels of an image")
        aligned = bool(facts and facts.aligned) and not self.random_pose
        return DataSpec(size, self.category.channels, len(self.training_indices), patch, aligned)

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
        self._train_dataset()
        if self.augmentation != "none" or self.spec.patch:
            self.train_dataloader()
        test = self._test_dataset()
        if test.masks is None:  # read one by one in the test: a damaged one must be known before a run begins
            for sample in self.category.test:
                if sample.mask is not None:
                    read_mask(sample.mask)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented and cut into patches where asked."""
        sampler = BatchSampler(
            self.training_indices, self.batch_size, shuffle_seed=self.seed, samples=self.samples_per_epoch
        )
        if self.augmentation == "none" and self.spec.patch is None:
            return make_loader(self._train_dataset(), sampler, self.num_workers)
        augmentation = Augmentation(
            self.augmentation,
            self.category_name,
            self.seed,
            size=self.geometry.size,
            channels=self.category.channels,
            crop=self.geometry.crop,
            patch=self.spec.patch,
        )
        return make_loader(self._train_dataset(augmentation), sampler, self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The held-out normal images; no loader where none are held out."""
        return self.ordered_train_loader(self.validation_indices) if self.validation_indices else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, each image once."""
        count = len(self.category.test)
        return make_loader(self._test_dataset(), BatchSampler(range(count), self.batch_size), 0)

    def test_batch(self, indices: list[int]) -> Batch:
        """A few test images, outside any loop."""
        return self._test_dataset()[Draw(indices)]

    def ordered_train_loader(self, indices: list[int]) -> DataLoader[Batch]:
        """Images of train/good as they are, each once: for statistics and for held-out scores."""
        return make_loader(self._train_dataset(), BatchSampler(indices, self.batch_size), 0)

    def _train_dataset(self, augmentation: Augmentation | None = None) -> ImageDataset:
        # What moves an image is cropped afterwards, so that nothing moves in from beyond a border that was no border.
        geometry = self._whole if augmentation else self._stored
        images = cached_images(self.category, self.category.train, geometry, self.cache)
        return ImageDataset(images, augmentation, self._pose("train"))

    def _test_dataset(self) -> TestDataset:
        category = self.category
        images = cached_images(category, category.test, self._stored, self.cache)
        model_size = self.protocol == "model"
        masks = cached_masks(category, category.test, self._stored, self.cache) if model_size else None
        return TestDataset(images, masks, category.test, category.defect_types, self._pose("test"))

    def _pose(self, split: Literal["train", "test"]) -> RandomPose | None:
        return RandomPose(split, self.geometry.output) if self.random_pose else None

    @property
    def _whole(self) -> Geometry:
        return Geometry(self.geometry.size)

    @property
    def _stored(self) -> Geometry:
        return self._whole if self.random_pose else self.geometry


def _check_geometry(image_size: int, crop: int | None, texture_patch: int | None, protocol: str) -> None:
    if not 16 <= image_size <= 4096:
        raise UsageError(f"--data.image_size {image_size} does not lie between 16 and 4096")
    if crop is not None and not 16 <= crop <= image_size:
        raise UsageError(f"--data.crop {crop} does not lie between 16 and --data.image_size {image_size}")
    if texture_patch is not None and texture_patch < 16:
        raise UsageError(f"--data.texture_patch {texture_patch} is less than 16; null takes whole images")
    if protocol == "full" and crop is not None:
        raise UsageError("--protocol full scores every pixel of the masks; it needs --data.crop null")


def _check_draws(validation_share: float, batch_size: int, samples_per_epoch: int | None) -> None:
    if not 0 <= validation_share < 1:
        raise UsageError(f"--data.validation_share {validation_share} does not lie in [0, 1)")
    if batch_size < 1:
        raise UsageError(f"--data.batch_size {batch_size} is not positive")
    if samples_per_epoch is not None and samples_per_epoch < 1:
        raise UsageError(f"--data.samples_per_epoch {samples_per_epoch} is not positive; null takes each image once")
