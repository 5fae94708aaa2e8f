"""Perlin noise, smooth random fields (Perlin, SIGGRAPH 1985), and the regions in which it is high.

Each axis of a field has a power of two of cells, drawn for each field.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from bench.models.parts.precision import full_precision

_LEAST_CELL = 8  # pixels of a cell of the finest noise, as DRAEM's 32 cells of 256 pixels
_THRESHOLD = 0.5
_TURN = math.radians(90)
_MOST_CELLS = 32  # along an axis: SuperSimpleNet's largest frequency


def draw_masks(count: int, size: int, device: torch.device) -> Tensor:
    """DRAEM's masks (count, 1, size, size): noise of random scales for rows and columns, turned, above .5.

    Cells are as many as leave 8 pixels to each. All draws come from torch's CPU generator, whatever the device: a seed
    gives the same masks on every device.
    """
    finest = max(1, int(math.log2(size / _LEAST_CELL)) + 1)
    cells = 2 ** torch.randint(finest, (count, 2))
    angles = 2 * math.pi * torch.rand(count, *[2 ** (finest - 1) + 1] * 2)
    turn = _TURN * (2 * torch.rand(count) - 1)
    with full_precision(device):
        noise = perlin(_send(cells, device), _send(angles, device), size)
        return turned(noise[:, None], _send(turn, device)) > _THRESHOLD


def random_regions(count: int, side: int, threshold: float, device: torch.device) -> Tensor:
    """SuperSimpleNet's masks (count, 1, side, side), 1 where noise exceeds a threshold; half of them are left empty.

    Each axis has 1, 2, 4, ... or 32 cells, at most one for each pixel.
    """
    power = 1 << (side - 1).bit_length()  # cells divide a power of two
    most = min(_MOST_CELLS, power)
    cells = 2 ** torch.randint(0, most.bit_length(), (count, 2), device=device)
    angles = 2 * math.pi * torch.rand(count, most + 1, most + 1, device=device)
    noise = perlin(cells, angles, power)[:, None]
    if power != side:
        noise = interpolate(noise, size=(side, side), mode="bilinear", align_corners=False)
    kept = torch.rand(count, 1, 1, 1, device=device) <= 0.5
    return ((noise > threshold) & kept).float()


def perlin(cells: Tensor, angles: Tensor, size: int) -> Tensor:
    """Noise (B, size, size) in [-1, 1] of cells (B, 2) along rows and columns, and angles (B, n, n) at their corners.

    A pixel's value is that of the gradients of its four corners, faded by 6 t^5 - 15 t^4 + 10 t^3, times the root of 2.
    """
    place = torch.arange(size, device=cells.device, dtype=angles.dtype) * cells[..., None] / size  # (B, 2, size)
    first = place.floor().long()
    inner = place - first
    down, right = inner[:, 0, :, None], inner[:, 1, None, :]
    batch = torch.arange(len(cells), device=cells.device)[:, None, None]

    def ramp(row: int, column: int) -> Tensor:
        angle = angles[batch, first[:, 0, :, None] + row, first[:, 1, None, :] + column]
        return angle.cos() * (down - row) + angle.sin() * (right - column)

    fade_down, fade_right = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (down, right))
    left = torch.lerp(ramp(0, 0), ramp(1, 0), fade_down.expand(-1, size, size))
    other = torch.lerp(ramp(0, 1), ramp(1, 1), fade_down.expand(-1, size, size))
    return math.sqrt(2) * torch.lerp(left, other, fade_right.expand(-1, size, size))


def turned(image: Tensor, angle: Tensor) -> Tensor:
    """Images (B, C, H, W) turned by angles (B,) in radians around their middle, bilinearly, with 0 outside."""
    with full_precision(image.device):
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = torch.stack([torch.stack([cosine, -sine, zero], dim=1), torch.stack([sine, cosine, zero], dim=1)], dim=1)
        grid = affine_grid(rows, list(image.shape), align_corners=False)
        return grid_sample(image, grid, align_corners=False)


def _send(drawn: Tensor, device: torch.device) -> Tensor:
    """Copy a few numbers drawn on the CPU to the device, without waiting for the copy."""
    return drawn.to(device, non_blocking=True)
