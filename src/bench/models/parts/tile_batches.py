"""Batches of the tiles of images that are scored."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.data.geometry import Content
from bench.data.tiles import Tiles

_AT_ONCE = 32  # tiles that are scored together, however many an image has


class TileBatch(NamedTuple):
    """Tiles that are scored together: N of them."""

    image: Tensor  # (N, C, side, side)
    owners: list[int]  # the index of each one's image in its batch
    numbers: list[int]  # the number of each among the tiles of its image
    content: list[Content]  # the part of each that it judges and that counts


def tile_batches(tiles: Tiles, image: Tensor, content: Sequence[Content] | None) -> Iterator[TileBatch]:
    """All tiles of (B, C, size, size) images: the first of each image, then the second of each, and so on."""
    each = [(owner, number) for number in range(tiles.per_image) for owner in range(len(image))]
    for start in range(0, len(each), _AT_ONCE):
        owners, numbers = map(list, zip(*each[start : start + _AT_ONCE], strict=True))
        pairs = list(zip(owners, numbers, strict=True))
        yield TileBatch(
            torch.stack([tiles.cut(image[owner], number) for owner, number in pairs]),
            owners,
            numbers,
            [tiles.content(content[owner] if content is not None else None, number) for owner, number in pairs],
        )


def scores_of_images(
    tiles: Tiles, image: Tensor, content: Sequence[Content] | None, score: Callable[[TileBatch], Tensor]
) -> Tensor:
    """The highest score (B,) of the tiles of each image; a tile of which no pixel counts has none."""
    scores = image.new_full((len(image), tiles.per_image), -torch.inf)
    for batch in tile_batches(tiles, image, content):
        counts = torch.tensor([each.mask(tiles.side).any() for each in batch.content], device=image.device)
        scores[batch.owners, batch.numbers] = score(batch).masked_fill(~counts, -torch.inf)
    return scores.amax(dim=1)
