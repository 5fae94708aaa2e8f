"""Networks and losses of SimpleNet (arXiv 2303.15140) and SuperSimpleNet (arXiv 2408.03143)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate

from bench.models.parts.patch_features import patch_features

_SLOPE = 0.2
_KERNEL = 5
_FOCUS = 4  # gamma of the focal loss


class UpscaledFeatures(nn.Module):
    """Levels at twice the first one's resolution, joined, each position averaged with the eight around it.

    Padding counts as zeros in an average at the border. The authors align the corners; anomalib does not.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, align_corners: bool = True) -> None:
        super().__init__()
        self.channels = sum(shape[0] for shape in shapes)
        self.side = 2 * shapes[0][1]
        self.align_corners = align_corners

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Features (B, channels, side, side) of levels (B, C, h, w)."""
        size, aligned = (self.side, self.side), self.align_corners
        enlarged = [interpolate(each, size, mode="bilinear", align_corners=aligned) for each in levels]
        return avg_pool2d(torch.cat(enlarged, dim=1), 3, stride=1, padding=1)


class PatchFeatures(nn.Module):
    """PatchCore's patches at the first level's resolution, as SimpleNet has them."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], features: int) -> None:
        super().__init__()
        self.channels = features
        self.side = shapes[0][1]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Features (B, channels, side, side) of levels (B, C, h, w)."""
        patches = patch_features(levels, self.channels, self.channels)
        return patches.mT.reshape(len(patches), self.channels, self.side, self.side)


class Adaptor(nn.Conv2d):
    """A linear layer at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1)
        self.apply(draw_weights)


class SegmentationHead(nn.Sequential):
    """The anomaly (B, 1, h, w) of each position of features (B, channels, h, w): SimpleNet's discriminator."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(
            nn.Conv2d(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(hidden, 1, 1, bias=False),
        )
        self.apply(draw_weights)


class ClassificationHead(nn.Module):
    """The anomaly (B,) of an image from its features (B, channels, h, w) and their anomalies (B, 1, h, w).

    Largest and mean values of a convolution of both and of the anomalies, then one linear layer (section 3.3).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            nn.Conv2d(channels + 1, hidden, _KERNEL, padding=_KERNEL // 2), nn.BatchNorm2d(hidden), nn.ReLU()
        )
        self.linear = nn.Linear(2 * hidden + 2, 1)
        self.apply(draw_weights)

    def forward(self, features: Tensor, anomalies: Tensor) -> Tensor:
        """Logits (B,) of a defect."""
        return self.logits(self.pooled(features, anomalies))

    def pooled(self, features: Tensor, anomalies: Tensor) -> Tensor:
        """The numbers (B, 2 hidden + 2) that the linear layer sees."""
        convolved = self.convolution(torch.cat([features, anomalies], dim=1))
        parts = [each for values in (convolved, anomalies) for each in (values.amax((2, 3)), values.mean((2, 3)))]
        return torch.cat(parts, dim=1)

    def logits(self, pooled: Tensor) -> Tensor:
        """Logits (B,) of a defect from what was pooled."""
        found: Tensor = self.linear(pooled)
        return found[:, 0]


def draw_weights(module: nn.Module) -> None:
    """Glorot's normal weights, as both papers' code draws them; biases remain torch's."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_normal_(module.weight)


def truncated_l1(anomalies: Tensor, mask: Tensor, margin: float) -> Tensor:
    """How far positions are within a margin of the other side of 0, averaged over each side.

    SimpleNet's equation 6, with signs changed: positions where the mask is 1 should exceed `margin`, the others lie
    below `-margin`. A side without positions adds nothing.
    """
    normal, anomalous = (margin + anomalies).clamp_min(0), (margin - anomalies).clamp_min(0)
    return _mean_where(normal, 1 - mask) + _mean_where(anomalous, mask)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """The mean focal loss (Lin et al., ICCV 2017) with gamma 4 and without class weights, as DeSTSeg has it."""
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    cross_entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (cross_entropy * (1 - right) ** _FOCUS).mean()


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)  # no boolean index, for which a GPU is waited for
