"""Convolutional autoencoder with L2 or SSIM loss (Bergmann et al., VISAPP 2019, arXiv 1807.02011)."""

from typing import Literal

import torch
from torch import Tensor, nn

from bench.config.number_ranges import Count, NonNegative, Sigma
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.models.base import Detector, Prediction
from bench.models.parts.convolutional import Decoder, Encoder, squared_error, to_grey
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.precision import network_precision
from bench.models.parts.windows import WINDOWS_AT_ONCE, SlidingWindows


class SSIM(nn.Module):
    """Structural similarity of images in [0, 1] with the paper's 11 x 11 window, Gaussian of sigma 1.5 (equation 3).

    The window acts on rows and columns separately, as two matrix products: on a CPU a training step took about a fifth
    of the time that it took with a two-dimensional convolution.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.window = SmoothUpsampling((size, size), size, 1.5, truncate=3.5)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """SSIM (B, H, W), averaged over channels."""
        products = torch.stack([output, target, output * output, target * target, output * target])
        mean, other_mean, square, other_square, product = self.window(products)
        variance, other_variance = square - mean * mean, other_square - other_mean * other_mean
        covariance = product - mean * other_mean
        c1, c2 = 0.01**2, 0.03**2
        similarity: Tensor = (2 * mean * other_mean + c1) * (2 * covariance + c2)
        similarity = similarity / ((mean**2 + other_mean**2 + c1) * (variance + other_variance + c2))
        return similarity.mean(dim=1)


class Autoencoder(Detector):
    """Reconstruct normal images through a narrow code; what is reconstructed badly is anomalous.

    Args:
        spec: what the data are like.
        latent_dim: length of the code (the paper's d).
        residual: loss and map: `l2` squared error, `ssim` 1 - SSIM with the paper's 11 x 11 window.
        grey: whether colour images are reduced to grey first, as the paper does for SSIM.
        sigma: standard deviation in pixels of the blur of the anomaly map; the score is its maximum.
        learning_rate: of Adam.
        weight_decay: L2 penalty of Adam.
        stride: pixels between the windows through which a texture is tested when it was learned in patches.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent_dim: Count = 100,
        residual: Literal["l2", "ssim"] = "ssim",
        grey: bool = True,
        sigma: Sigma = 4.0,
        learning_rate: NonNegative = 2e-4,
        weight_decay: NonNegative = 1e-5,
        stride: int = 30,
    ) -> None:
        super().__init__(spec)
        channels, side = 1 if grey else spec.channels, spec.patch or spec.size
        self.encoder = Encoder(side, channels, latent_dim)
        self.decoder = Decoder(side, channels, latent_dim)
        self.windows = SlidingWindows(spec.size, side, stride)
        self.smooth = SmoothUpsampling((spec.size, spec.size), spec.size, sigma)
        self.ssim = SSIM(side)
        self.residual = residual
        self.grey = grey
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def forward(self, image: Tensor) -> Prediction:
        """Score = maximum of the blurred residual map."""
        parts = torch.split(self.windows.cut(to_grey(image) if self.grey else image), WINDOWS_AT_ONCE)
        anomaly_map = self.smooth(self.windows.merge(torch.cat([self._residual_map(part) for part in parts])))
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error summed over an image (equation 1), or 1 - mean SSIM (equation 4)."""
        target = self.windows.tiles(to_grey(batch.image) if self.grey else batch.image)
        output = self.reconstruct(target)
        if self.residual == "l2":
            return {"loss": squared_error(output, target).sum(dim=(1, 2)).mean()}
        return {"loss": 1 - self.ssim(output, target).mean()}

    def reconstruct(self, image: Tensor) -> Tensor:
        """Images (B, channels, side, side) reconstructed from their codes."""
        with network_precision(image.device):
            output: Tensor = self.decoder(self.encoder(image))
        return output.float()

    def _residual_map(self, target: Tensor) -> Tensor:
        output = self.reconstruct(target)
        return squared_error(output, target) if self.residual == "l2" else 1 - self.ssim(output, target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
