"""FastFlow's 2-D normalizing flow: affine couplings by small convolutional networks (Yu et al., arXiv 2111.07677)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bench.models.parts.precision import network_precision

# The pre-activation at which a channel's scale is 1.
_UNIT_SCALE = 2 * math.log(math.exp(5) - 1)


class CouplingStep(nn.Module):
    """Half of the channels scale and shift the others; then a scale and an offset per channel, and a fixed shuffle.

    The same as FrEIA's `AllInOneBlock`, which other implementations use; a test compares the numbers. FrEIA is not used
    here, because its last release is of 2022 and has no types, its shuffles are products with dense matrices, and two
    of those per step are among its parameters and in every checkpoint (88 MB for WideResNet-50-2).

    Only the sub-network may compute in half precision: scales, shifts and determinants have the features' precision.

    Args:
        channels: channels of the features, two at least.
        kernel: side of the convolutions.
        hidden_ratio: hidden channels per channel that the sub-network gets, which is half of all.
        clamp: bound of the logarithm of a coupling's scale.
    """

    order: Tensor

    def __init__(self, channels: int, kernel: int, hidden_ratio: float, clamp: float) -> None:
        super().__init__()
        self.parts = [channels - channels // 2, channels // 2]
        self.clamp = clamp
        hidden = max(1, int(self.parts[0] * hidden_ratio))
        self.network = nn.Sequential(
            nn.Conv2d(self.parts[0], hidden, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * self.parts[1], kernel, padding=kernel // 2),
        )
        self.scale = nn.Parameter(torch.full((channels, 1, 1), _UNIT_SCALE))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("order", torch.randperm(channels))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and the logarithms (B,) of the Jacobian's determinant."""
        passive, active = torch.split(features, self.parts, dim=1)
        log_scale, shift = self._coupling(passive)
        joined = torch.cat([passive, active * log_scale.exp() + shift], dim=1)
        scale = self._scale()
        positions = features.shape[2] * features.shape[3]
        determinant = log_scale.sum(dim=(1, 2, 3)) + positions * scale.log().sum()
        return (joined * scale + self.offset).index_select(1, self.order), determinant

    def inverse(self, latent: Tensor) -> Tensor:
        """The features (B, C, H, W) that `forward` maps to `latent`."""
        joined = (latent.index_select(1, self.order.argsort()) - self.offset) / self._scale()
        passive, active = torch.split(joined, self.parts, dim=1)
        log_scale, shift = self._coupling(passive)
        return torch.cat([passive, (active - shift) * (-log_scale).exp()], dim=1)

    def _coupling(self, passive: Tensor) -> tuple[Tensor, Tensor]:
        with network_precision(passive.device):
            found = self.network(passive)
        # A tenth, so that the flow begins near the identity.
        log_scale, shift = (0.1 * found.to(passive.dtype)).chunk(2, dim=1)
        return self.clamp * log_scale.tanh(), shift

    def _scale(self) -> Tensor:
        return 0.1 * softplus(self.scale, beta=0.5)


class Flow(nn.Module):
    """Coupling steps one after the other: from features to a standard normal distribution, and back.

    Args:
        channels: channels of the features, two at least.
        steps: how many.
        alternate: whether every second step's convolutions are 1 x 1; the others are 3 x 3.
        hidden_ratio: as in `CouplingStep`.
        clamp: as in `CouplingStep`.
    """

    def __init__(self, channels: int, steps: int, *, alternate: bool, hidden_ratio: float, clamp: float) -> None:
        super().__init__()
        kernels = [1 if alternate and step % 2 else 3 for step in range(steps)]
        self.steps = nn.ModuleList(CouplingStep(channels, kernel, hidden_ratio, clamp) for kernel in kernels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Latent values (B, C, H, W) and the logarithms (B,) of the Jacobian's determinant."""
        determinant = features.new_zeros(features.shape[0])
        for step in self.steps:
            features, own = step(features)
            determinant = determinant + own
        return features, determinant

    def inverse(self, latent: Tensor) -> Tensor:
        """The features (B, C, H, W) that `forward` maps to `latent`."""
        for step in reversed(self.steps):
            assert isinstance(step, CouplingStep)
            latent = step.inverse(latent)
        return latent
