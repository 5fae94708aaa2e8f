"""The connected regions of a mask as detectors and segmenters need them: box, outline, run lengths, points."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bench.data.export.outlines import Outline, area, join, trace
from bench.metrics.regions import label_regions


@dataclass(frozen=True)
class Region:
    """One 8-connected region: its pixels (rows, columns) within its box, whose corner is (left, top) in the image."""

    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    @cached_property
    def polygons(self) -> list[Outline] | None:
        """Simple polygons along the edges of pixels, which touch at corners at most; None if the region has a hole."""
        outlines = trace(self.pixels, 4)
        return None if any(area(o) < 0 for o in outlines) else [o + self._corner for o in outlines]

    @cached_property
    def outline(self) -> Outline:
        """One polygon along the edges of pixels; holes are joined to it by cuts without width."""
        return join(trace(self.pixels, 8)) + self._corner

    @property
    def _corner(self) -> NDArray[np.int64]:
        return np.array((self.left, self.top))

    def run_lengths(self, height: int, width: int) -> list[int]:
        """COCO's uncompressed run lengths in an image of that size: column by column, background first."""
        image = np.zeros((height, width), np.bool_)
        rows, columns = self.pixels.shape
        image[self.top : self.top + rows, self.left : self.left + columns] = self.pixels
        flat = image.ravel(order="F")
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs: list[int] = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
        return [0, *runs] if flat[0] else runs


def find_regions(mask: NDArray[np.bool_]) -> list[Region]:
    """The 8-connected regions of a mask (H, W), from top to bottom."""
    labels, _ = label_regions(mask)
    boxes = ndimage.find_objects(labels)
    return [Region(box[1].start, box[0].start, labels[box] == number) for number, box in enumerate(boxes, 1)]


def inner_points(region: Region, count: int) -> list[tuple[int, int]]:
    """Pixels (x, y) of the region: first the one deepest in it, then those farthest from the points so far.

    All are at least half as deep as the first; too few such pixels give fewer points.
    """
    inside = np.pad(region.pixels, 1)
    return _spread_points(ndimage.distance_transform_edt(inside), count, region.left - 1, region.top - 1)


def outer_points(region: Region, mask: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Pixels (x, y) near the region that no defect covers, chosen as by `inner_points`: deep in the background.

    Near means in the region's box, enlarged on each side by half its size, at least by 2 pixels.
    """
    left, top, width, height = region.box
    border_x, border_y = max(2, width // 2), max(2, height // 2)
    x, y = max(0, left - border_x), max(0, top - border_y)
    window = mask[y : top + height + border_y, x : left + width + border_x]
    return _spread_points(ndimage.distance_transform_edt(~window), count, x, y)


def _spread_points(depth: NDArray[np.float64], count: int, left: int, top: int) -> list[tuple[int, int]]:
    deepest = depth.max()
    if not deepest:
        return []
    candidates = np.argwhere(depth >= deepest / 2)
    points = [np.array(np.unravel_index(int(depth.argmax()), depth.shape))]
    distance = np.linalg.norm(candidates - points[0], axis=1)
    while len(points) < count and distance.max() > 0:
        points.append(candidates[int(distance.argmax())])
        distance = np.minimum(distance, np.linalg.norm(candidates - points[-1], axis=1))
    return [(left + int(column), top + int(row)) for row, column in points[:count]]
