"""A category of a dataset as a Lightning datamodule."""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from bench.config.given_arguments import GivenArguments
from bench.config.number_ranges import NonNegative
from bench.config.products import check_products
from bench.console import say
from bench.data.cache import IMAGES, begin_run, cache_folder
from bench.data.category_folders import named_root
from bench.data.check_settings import (
    check_draws,
    check_fold,
    check_geometry,
    check_reading,
    check_tiles,
    check_training_images,
)
from bench.data.facts import CategoryFacts
from bench.data.folds import Sampling, sampling_weights
from bench.data.geometry import Aspect, Geometry, Interpolation
from bench.data.held_out import HeldOut, with_held_out
from bench.data.images import BITS
from bench.data.layout import Category, Masks, Reading, categories_below, read_category
from bench.data.loading import Batch, BatchIndices, BatchSampler, cores_per_process, make_loader
from bench.data.one_class import OneClassSplit
from bench.data.region_of_interest import within_region
from bench.data.remarks import remarks
from bench.data.supervised import LabelledFold, LabelledSplit
from bench.data.tiles import Tiles, images_at_once
from bench.data.training_images import ChosenImages, choose_training_images
from bench.data.transforms import Augmentation, Policy
from bench.errors import UsageError, counted


class DataSpec(NamedTuple):
    """What a model needs to know of its data when it is built."""

    size: int  # side of the square input in pixels; with `tiles`, of a tile
    channels: int  # 1 (grey) or 3
    train_images: int  # images in the statistics pass; with `tiles`, the tiles of all of them
    patch: int | None = None  # side of the patches of a texture that training uses; None: whole images
    aligned: bool = False  # whether the object always lies in the same position
    classes: tuple[str, ...] = ()  # classes of a labelled split, good first
    class_counts: tuple[int, ...] = ()  # training images of each class
    tiles: Tiles | None = None  # how images are cut, each tile scored by itself; None: they are not

    @property
    def image_size(self) -> int:
        """Side of the square images that are scored, in pixels."""
        return self.size if self.tiles is None else self.tiles.size

    @property
    def learned_from(self) -> str:
        """The number of images or tiles that statistics are learned from, in words."""
        return counted(self.train_images, "image" if self.tiles is None else "tile")


