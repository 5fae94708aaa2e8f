"""Operations that ONNX lacks, or that depend on the number of images, as others that any runtime has.

Each does what the method's own code does, but for the last digits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.models.parts.density import ShrunkGaussian
from bench.models.parts.statistics import PositionGaussians
from bench.models.parts.windows import SlidingWindows

# Points that queries are compared with at a time: 1,024 queries of an image and these make 8 MB of products.
_POINTS_AT_ONCE = 2048


def squared_distance(gaussians: PositionGaussians, features: Tensor) -> Tensor:
    """Squared Mahalanobis distance (positions, B) of (positions, B, channels), all positions at once."""
    centred = (features - gaussians.mean[:, None]).mT
    return torch.matmul(gaussians.whitening, centred).square().sum(dim=1)


def shrunk_distance(gaussian: ShrunkGaussian, features: Tensor) -> Tensor:
    """Squared Mahalanobis distance (...) of (..., features), in double precision, all samples at once."""
    white = (features.double() - gaussian.mean) @ gaussian.whitening.mT
    return white.square().sum(dim=-1).float()


class Nearest(nn.Module):
    """Distances (N, count), ascending, of queries (N, d) to the nearest of some points (M, d), and the points' numbers.

    As in `parts.neighbours`, products find the neighbours and differences measure their distances.
    """

    def __init__(self, points: Tensor, count: int = 1) -> None:
        super().__init__()
        self.count = count
        self.parts = len(torch.split(points, _POINTS_AT_ONCE))
        for number, part in enumerate(torch.split(points.float(), _POINTS_AT_ONCE)):
            self.register_buffer(f"points{number}", part.clone())
            self.register_buffer(f"offset{number}", -part.square().sum(dim=1) / 2)

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The distances and the numbers of the points."""
        found = [self._of_part(queries, number) for number in range(self.parts)]
        distances = torch.cat([distance for distance, _ in found], dim=1)
        numbers = torch.cat([own for _, own in found], dim=1)
        if self.count == 1:
            nearest = distances.argmin(dim=1, keepdim=True)
            return distances.gather(1, nearest), numbers.gather(1, nearest)
        smallest, order = distances.topk(self.count, dim=1, largest=False)
        return smallest, numbers.gather(1, order)

    def _of_part(self, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
        points, offset = getattr(self, f"points{number}"), getattr(self, f"offset{number}")
        likeness = nn.functional.linear(queries, points, offset)
        if self.count == 1:
            found = likeness.argmax(dim=1, keepdim=True)
        else:
            found = likeness.topk(min(self.count, len(points)), dim=1)[1]
        exact = [(queries - points[column]).square().sum(dim=1).sqrt() for column in found.unbind(dim=1)]
        return torch.stack(exact, dim=1), found + number * _POINTS_AT_ONCE


class PooledNumbers(nn.Module):
    """`adaptive_avg_pool1d` of the last axis, from `length` numbers to `count`."""

    index: Tensor
    share: Tensor

    def __init__(self, length: int, count: int) -> None:
        super().__init__()
        starts = [place * length // count for place in range(count)]
        ends = [-(-(place + 1) * length // count) for place in range(count)]
        self.longest = max(end - start for start, end in zip(starts, ends, strict=True))
        self.whole = length % count == 0
        self.count = count
        index, share = torch.zeros(self.longest, count, dtype=torch.int64), torch.zeros(self.longest, count)
        for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
            index[: end - start, place] = torch.arange(start, end)
            share[: end - start, place] = 1 / (end - start)
        self.register_buffer("index", index)
        self.register_buffer("share", share)

    def forward(self, values: Tensor) -> Tensor:
        """(..., count) of (..., length)."""
        if self.whole:
            return values.reshape(*values.shape[:-1], self.count, self.longest).mean(dim=-1)
        parts = [values.index_select(-1, self.index[each]) * self.share[each] for each in range(self.longest)]
        return torch.stack(parts).sum(dim=0)


class Windows(nn.Module):
    """All windows of square images at the given starts, and their maps merged again."""

    index: Tensor
    places: Tensor
    covered: Tensor

    def __init__(self, size: int, side: int, starts: Sequence[int]) -> None:
        super().__init__()
        self.size, self.side, self.number = size, side, len(starts)
        index = torch.tensor(starts)[:, None] + torch.arange(side)
        self.register_buffer("index", index.flatten())
        # (size, windows * side): 1 where a window's row is the image's.
        places = (index.flatten() == torch.arange(size)[:, None]).float()
        self.register_buffer("places", places)
        counts = places.sum(dim=1)
        self.register_buffer("covered", counts[:, None] * counts)

    @classmethod
    def of(cls, windows: SlidingWindows) -> "Windows":
        """Those of a method that slides windows over an image."""
        return cls(windows.size, windows.side, sorted({top for top, _ in windows.corners}))

    def cut(self, image: Tensor, rows: slice = slice(None)) -> Tensor:
        """The windows (B * windows, C, side, side) of images (B, C, size, size), row by row; or of some rows alone."""
        if self.number == 1:
            return image
        index = self.index.view(self.number, self.side)[rows]
        cut = image.index_select(2, index.flatten()).index_select(3, self.index)
        cut = cut.reshape(-1, image.shape[1], len(index), self.side, self.number, self.side)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)

    def merge(self, maps: Tensor) -> Tensor:
        """Maps (B, size, size) where each pixel is the mean over its windows, of (B * windows, side, side)."""
        if self.number == 1:
            return maps
        each = maps.reshape(-1, self.number, self.number, self.side, self.side).permute(0, 1, 3, 2, 4)
        wide = each.flatten(3).flatten(1, 2)  # (B, windows * side, windows * side)
        merged: Tensor = self.places @ wide @ self.places.mT / self.covered
        return merged


class Inside(nn.Module):
    """Minus infinity in place of values in the padding: as `Detector.within` and `windows_within` do for a box.

    A box is the part of an image's square that counts: left, top, right, bottom.
    """

    tops: Tensor
    bottoms: Tensor

    def __init__(self, tops: Sequence[int], bottoms: Sequence[int]) -> None:
        """For cells, or windows, whose rows begin at `tops` and end before `bottoms`, and whose columns do as well."""
        super().__init__()
        self.register_buffer("tops", torch.tensor(tops))
        self.register_buffer("bottoms", torch.tensor(bottoms))

    @classmethod
    def of_grid(cls, size: int, cells: int) -> "Inside":
        """Of the cells of a map over `size` pixels, each the pixels that adaptive pooling takes for it."""
        tops = [cell * size // cells for cell in range(cells)]
        return cls(tops, [-(-(cell + 1) * size // cells) for cell in range(cells)])

    def forward(self, values: Tensor, box: Tensor | None) -> Tensor:
        """Values (B, cells, cells)."""
        if box is None:
            return values
        left, top, right, bottom = (each[:, None] for each in box.unbind(dim=1))
        rows = (self.tops < bottom) & (self.bottoms > top)
        columns = (self.tops < right) & (self.bottoms > left)
        return torch.where(rows[:, :, None] & columns[:, None, :], values, -torch.inf)
