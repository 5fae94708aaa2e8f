"""From a coarse grid of distances to an anomaly map, by one linear map per axis."""

import math
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.parts.precision import full_precision

Border = Literal["reflect", "mirror"]  # as scipy names them: the outermost pixel is repeated, or is not


class SmoothUpsampling(nn.Module):
    """Bilinear up-sampling to `size` pixels, then a Gaussian blur of `sigma` pixels.

    Both are linear and act on rows and columns alike, so that two small matrix products do exactly what
    `interpolate` followed by `scipy.ndimage.gaussian_filter` does (kernel cut at `truncate` sigma, mirrored border), at
    a fraction of the cost. With `align_corners` the outermost distances lie on the outermost pixels' centres. With
    `border` "mirror" the outermost pixels are not repeated, as in torchvision's `GaussianBlur`.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        size: int,
        sigma: float,
        *,
        truncate: float = 4.0,
        align_corners: bool = False,
        border: Border = "reflect",
    ) -> None:
        super().__init__()
        rows, columns = (_axis(length, size, sigma, truncate, align_corners, border) for length in grid)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Maps (..., size, size) of (..., h, w) distances."""
        with full_precision(grid.device):
            return self.rows @ grid.float() @ self.columns.mT


class ReceptiveFieldUpsampling(nn.Module):
    """Scores of windows, each spread over the pixels of its window by a Gaussian (Liznerski et al., ICLR 2021).

    FCDD's transposed convolution, with a kernel of `side` and the standard deviation of its code's rule. With
    `even_borders` it is divided by the sum of the weights that reach a pixel. Few windows cover the border, which the
    map of FCDD dims: windows of 32 pixels at a stride of 4 to a twentieth, in the middle of a side.
    """

    axis: Tensor

    def __init__(self, size: int, side: int, stride: int, *, even_borders: bool = True) -> None:
        super().__init__()
        if not 1 <= stride <= side <= size or (size - side) % stride:
            raise UsageError(
                f"windows of {side} pixels at a stride of {stride} do not cover {size} pixels: "
                "choose both so that the stride divides what remains of the image"
            )
        self.per_side = (size - side) // stride + 1
        deviation = 10.0 if side >= 32 else math.log10(0.45 * side + 1) + 0.25
        offset = torch.arange(size, dtype=torch.float64)[:, None] - torch.arange(0, size - side + 1, stride)
        weight = (-(((offset - (side - 1) / 2) / deviation) ** 2) / 2).exp() * ((offset >= 0) & (offset < side))
        # FCDD's kernel has a sum of one; every window covers all of it.
        total = weight.sum(dim=1, keepdim=True) if even_borders else weight[:, :1].sum()
        self.register_buffer("axis", (weight / total).float(), persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Maps (..., size, size) of (..., n, n) scores of windows."""
        with full_precision(grid.device):
            return self.axis @ grid.float() @ self.axis.mT


class LogUpsampling(nn.Module):
    """Bilinear up-sampling to `size` pixels of densities, from logarithms to logarithms.

    The result is the logarithm of `interpolate(align_corners=False)` of the exponentials, which may all round to zero.
    """

    def __init__(self, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        for axis, length in enumerate(grid):
            position = ((torch.arange(size, dtype=torch.float64) + 0.5) * length / size - 0.5).clamp(0, length - 1)
            before = position.long()
            ends = torch.stack([before, (before + 1).clamp_max(length - 1)])
            share = position - before
            self.register_buffer(f"ends{axis}", ends, persistent=False)
            self.register_buffer(f"shares{axis}", torch.stack([1 - share, share]).log().float(), persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Logarithms (..., size, size) of (..., h, w) logarithms."""
        rows = self._along(0, grid.mT).mT
        return self._along(1, rows)

    def _along(self, axis: int, values: Tensor) -> Tensor:
        ends, shares = getattr(self, f"ends{axis}"), getattr(self, f"shares{axis}")
        return torch.logaddexp(values[..., ends[0]] + shares[0], values[..., ends[1]] + shares[1])


def _axis(length: int, size: int, sigma: float, truncate: float, align_corners: bool, border: Border) -> Tensor:
    unit = torch.eye(length, dtype=torch.float64)[None]
    enlarged = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=align_corners)
    upsampled = enlarged[0].T.numpy()
    blurred = gaussian_filter1d(upsampled, sigma, axis=0, mode=border, truncate=truncate) if sigma > 0 else upsampled
    return torch.from_numpy(np.ascontiguousarray(blurred)).float()
