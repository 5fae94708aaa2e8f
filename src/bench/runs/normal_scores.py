"""What a run keeps of the normal scores that set its threshold: of which image, and which are near-duplicates."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from bench.data.datamodule import DefectData
from bench.data.geometry import Content
from bench.data.loading import Batch, BatchIndices
from bench.data.near_duplicates import SIDE, near_duplicates
from bench.data.one_class import OneClassSplit
from bench.evaluation.passes import NormalScores
from bench.records.normal_scores import NormalScore, Obtained

_EDGE = 2  # pixels beside the edge of a region, in which resizing has mixed what lies outside


def described(data: DefectData, obtained: Obtained, found: NormalScores) -> list[NormalScore]:
    """The rows of the file, by index in the split."""
    groups = assigned_groups(data) if data.held_out is not None else duplicate_groups(data)
    learned = {int(groups[index]) for index in data.training_indices} if obtained == "held-out" else set()
    first = {group: index for index, group in reversed(list(enumerate(groups.tolist())))}
    train, hashes = data.category.train, data.full_category.hashes
    rows = []
    for place in np.argsort(found.indices).tolist():
        index, maximum = int(found.indices[place]), float(found.map_maximum[place])
        group = int(groups[index])
        rows.append(
            NormalScore(
                path=train[index].relative,
                sha256=hashes[train[index].path],
                obtained="nearly-learned" if group in learned else obtained,
                group=train[first[group]].relative,
                score=float(found.score[place]),
                map_maximum=None if math.isnan(maximum) else maximum,
            )
        )
    return rows


def assigned_groups(data: DefectData) -> NDArray[np.int64]:
    """The group (N,) of each training image, where who held images out said which of them show the same part.

    No image that was learned from shows a part that was held out, so each of those is a group of its own.
    """
    named, train = data.category.held_out, data.category.train
    alone = max(named.values()) + 1
    return np.array([named.get(sample.relative, alone + index) for index, sample in enumerate(train)], dtype=np.int64)


def duplicate_groups(data: DefectData) -> NDArray[np.int64]:
    """The near-duplicate group (N,) of each training image, as the method sees it: nothing is decoded again."""
    assert isinstance(data.split, OneClassSplit), "classifiers take no threshold from normal images"
    images, count = data.split.train_dataset(), len(data.category.train)
    at_once = data.images_at_once
    starts = range(0, count, at_once)
    batches = (images[BatchIndices(list(range(start, min(start + at_once, count))))] for start in starts)
    return near_duplicates(np.concatenate([_small(batch) for batch in batches]))


def _small(batch: Batch) -> NDArray[np.uint8]:
    """The images of a batch as far as they count, (B, side, side, channels) in the size that is compared, or less."""
    side = min(SIDE, batch.image.shape[-1])
    small = []
    for index, image in enumerate(batch.image.float()):
        content = image if batch.content is None else _own_pixels(image, batch.content[index])
        fitted = interpolate(content[None], (side, side), mode="bilinear", antialias=True)
        small.append(fitted[0].round().clamp(0, 255).byte())
    return torch.stack(small).permute(0, 2, 3, 1).numpy()


def _own_pixels(image: Tensor, content: Content) -> Tensor:
    """An image (C, H, W) without its padding, and with its own mean where it does not count.

    Otherwise the edge of the padding or of a region, the same in all images, would make all of them near-duplicates.
    """
    place = content.box.rows_and_columns
    image = image[(..., *place)]
    if content.region is None:
        return image
    outside = (~content.region[place]).float()[None]
    inside = max_pool2d(outside, 2 * _EDGE + 1, stride=1, padding=_EDGE)[0] == 0
    return torch.where(inside, image, image[:, inside].mean(dim=1)[:, None, None]) if inside.any() else image
