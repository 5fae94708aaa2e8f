"""From a coarse grid of distances to an anomaly map: up-sampling and blur as one linear map per axis."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn


class SmoothUpsampling(nn.Module):
    """Bilinear up-sampling to `size` pixels, then a Gaussian blur of `sigma` pixels.

    Both are linear and act on rows and columns alike, so that two small matrix products do exactly what
    `interpolate(align_corners=False)` followed by `scipy.ndimage.gaussian_filter` does (kernel cut at `truncate` sigma,
    mirrored border), at a fraction of the cost.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, grid: tuple[int, int], size: int, sigma: float, *, truncate: float = 4.0) -> None:
        super().__init__()
        self.register_buffer("rows", _axis(grid[0], size, sigma, truncate), persistent=False)
        self.register_buffer("columns", _axis(grid[1], size, sigma, truncate), persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Maps (..., size, size) of (..., h, w) distances."""
        return self.rows @ grid @ self.columns.mT


def _axis(length: int, size: int, sigma: float, truncate: float) -> Tensor:
    unit = torch.eye(length, dtype=torch.float64)[None]
    upsampled = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=False)[0].T.numpy()
    blurred = gaussian_filter1d(upsampled, sigma, axis=0, mode="reflect", truncate=truncate) if sigma > 0 else upsampled
    return torch.from_numpy(np.ascontiguousarray(blurred)).float()
