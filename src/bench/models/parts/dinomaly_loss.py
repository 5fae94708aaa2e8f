"""Dinomaly's loss: global cosine distance, with smaller gradients where the reconstruction is good already.

Guo et al., CVPR 2025, section 3.4; `global_cosine_hm_percent` of the authors' code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bench.models.parts.precision import full_precision


def cosine_distance(encoded: Tensor, decoded: Tensor) -> Tensor:
    """1 - cosine (B, N) of each token of (B, N, width) and its reconstruction."""
    return 1 - cosine_similarity(encoded, decoded, dim=2)


def hard_mining_loss(encoded: Sequence[Tensor], decoded: Sequence[Tensor], share: float, factor: float) -> Tensor:
    """The mean over groups and images of 1 - cosine of an image's whole features and their reconstruction.

    The gradient of the `share` of tokens that are reconstructed best, among those of all images of the batch, is
    multiplied by `factor`; the loss itself is not changed by that.

    Args:
        encoded: patch tokens (B, N, width) of each group; no gradient reaches them.
        decoded: their reconstructions.
        share: share of the easy tokens, in [0, 1).
        factor: what their gradient is multiplied by.
    """
    losses = []
    with full_precision(encoded[0].device):
        for target, found in zip(encoded, decoded, strict=True):
            target = target.detach().float()
            if found.requires_grad and share > 0:
                weights = gradient_weights(target, found.detach(), share, factor)
                found.register_hook(weights.mul)  # type: ignore[no-untyped-call]
            losses.append((1 - cosine_similarity(target.flatten(1), found.flatten(1), dim=1)).mean())
        return torch.stack(losses).mean()


def gradient_weights(encoded: Tensor, decoded: Tensor, share: float, factor: float) -> Tensor:
    """What each token's gradient (B, N, 1) is multiplied by: 1 for the hardest `1 - share` of all, else `factor`."""
    distance = cosine_distance(encoded, decoded)
    hard = max(1, int(distance.numel() * (1 - share)))
    least = distance.flatten().topk(hard).values[-1]
    return torch.where(distance < least, factor, 1.0)[..., None]


def easy_share_at(update: int, last: float, updates: int) -> float:
    """The share of easy tokens at an update: it rises linearly from 0 to `last` in the first `updates`."""
    return min(last * update / max(updates, 1), last)