class DefectData(GivenArguments, LightningDataModule):
    """One category of a dataset.

    A subclass defines what is specific to its dataset: how a category is read (`read`; here in the layout of MVTec AD),
    which categories there are (`category_names`), what is known of them (`facts`), their licence (`licence`, `notice`),
    whether they are the published ones (`official`), and the dataset's name in records (`dataset_name`).

    Args:
        category: name of the category's folder.
        seed: seed of the validation split, the order of training images and their augmentation.
        protocol: `model` scores pixels at the model's resolution, `full` at each mask's own.
        root: folder that holds the categories; without it the environment variable BENCH_DATA.
        image_size: side in pixels that images are resized to, antialiased.
        crop: side of the centre crop after resizing; null keeps all.
        interpolation: filter of the resizing; some weights were trained on bicubic images.
        aspect: what becomes of images that are not square: `squash` them, `pad` them around, or `crop` their middle.
            The padding is scored neither in pixels nor in maps.
        tile: side in pixels of the tiles that images are cut into, for images larger than a network's input: methods
            learn from tiles, score each by itself, and an image has the highest score of its tiles; null: whole images.
        tile_overlap: pixels that neighbouring tiles share, up to half of their side. Of what two share, each judges the
            half that lies deeper in it.
        bits: bits that grey images with more than 8 use, 9 to 16; their largest value is white.
        masks: `required`: each defect image has its mask, or none has; `optional`: pixels of images without a mask are
            not scored.
        mask_threshold: grey value, 1 to 255, from which on masks with shades mark a defect; null refuses shades.
        validation_share: share of train/good that no method learns from: loss curves, early stopping, threshold.
        held_out: `calibration`: instead of a share, the images that have this role in the `split.csv` of a category
            that `bench data import` made; the same ones for every seed and method. null: a share, drawn by the seed.
        region: mask of the pixels that count, for all images, or a folder with a mask for each category or image;
            null counts all. What lies outside is made plain before a method sees it, and is scored nowhere.
        shots: number of training images, drawn by the seed; null takes all. The images of a seed's smaller number are
            among those of its larger one.
        contamination: share of the training images that are replaced by defective ones, drawn by the seed, which are
            then no test images. Those that set the threshold are as dirty: nobody knows which they are.
        batch_size: images per step over all processes together.
        augmentation: how training images are changed at random (`bench.data.transforms.Augmentation`).
        samples_per_epoch: images drawn per training epoch, however many there are; null takes each once.
        texture_patch: side in pixels of the random patches of textures that training uses; null: whole images.
        random_pose: rotate within 10 degrees and crop at random all images, of the test too (PaDiM's Rd-MVTec).
        fold: the fold to test on, from 0, or `all` folds, one after the other. Methods that learn from labelled defects
            use all images of the category (train/good and test), stratified by type; null for all other methods.
        folds: number of folds; fold 0 of 5 is an 80/20 split.
        per_class: largest number of images of each class, drawn by the seed; null takes all.
        products: the products that one model is for, by name in their alphabetical order; the category then bears
            their names, joined. `--one-model A,B` sets both. null: one product, the category.
        sampling: how often classes are drawn: `each_once` as often as they have images, `balanced` all alike,
            `square_root` in between.
        minority_augmentation: another policy for classes with less than half as many images as the largest.
        num_workers: loader processes per training process; auto: one per core, 8 at most, if a GPU waits for
            augmentation, else 0.
        cache: folder of the decoded images; without it BENCH_CACHE or the user's cache folder.
        feature_cache: gigabytes that features of frozen backbones may take beside them; 0 keeps none.
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
        interpolation: Interpolation = "bilinear",
        aspect: Aspect = "squash",
        tile: int | None = None,
        tile_overlap: int = 0,
        bits: int = BITS,
        masks: Masks = "required",
        mask_threshold: int | None = None,
        region: str | None = None,
        validation_share: float = 0.1,
        held_out: HeldOut | None = None,
        shots: int | None = None,
        contamination: float = 0.0,
        batch_size: int = 32,
        augmentation: Policy = "none",
        samples_per_epoch: int | None = None,
        texture_patch: int | None = None,
        random_pose: bool = False,
        fold: int | Literal["all"] | None = None,
        folds: int = 5,
        per_class: int | None = None,
        sampling: Sampling = "each_once",
        minority_augmentation: Policy | None = None,
        num_workers: int | Literal["auto"] = "auto",
        cache: str | None = None,
        feature_cache: NonNegative = 4.0,
        products: list[str] | None = None,
    ) -> None:
        super().__init__()
        check_geometry(image_size, crop, texture_patch, protocol, aspect)
        check_reading(bits, mask_threshold)
        check_draws(validation_share, batch_size, samples_per_epoch, num_workers)
        check_fold(fold, folds, per_class, random_pose=random_pose)
        check_training_images(shots, contamination, fold, held_out)
        check_products(category, products, fold)
        if random_pose and crop is None:
            raise UsageError("--data.random_pose true crops at random: set --data.crop to the side that is kept")
        if random_pose and region is not None:
            raise UsageError("--data.random_pose true moves images under their --data.region; leave one of them out")
        if random_pose and aspect == "pad":
            raise UsageError("--data.random_pose true would turn what is padded into the image; use --data.aspect crop")
        self.category_name = category
        self.products = products
        self.seed = seed
        self.protocol = protocol
        self.root = root
        self.geometry = Geometry(image_size, crop, interpolation, aspect)
        check_tiles(tile, tile_overlap, self.geometry.output, fold, random_pose=random_pose)
        self.tiles = None if tile is None else Tiles(self.geometry.output, tile, tile_overlap)
        self.reading = Reading(bits, masks, mask_threshold)
        self.validation_share = validation_share
        self.held_out = held_out
        self.region = region
        self.shots, self.contamination = shots, contamination
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.samples_per_epoch = samples_per_epoch
        self.texture_patch = texture_patch
        self.random_pose = random_pose
        self.fold, self.folds, self.per_class = fold, folds, per_class
        self.sampling, self.minority_augmentation = sampling, minority_augmentation
        self.num_workers = num_workers
        self.cache = Path(cache or cache_folder()) / IMAGES
        self.feature_cache = feature_cache

    @classmethod
    def dataset_name(cls, preset: str, settings: Mapping[str, Any]) -> str:
        """The dataset's name in records: that of its preset, unless the `settings` of the data give a better one."""
        return preset

    def find_root(self) -> Path:
        """The folder that holds the categories; a UsageError where none is named."""
        return named_root(self.root)

    def category_names(self) -> list[str]:
        """The names of all categories of the dataset."""
        return categories_below(self.find_root())

    @property
    def facts(self) -> CategoryFacts | None:
        """What is known of the category beside its images: how it may be turned, what was published."""
        return None

    @property
    def licence(self) -> str | None:
        """The licence text of exported images, with placeholders {category} and {version}; None: not known."""
        return None

    @property
    def notice(self) -> str:
        """The sentence below pictures of the images, for people who pass them on."""
        return "The images are those of your data: whoever gets this page gets them."

    def read(self) -> Category:
        """List the category's images with their defect types and masks, decoding none."""
        return read_category(self.find_root(), self.category_name, self.reading)

    @cached_property
    def full_category(self) -> Category:
        """The category as it lies on the disk, with its facts and the region of its images."""
        if self.products is not None:
            raise TypeError("bench.data.products.make_data reads several products")
        found = replace(self.read(), facts=self.facts)
        if self.held_out is not None:
            found = with_held_out(found, self.find_root() / self.category_name, self.held_out)
        return found if self.region is None else within_region(found, Path(self.region))

    @cached_property
    def chosen(self) -> ChosenImages:
        """The category with the training images of a one-class split, and which of them the settings chose."""
        return choose_training_images(self.full_category, self.shots, self.contamination, self.seed)

    @cached_property
    def split(self) -> OneClassSplit | LabelledFold:
        """The split into training and test images."""
        if self.fold is None:
            category, few = self.chosen.category, self.shots is not None
            return OneClassSplit(category, self.geometry, self.protocol, self.random_pose, self.seed, self.cache, few)
        return LabelledFold(self._labelled, self.fold, self.geometry)

    @property
    def category(self) -> Category:
        """The category of the split: its training and test images."""
        return self.split.category

    def each_fold(self) -> list["DefectData"]:
        """The datamodules that are fitted one after the other: one per fold with `fold: all`, else only this one."""
        if self.fold != "all":
            return [self]
        folds = [copy(self) for _ in range(self.folds)]
        for fold, data in enumerate(folds):
            data.__dict__.pop("split", None)
            data.fold, data._labelled = fold, self._labelled  # images are compared once for all folds
        return folds

    @property
    def official(self) -> bool:
        """Whether counts, sizes and poses are those that the dataset's makers published; false if they did not."""
        return False

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are synthetic, and may be shown to anybody."""
        return False

    @property
    def differences(self) -> list[str]:
        """The differences from the published images, in words."""
        changed = ["images rotated within 10 degrees and cropped at random"] if self.random_pose else []
        if self.region is not None:
            changed.append("pixels outside a region of interest do not count")
        if self.contamination:
            changed.append(f"{self.contamination:g} of the training images are defective, and are no test images")
        return [*self.full_category.differences, *changed]

    @cached_property
    def spec(self) -> DataSpec:
        """What a model needs to know when it is built."""
        facts, size = self.full_category.facts, self.geometry.output if self.tiles is None else self.tiles.side
        patch = self.texture_patch if facts and facts.group == "texture" else None
        if patch and self.tiles is not None:
            raise UsageError(
                f"--data.texture_patch {patch} cuts images for training alone, --data.tile for all: set one to null"
            )
        if patch and patch > size:
            raise UsageError(f"--data.texture_patch {patch} is larger than the {size} pixels of an image")
        aligned = bool(facts and facts.aligned) and not self.random_pose and self.tiles is None
        learned = len(self.learned_indices(self.training_indices))
        spec = DataSpec(size, self.category.channels, learned, patch, aligned, tiles=self.tiles)
        if self.fold is None:
            return spec
        if patch:
            raise UsageError("--data.texture_patch cuts labelled defects out of their images; set it to null")
        counts = Counter(self.category.train[i].defect_type for i in self.training_indices)
        classes = self.category.defect_types
        return spec._replace(classes=classes, class_counts=tuple(counts[name] for name in classes))

    @cached_property
    def validation_indices(self) -> list[int]:
        """Indices of the held-out training images, which no method learns from."""
        return self.split.held_out(self.validation_share)

    @cached_property
    def training_indices(self) -> list[int]:
        """Indices of the training images that methods learn from."""
        return sorted(set(range(len(self.category.train))) - set(self.validation_indices))

    @property
    def scores_saturation(self) -> bool:
        """Whether sPRO is computed: the dataset says how much of a defect must be found, and pixels count as there."""
        return isinstance(self.split, OneClassSplit) and bool(self.split.saturation)

    @property
    def class_counts(self) -> dict[str, int] | None:
        """The number of images used of each class; None for a one-class split."""
        return None if self.fold is None else self._labelled.counts

    def prepare_data(self) -> None:
        """Fill the cache, on one process; raise a UsageError for a mistake in the data, print what is unusual."""
        begin_run()
        if self.fold != "all":
            _ = self.spec
        self.split.prepare(augmented=self._augments)
        for line in remarks(self.full_category, self.geometry, labelled=self.fold is not None):
            say(f"bench: {line}")
        if self.full_category.saturation and self.fold is None and not self.scores_saturation:
            say("bench: no sPRO: it is of whole images in the masks' own size, --protocol full without --data.region")

    def train_dataloader(self) -> DataLoader[Batch]:
        """The loader of training images: shuffled, and augmented and cut into patches if the settings ask for it."""
        types = [self.category.train[i].defect_type for i in self.training_indices]
        sampler = BatchSampler(
            self.learned_indices(self.training_indices),
            self.batch_size,
            shuffle_seed=self.seed,
            samples=self.samples_per_epoch,
            weights=sampling_weights(types, self.sampling),
        )
        dataset = self.split.train_dataset(self._augmentations() if self._augments else None).cut_into(self.tiles)
        return make_loader(dataset, sampler, self._loader_workers if self.num_workers == "auto" else self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The loader of the held-out training images; an empty list if none are held out."""
        return self.learning_loader(self.validation_indices) if self.validation_indices else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """The loader of the test split, each image once."""
        split, count = self.split, len(self.category.test)
        dataset = split.test_dataset(defects=True) if isinstance(split, OneClassSplit) else split.test_dataset()
        return make_loader(dataset, BatchSampler(range(count), self.images_at_once), 0)

    def test_batch(self, indices: list[int]) -> Batch:
        """A batch of a few test images, without a loader."""
        return self.split.test_dataset()[BatchIndices(indices)]

    def ordered_train_loader(self, indices: list[int]) -> DataLoader[Batch]:
        """The loader of unchanged training images, each once, to score them."""
        return make_loader(self.split.train_dataset(), BatchSampler(indices, self.images_at_once), 0)

    def learning_loader(self, indices: list[int]) -> DataLoader[Batch]:
        """The loader of unchanged training images, or of their tiles, each once: for statistics and validation."""
        dataset = self.split.train_dataset().cut_into(self.tiles)
        return make_loader(dataset, BatchSampler(self.learned_indices(indices), self.batch_size), 0)

    def learned_indices(self, indices: list[int]) -> list[int]:
        """The indices of what methods learn from: these images, or all their first tiles, all their second ones, ..."""
        if self.tiles is None:
            return indices
        return [index * self.tiles.per_image + tile for tile in range(self.tiles.per_image) for index in indices]

    @property
    def images_at_once(self) -> int:
        """The number of images of a batch that is scored; with tiles, so many that `batch_size` tiles are held."""
        return images_at_once(self.batch_size, self.tiles)

    @property
    def _loader_workers(self) -> int:
        """Loader processes of `auto`: only augmentation is slower than a method, and only a GPU would wait for it."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type != "cpu"
        return min(8, cores_per_process()) if on_gpu and self._augments else 0

    @cached_property
    def _labelled(self) -> LabelledSplit:
        if len(self.full_category.defect_types) == 1:
            raise UsageError(
                f"no defect images of {self.category_name}; a classifier learns from them: test/<defect type>/*.png"
            )
        return LabelledSplit(self.full_category, self.folds, self.per_class, self.seed, self.cache)

    @property
    def _augments(self) -> bool:
        patch = self.fold != "all" and self.spec.patch is not None
        return self.augmentation != "none" or patch or self.minority_augmentation is not None

    def _augmentations(self) -> list[Augmentation]:
        """One augmentation per class; for a one-class split, the one of good images."""
        counts = self.spec.class_counts or (1,)
        policies = [
            self.minority_augmentation if self.minority_augmentation and 2 * count < max(counts) else self.augmentation
            for count in counts
        ]
        return [
            Augmentation(
                policy,
                self.full_category.facts,
                self.seed,
                size=self.geometry.size,
                channels=self.category.channels,
                crop=self.geometry.crop,
                patch=self.spec.patch,
            )
            for policy in policies
        ]
