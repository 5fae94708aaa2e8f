"""Images turned about their centre."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def turned(image: Tensor, times: int) -> list[Tensor]:
    """Square images (B, channels, side, side) turned by 0, 1/times, 2/times, ... of a circle, counter-clockwise.

    Quarter turns move pixels; others are bilinear, and corners that come in from outside show the image mirrored at its
    border, as with OpenCV's default.
    """
    return [_turned(image, 4 * step, times) for step in range(times)]


def _turned(image: Tensor, quarters: int, times: int) -> Tensor:
    if quarters % times == 0:
        return torch.rot90(image, quarters // times, dims=(2, 3))
    angle = math.pi / 2 * quarters / times
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = image.new_tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]]).expand(len(image), 2, 3)
    grid = affine_grid(matrix, list(image.shape), align_corners=True)
    return grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
