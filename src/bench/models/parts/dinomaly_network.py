"""Dinomaly's trained part: a noisy bottleneck and a decoder with linear attention (Guo et al., CVPR 2025, section 3).

The networks are those of the authors' code (guojiajeremy/Dinomaly, `models/vision_transformer.py`).
"""

import math

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn.functional import elu

from bench.models.parts.precision import full_precision, network_precision

_HIDDEN = 4  # hidden numbers for each of a token, in the bottleneck and in the decoder's blocks
_EPSILON = 1e-8  # of the decoder's norms


class LinearAttention(nn.Module):
    """Attention by elu(x) + 1 of queries and keys in place of a softmax (section 3.3; Katharopoulos et al., 2020).

    Its cost grows linearly with the tokens, and it cannot single one out. Its products are in single precision: they
    are sums over all tokens.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, width) to tokens."""
        images, count, width = tokens.shape
        parts = self.qkv(tokens).view(images, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        with full_precision(tokens.device):
            query, key, value = parts.float().unbind(0)
            query, key = elu(query) + 1, elu(key) + 1
            total = query @ key.sum(dim=2)[..., None]
            attended = query @ (key.mT @ value) / total
        return self.proj(attended.transpose(1, 2).reshape(images, count, width))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block with linear attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = LinearAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width, _HIDDEN * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, width) to tokens."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]


class Reconstruction(nn.Module):
    """The noisy bottleneck and the decoder: from the encoder's tokens to one reconstruction for each group.

    The decoder's blocks are taken from the last to the first, and are divided into equal groups: the group of its last
    blocks reconstructs that of the encoder's first (section 3.4).

    Args:
        width: numbers of a token.
        heads: heads of the decoder's attention.
        depth: the decoder's blocks, a multiple of `groups`.
        groups: how many groups.
        dropout: share of the bottleneck's numbers that a training step drops, before each layer and behind the last.
    """

    def __init__(self, width: int, heads: int, depth: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.groups = groups
        self.noise = nn.Dropout(dropout)
        self.bottleneck = Mlp(width, _HIDDEN * width, drop=dropout)
        self.decoder = nn.ModuleList(Block(width, heads) for _ in range(depth))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Reconstructions (B, N, width) of each group, in single precision, of the mean of the encoder's tokens."""
        outputs = []
        with network_precision(tokens.device):
            tokens = self.bottleneck(self.noise(tokens)).float()  # what the blocks add to stays in single precision
            for block in self.decoder:
                tokens = block(tokens)
                outputs.append(tokens)
        backwards, own = outputs[::-1], len(outputs) // self.groups
        return [torch.stack(backwards[i : i + own]).mean(dim=0).float() for i in range(0, len(outputs), own)]


def heads_of(width: int) -> int:
    """Heads of 64 numbers, as ViT-S, ViT-B and ViT-L have; of as many as divide a width that is no multiple of that."""
    return width // math.gcd(width, 64)
