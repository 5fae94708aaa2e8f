"""Features of 3 x 3 neighbourhoods of several levels, averaged to a number that is chosen (PatchCore, section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, interpolate, unfold


def patch_features(levels: Sequence[Tensor], level_features: int, features: int) -> Tensor:
    """Patches (B, positions, features) at the first level's grid, of levels (B, C, h, w).

    Each level's neighbourhoods are averaged to `level_features` numbers, and those of all levels to `features`.
    """
    grid = levels[0].shape[2:]
    pooled = [_neighbourhoods(level, level_features, grid) for level in levels]
    together = torch.stack([level.flatten(2).mT for level in pooled], dim=2).flatten(2)
    return adaptive_avg_pool1d(together, features) if len(pooled) > 1 else together


def _neighbourhoods(level: Tensor, features: int, grid: torch.Size) -> Tensor:
    """(B, features, h, w): each position with the eight around it, pooled; then brought to the grid.

    Pooling comes first: it is linear like the up-sampling, and there are fewer positions before that.
    """
    around = unfold(level.float(), 3, padding=1)
    pooled = adaptive_avg_pool1d(around.mT, features).mT.reshape(len(level), -1, *level.shape[2:])
    return pooled if level.shape[2:] == grid else interpolate(pooled, grid, mode="bilinear")
