"""Large images cut into windows by a sliding window, and maps of windows merged again."""

from itertools import product

import torch
from torch import Tensor, nn

from bench.errors import UsageError

# Windows of a test image that are reconstructed together: enough to fill a device, few enough for its memory.
WINDOWS_AT_ONCE = 64


class SlidingWindows(nn.Module):
    """All windows of `side` pixels at every `stride` of a square image of `size`, and those at its far borders.

    With `side` equal to `size` the image itself is the only window.
    """

    def __init__(self, size: int, side: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= side:
            raise UsageError(f"--model.stride {stride} does not lie between 1 and the {side} pixels of a window")
        starts = sorted({*range(0, size - side + 1, stride), size - side})
        self.size, self.side = size, side
        self.corners = list(product(starts, starts))

    def cut(self, image: Tensor) -> Tensor:
        """The windows (B * windows, C, side, side) of images (B, C, size, size)."""
        if len(self.corners) == 1:
            return image
        windows = [image[:, :, y : y + self.side, x : x + self.side] for y, x in self.corners]
        return torch.stack(windows, dim=1).flatten(0, 1)

    def merge(self, maps: Tensor) -> Tensor:
        """Maps (B, size, size) where each pixel is the mean over its windows, of (B * windows, side, side)."""
        if len(self.corners) == 1:
            return maps
        maps = maps.view(-1, len(self.corners), self.side, self.side)
        total = maps.new_zeros(len(maps), self.size, self.size)
        count = maps.new_zeros(self.size, self.size)
        for index, (y, x) in enumerate(self.corners):
            total[:, y : y + self.side, x : x + self.side] += maps[:, index]
            count[y : y + self.side, x : x + self.side] += 1
        return total / count

    def tiles(self, image: Tensor) -> Tensor:
        """Windows side by side, without overlap, of whole images; images of the windows' size are returned."""
        if image.shape[-1] == self.side:
            return image
        rows = image.unfold(2, self.side, self.side).unfold(3, self.side, self.side)
        return rows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
