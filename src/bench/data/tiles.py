"""Tiles: the squares that an image larger than a network's input is cut into, and the map that theirs make."""

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from bench.data.geometry import Box, Content

if TYPE_CHECKING:
    from torch import Tensor


class Tiles(NamedTuple):
    """Squares of `side` pixels that cover a square image of `size` pixels; neighbours share `overlap` pixels or more.

    They are as few as that allows, lie at equal distances, and are numbered row by row.
    """

    size: int
    side: int
    overlap: int

    @property
    def starts(self) -> tuple[int, ...]:
        """The first row (and column) of each row (and column) of tiles."""
        last = self.size - self.side
        steps = ceil(last / (self.side - self.overlap))
        return tuple(last * step // steps for step in range(steps + 1))

    @property
    def per_image(self) -> int:
        """The number of tiles of an image."""
        return len(self.starts) ** 2

    def box(self, tile: int) -> Box:
        """The pixels of the image that a tile covers."""
        top, left = (self.starts[along] for along in divmod(tile, len(self.starts)))
        return Box(left, top, left + self.side, top + self.side)

    def own_box(self, tile: int) -> Box:
        """The pixels of the image that are judged by this tile: those that lie deeper in it than in any other.

        What two tiles share is divided in its middle, so that every pixel is judged where most of its surroundings are
        seen.
        """
        row, column = divmod(tile, len(self.starts))
        return Box(self._first_own(column), self._first_own(row), self._first_own(column + 1), self._first_own(row + 1))

    def own_part(self, tile: int) -> Box:
        """The part of a tile that it judges, in the tile's own pixels."""
        return _moved(self.own_box(tile), self.box(tile))

    def cut(self, image: "Tensor", tile: int) -> "Tensor":
        """A tile (..., side, side) of an image (..., size, size), without a copy."""
        rows, columns = self.box(tile).rows_and_columns
        return image[..., rows, columns]

    def content(self, content: Content | None, tile: int) -> Content:
        """The part of a tile that counts: what it judges of the image's part that counts."""
        own, box = self.own_box(tile), self.box(tile)
        if content is None:
            return Content(_moved(own, box))
        shared = Box(
            max(own.left, content.box.left),
            max(own.top, content.box.top),
            min(own.right, content.box.right),
            min(own.bottom, content.box.bottom),
        )
        if shared.right <= shared.left or shared.bottom <= shared.top:
            return Content(Box(0, 0, 0, 0))
        return Content(_moved(shared, box), None if content.region is None else self.cut(content.region, tile))

    def merge(self, image_map: "Tensor", tile_map: "Tensor", tile: int) -> None:
        """Write what a tile judges of its map (..., side, side) into the image's map (..., size, size)."""
        there, here = self.own_box(tile).rows_and_columns, self.own_part(tile).rows_and_columns
        image_map[..., there[0], there[1]] = tile_map[..., here[0], here[1]]

    def _first_own(self, number: int) -> int:
        """The first row of the image that a row of tiles judges; for the number after the last one, the image's end."""
        if number == 0:
            return 0
        if number == len(self.starts):
            return self.size
        return (self.starts[number - 1] + self.side + self.starts[number]) // 2


def images_at_once(batch_size: int, tiles: Tiles | None) -> int:
    """The number of images that are scored together: as many as have `batch_size` tiles, one at least."""
    return batch_size if tiles is None else max(1, batch_size // tiles.per_image)


def _moved(box: Box, origin: Box) -> Box:
    return Box(box.left - origin.left, box.top - origin.top, box.right - origin.left, box.bottom - origin.top)
