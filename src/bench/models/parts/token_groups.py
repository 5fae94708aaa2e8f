"""All tokens of a frozen vision transformer, averaged over groups of its blocks."""

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor

from bench.errors import UsageError
from bench.models.parts.backbones import Backbone

_FAMILIES = {"timm.models.vision_transformer", "timm.models.deit"}


class TokenGroups(Backbone):
    """Tokens of a frozen transformer as its blocks give them, without its last norm, averaged over groups of blocks.

    Each image has one sequence a group: class token, distillation token and registers first, as far as the network has
    them, then a token for each patch, row by row. All else is as in `Backbone`; a group is one level of the feature
    cache.

    Args:
        name: a ViT or DeiT of timm's.
        groups: the blocks of each group, from 0.
        weights: a file, a tag of timm's, or 'none'.
        size: side of the square input in pixels.

    Attributes:
        width: numbers of a token.
        prefix: tokens before those of the patches.
        has_class_token: whether the first of them is the class token.
        grid: rows and columns of patches.
    """

    def __init__(self, name: str, groups: Sequence[Sequence[int]], weights: str, size: int) -> None:
        if name in timm.list_models() and timm.model_entrypoint(name).__module__ not in _FAMILIES:
            raise UsageError(f"{name} is no plain vision transformer: set --model.backbone to a ViT or DeiT of timm's")
        self._groups = [list(group) for group in groups]  # before the base runs the network, to learn its shapes
        blocks = [block for group in self._groups for block in group]
        super().__init__(name, blocks, weights, size)
        tokens, self.width = self.shapes[0]
        patches: tuple[int, int] = self.network.patch_embed.grid_size  # type: ignore[union-attr, assignment]
        self.grid = (patches[0], patches[1])
        self.prefix = tokens - math.prod(self.grid)
        self.has_class_token = self.prefix > 0 and getattr(self.network, "cls_token", None) is not None

    def _drop_unused(self, size: int) -> None:
        """Drop them; from now on a level, to the cache as well, is a group."""
        super()._drop_unused(size)
        passed = self._passed[self._levels[0]]
        self._levels = [f"all tokens, mean of blocks {group}" for group in self._groups]
        self._passed = dict.fromkeys(self._levels, passed)

    def _run(self, image: Tensor) -> list[Tensor]:
        """Tokens (B, prefix + patches, width) of each group."""
        ascending = sorted(set(self._blocks))
        run: Any = self.network.forward_intermediates
        form = {"norm": False, "output_fmt": "NLC", "return_prefix_tokens": True}
        parts = run(image, indices=ascending, stop_early=True, intermediates_only=True, **form)
        tokens = [torch.cat([prefix, patches], dim=1) for patches, prefix in parts]
        return [torch.stack([tokens[ascending.index(b)] for b in group]).mean(dim=0) for group in self._groups]
