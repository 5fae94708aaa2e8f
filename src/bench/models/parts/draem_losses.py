"""DRAEM's losses (arXiv 2108.07610, equations 2 to 5), as its authors' code computes them."""

import torch
from torch import Tensor, nn

from bench.models.parts.precision import full_precision

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SMOOTHING = 1e-5


class ZeroPaddedSSIM(nn.Module):
    """Structural similarity of images around [0, 1]: 11 x 11 windows, a Gaussian of sigma 1.5, 0 beyond the border.

    The window acts on rows and columns separately, as two matrix products.
    """

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        distance = torch.arange(size)[:, None] - torch.arange(size)
        weight = (-(distance.double() ** 2) / (2 * _SIGMA**2)).exp() * (distance.abs() <= _WINDOW // 2)
        total = (-(torch.arange(_WINDOW).double() - _WINDOW // 2).square() / (2 * _SIGMA**2)).exp().sum()
        self.register_buffer("window", (weight / total).float(), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean SSIM over pixels, channels and images (B, C, size, size)."""
        with full_precision(output.device):
            products = torch.stack([output, target, output * output, target * target, output * target])
            mean, other_mean, square, other_square, product = self.window @ products @ self.window
            variance, other_variance = square - mean * mean, other_square - other_mean * other_mean
            covariance = product - mean * other_mean
            similarity: Tensor = (2 * mean * other_mean + _C1) * (2 * covariance + _C2)
            similarity = similarity / ((mean**2 + other_mean**2 + _C1) * (variance + other_variance + _C2))
            return similarity.mean()


def focal_loss(logits: Tensor, mask: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean of -(1 - p)^gamma log p of logits (B, 2, H, W) and masks (B, 1, H, W), p being the right class's.

    The authors smooth the classes by 1e-5 and add as much to p.
    """
    anomalous = torch.sigmoid(logits[:, 1:] - logits[:, :1])
    right = torch.where(mask, anomalous, 1 - anomalous)
    smoothed = right * (1 - _SMOOTHING) + (1 - right) * _SMOOTHING + _SMOOTHING
    return -((1 - smoothed) ** gamma * smoothed.log()).mean()
