"""A reduced, blurred map of which an image's score is taken, and that map enlarged: Dinomaly's evaluation."""

import torch
from torch import Tensor, nn

from bench.models.parts.precision import full_precision


class ReducedUpsampling(nn.Module):
    """A map in two steps, as Dinomaly's authors make theirs: a reduced one that is scored, and that one enlarged.

    Cells are enlarged to `size` pixels bilinearly with aligned corners, reduced to `reduced` pixels bilinearly, and
    blurred by a Gaussian of `kernel` pixels with zeros beyond the border. All of it is linear and acts on rows and
    columns alike, so that one matrix for each does it. Enlarging the reduced map to `size` pixels is bilinear.
    """

    rows: Tensor
    columns: Tensor
    back: Tensor

    def __init__(self, grid: tuple[int, int], size: int, reduced: int, sigma: float, kernel: int = 5) -> None:
        super().__init__()
        self.reduced = reduced
        blur = _zero_padded_blur(reduced, sigma, kernel)
        for name, length in zip(("rows", "columns"), grid, strict=True):
            axis = blur @ _linear(size, reduced) @ _linear(length, size, align_corners=True)
            self.register_buffer(name, axis.float(), persistent=False)
        self.register_buffer("back", _linear(reduced, size).float(), persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Reduced maps (..., reduced, reduced) of (..., h, w) distances."""
        with full_precision(grid.device):
            return self.rows @ grid.float() @ self.columns.mT

    def enlarge(self, reduced: Tensor) -> Tensor:
        """Maps (..., size, size) of reduced ones."""
        with full_precision(reduced.device):
            return self.back @ reduced @ self.back.mT


def mean_of_highest(values: Tensor, share: float) -> Tensor:
    """The mean (B,) of the highest `share` of the pixels of maps (B, h, w), one at least.

    Pixels of minus infinity do not count: the share is of the others.
    """
    flat = values.flatten(1)
    most = max(1, int(share * flat.shape[1]))
    counting = flat.isfinite().sum(dim=1, keepdim=True)
    # The small addition: in single precision a product that is a whole number may be less.
    taken = (counting * share + 1e-4).floor().clamp(1, most)
    highest = flat.topk(most, dim=1).values
    counts = torch.arange(most, device=flat.device) < taken
    return torch.where(counts, highest, 0.0).sum(dim=1) / taken[:, 0]


def _linear(length: int, size: int, *, align_corners: bool = False) -> Tensor:
    """The matrix (size, length) of a bilinear change of size along an axis."""
    unit = torch.eye(length, dtype=torch.float64)[None]
    resized = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=align_corners)
    return resized[0].T.contiguous()


def _zero_padded_blur(size: int, sigma: float, kernel: int) -> Tensor:
    """The matrix (size, size) of a Gaussian of an odd number of pixels along an axis, zeros beyond the border."""
    offsets = torch.arange(size, dtype=torch.float64)[:, None] - torch.arange(size)
    weights = (-offsets.square() / (2 * sigma**2)).exp() * (offsets.abs() <= kernel // 2)
    return weights / (-torch.arange(-(kernel // 2), kernel // 2 + 1).double().square() / (2 * sigma**2)).exp().sum()
