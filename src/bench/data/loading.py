"""Batches from the cache: which images, in which order, on which process."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.collectives import rank_and_processes
from bench.data.geometry import Content
from bench.data.layout import Sample
from bench.data.saturation import NO_SATURATION, Defect, Saturations
from bench.data.tiles import Tiles
from bench.data.transforms import Augmentation, RandomPose
from bench.errors import UsageError
from bench.processes import available_cores


class Batch(NamedTuple):
    """A model's input: (B, C, H, W) images, their indices in the split and, in a test, the ground truth.

    Where images are cut for learning, image i of n tiles each has the indices i * n to i * n + n - 1.
    """

    image: Tensor  # uint8 when loaded; floats in [0, 1] when a hook of the model gets it
    indices: Tensor  # (B,) in the split
    defect_type: Tensor | None = None  # (B,) 0 = good
    # B boolean masks (H, W), at the resolution of the protocol; None for an image without a mask.
    mask: Sequence[Tensor | None] | None = None
    # Indices in the training split, on the host, of images that are the same in every epoch; None if augmentation
    # changes them, and in a test.
    unchanging: list[int] | None = None
    content: Sequence[Content] | None = None  # the part of each image's square that counts; None: all of it
    region: Sequence[Tensor | None] | None = None  # B boolean masks (H, W) like `mask`: the pixels that are judged
    # The defects of each image one by one, in the masks' own size, where a metric tells them apart.
    defects: Sequence[Sequence[Defect]] | None = None


class BatchIndices(NamedTuple):
    """The images of one batch, its epoch, and the position of each image in the epoch."""

    indices: list[int]
    epoch: int = 0
    positions: Sequence[int] = ()


class BatchSampler(Sampler[BatchIndices]):
    """Distributes batches over the processes; `batch_size` counts the images of all processes together.

    Shuffled batches depend only on seed and epoch: each of k processes takes every k-th image of the same global batch.
    An epoch has `samples` images, each used as often as any other or once more; None: as many as there are. With
    `weights`, one for each of `indices`, images are drawn with replacement in these proportions. In order (not
    shuffled) no image is repeated, so that each is scored exactly once.
    """

    def __init__(
        self,
        indices: Sequence[int],
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        samples: int | None = None,
        weights: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> None:
        if weights is not None and shuffle_seed is None:
            raise ValueError("weights draw images at random; they need a shuffle_seed")
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.samples = len(self.indices) if samples is None else samples
        self.shares = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each training epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(list(self._batches(self.samples)))

    @property
    def own_images(self) -> int:
        """The number of images that this process draws in an epoch."""
        return sum(map(len, self._batches(self.samples)))

    def __iter__(self) -> Iterator[BatchIndices]:
        order = self.indices
        if self.shuffle_seed is not None:
            order = self._drawn(np.random.default_rng((self.shuffle_seed, self.epoch)))
        for positions in self._batches(self.samples):
            yield BatchIndices(order[positions].tolist(), self.epoch, positions.tolist())

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The images of an epoch, of all processes, in a random order."""
        if self.shares is not None:
            return rng.choice(self.indices, self.samples, p=self.shares)
        rounds = [rng.permutation(self.indices) for _ in range(-(-self.samples // len(self.indices)))]
        return np.concatenate(rounds)

    def _batches(self, count: int) -> Iterator[np.ndarray]:
        """Positions in the epoch of this process's part of each batch."""
        rank, processes = rank_and_processes()  # read when a loader starts: the process group may come later
        positions = np.arange(count)
        if self.shuffle_seed is None:
            own = positions[rank::processes]
            size = max(1, self.batch_size // processes)
            yield from (own[start : start + size] for start in range(0, len(own), size))
            return
        if self.batch_size % processes:
            raise UsageError(f"--data.batch_size {self.batch_size} cannot be split over {processes} processes evenly")
        for start in range(0, count, self.batch_size):
            batch = positions[start : start + self.batch_size]
            # Every process must take the same number of steps: a last, uneven batch repeats its first images.
            batch = np.resize(batch, -(-len(batch) // processes) * processes)
            yield batch[rank::processes]


class ImageDataset(Dataset[Batch]):
    """Whole batches from the memory-mapped cache; `content` is the part of each image's square that counts.

    After `cut_into`, the items are tiles.
    """

    def __init__(
        self,
        images: Path,
        augmentation: Augmentation | None = None,
        pose: RandomPose | None = None,
        content: Sequence[Content] | None = None,
    ) -> None:
        self.images = images
        self.content = content
        self.augmentation = augmentation
        self.pose = pose
        self.tiles: Tiles | None = None

    def cut_into(self, tiles: Tiles | None) -> Self:
        """Yield tiles instead of images; None leaves images whole."""
        self.tiles = tiles
        return self

    def __getitem__(self, draw: BatchIndices) -> Batch:
        if self.tiles is not None:
            return self._tiles(self.tiles, draw)
        # Opened per batch (0.1 ms): a worker process gets a path, never a copy of the array.
        images = np.load(self.images, mmap_mode="r")[draw.indices]
        if self.pose is not None:
            images = np.stack([self.pose(image, i)[0] for image, i in zip(images, draw.indices, strict=True)])
        if self.augmentation is not None:
            drawn = [(draw.epoch, position) for position in draw.positions]
            images = np.stack([self.augmentation(image, each) for image, each in zip(images, drawn, strict=True)])
        unchanging = list(draw.indices) if self.augmentation is None else None
        content = [self.content[i] for i in draw.indices] if self.content is not None else None
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return Batch(pixels, torch.tensor(draw.indices), unchanging=unchanging, content=content)

    def _tiles(self, tiles: Tiles, draw: BatchIndices) -> Batch:
        """A batch of tiles: an image is changed before it is cut, so that real pixels move in at a tile's border."""
        images = np.load(self.images, mmap_mode="r")
        found = []
        for number, index in enumerate(draw.indices):
            image = images[index // tiles.per_image]  # of the file only the tile's rows are read
            if self.augmentation is not None:
                image = self.augmentation(image, (draw.epoch, draw.positions[number]))
            found.append(image[tiles.box(index % tiles.per_image).rows_and_columns])
        unchanging = list(draw.indices) if self.augmentation is None else None
        pixels = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)
        return Batch(pixels, torch.tensor(draw.indices), unchanging=unchanging)


class TestDataset(ImageDataset):
    """Test images with their defect type and mask; `masks` None reads each mask at its own size.

    With `saturation`, defects are told apart as well, at that size.
    """

    __test__ = False  # not a test case, as pytest would conclude from its name

    def __init__(
        self,
        images: Path,
        masks: Path | None,
        samples: Sequence[Sample],
        types: Sequence[str],
        pose: RandomPose | None = None,
        content: Sequence[Content] | None = None,
        saturation: Saturations = NO_SATURATION,
    ) -> None:
        super().__init__(images, pose=pose, content=content)
        self.masks = masks
        self.saturation = saturation
        self.samples = samples
        self.types = torch.tensor([types.index(s.defect_type) for s in samples])
        self.has_masks = any(s.mask is not None for s in samples)
        # A product without masks has no figures of pixels, though another that the same model is for may have them.
        self.with_masks = {s.product for s in samples if s.mask is not None}

    def __getitem__(self, draw: BatchIndices) -> Batch:
        batch = super().__getitem__(draw)
        masks = [self.mask(i) for i in draw.indices]
        regions = [self.region(i) for i in draw.indices]
        judged = regions if any(each is not None for each in regions) else None
        defects = [self.samples[i].read_defects(self.saturation) for i in draw.indices] if self.saturation else None
        return batch._replace(
            defect_type=self.types[batch.indices], mask=masks, region=judged, unchanging=None, defects=defects
        )

    def region(self, index: int) -> Tensor | None:
        """The pixels (H, W) of one image that are judged, at the resolution of the protocol; None: all of them."""
        if self.masks is not None:
            return None if self.content is None else self.content[index].region
        region = self.samples[index].read_region() if self.has_masks else None
        return None if region is None else torch.from_numpy(region)

    def mask(self, index: int) -> Tensor | None:
        """The mask (H, W) of one image at the resolution of the protocol, in the image's pose.

        None for a defect image without a mask, and for good images if no image has one: then no pixel is scored.
        """
        sample = self.samples[index]
        if not self.has_masks or sample.product not in self.with_masks or (sample.is_defect and sample.mask is None):
            return None
        if self.masks is not None:
            mask = np.load(self.masks, mmap_mode="r")[index]
            if self.pose is not None:
                _, mask = self.pose(mask[:, :, None], index, mask)
            return torch.from_numpy(mask.astype(bool))
        drawn = sample.read_mask()
        return None if drawn is None else torch.from_numpy(drawn)


def cores_per_process() -> int:
    """The number of this machine's cores that this training process may use."""
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = available_cores() // together
    # A sweep sets torch's threads to each worker's share of the cores; so does Lightning if it starts several
    # processes. torchrun sets one thread on any machine.
    return max(1, cores if "TORCHELASTIC_RUN_ID" in os.environ else min(cores, torch.get_num_threads()))


def make_loader(dataset: ImageDataset, sampler: BatchSampler, workers: int) -> DataLoader[Batch]:
    """A loader whose sampler already yields whole batches."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
