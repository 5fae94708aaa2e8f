"""Convolutional variational autoencoder (Kingma and Welling, ICLR 2014, arXiv 1312.6114)."""

import math
from itertools import pairwise
from typing import Literal

import timm
import torch
from torch import Tensor, nn

from bench.config.number_ranges import Count, NonNegative, Positive, Sigma
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.convolutional import Decoder, Encoder, squared_error
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.precision import network_precision
from bench.models.parts.windows import WINDOWS_AT_ONCE, SlidingWindows

# exp(10 / 2) is a standard deviation of 148: beyond it only overflow lies.
_LOG_VARIANCE_LIMIT = 10.0
_HALVINGS = 5  # of a ResNet


class VAE(Detector):
    """Reconstruct normal images through a Gaussian code; what is unlikely under the model is anomalous.

    Args:
        spec: what the data are like.
        network: `plain` is the autoencoder's with a vector as code; `resnet18` has an untrained ResNet-18 as encoder
            and a grid of codes, 8 x 8 for 256 pixels, as the baseline in PaDiM's paper.
        latent_dim: dimensions of the code; of each position's with `resnet18`.
        beta: weight of the KL term; 1 is the evidence lower bound.
        noise: standard deviation of the Gaussian likelihood of a pixel, in units of [0, 1].
        score: `reconstruction` takes the maximum of the blurred squared error, `likelihood` the negative evidence lower
            bound of the whole image (equation 3), in nats; of a texture learned in patches, its windows' mean.
        sigma: standard deviation in pixels of the blur of the anomaly map.
        learning_rate: of Adam.
        stride: pixels between the windows through which a texture is tested when it was learned in patches.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: Literal["plain", "resnet18"] = "plain",
        latent_dim: Count = 128,
        beta: NonNegative = 1.0,
        noise: Positive = 0.1,
        score: Literal["reconstruction", "likelihood"] = "reconstruction",
        sigma: Sigma = 4.0,
        learning_rate: NonNegative = 1e-3,
        stride: int = 30,
    ) -> None:
        super().__init__(spec)
        side = spec.patch or spec.size
        encoder, decoder = (Encoder, Decoder) if network == "plain" else (ResNetEncoder, ResNetDecoder)
        self.encoder = encoder(side, spec.channels, 2 * latent_dim)
        self.decoder = decoder(side, spec.channels, latent_dim)
        self.windows = SlidingWindows(spec.size, side, stride)
        self.smooth = SmoothUpsampling((spec.size, spec.size), spec.size, sigma)
        self.beta = beta
        self.noise = noise
        self.score = score
        self.learning_rate = learning_rate

    def forward(self, image: Tensor) -> Prediction:
        """Score with the mean code: no sampling, so that the same image always gets the same score."""
        errors, bounds = [], []
        for part in torch.split(self.windows.cut(image), WINDOWS_AT_ONCE):
            mean, log_variance = self.encode(part)
            errors.append(squared_error(self.decode(mean), part))
            bounds.append(self.negative_log_likelihood(errors[-1]) + divergence(mean, log_variance))
        anomaly_map = self.smooth(self.windows.merge(torch.cat(errors)))
        if self.score == "likelihood":
            return Prediction(torch.cat(bounds).view(len(image), -1).mean(dim=1), anomaly_map)
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent_dim, ...) of the code."""
        with network_precision(image.device):
            code: Tensor = self.encoder(image)
        mean, log_variance = code.float().chunk(2, dim=1)
        return mean, log_variance.clamp(-_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)

    def decode(self, code: Tensor) -> Tensor:
        """Images (B, channels, side, side) of codes (B, latent_dim, ...)."""
        with network_precision(code.device):
            image: Tensor = self.decoder(code)
        return image.float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Negative evidence lower bound per image, summed over pixels: a mean over pixels would let the KL term win."""
        image = self.windows.tiles(batch.image)
        mean, log_variance = self.encode(image)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        likelihood = self.negative_log_likelihood(squared_error(self.decode(code), image)).mean()
        kl = divergence(mean, log_variance).mean()
        return {"loss": likelihood + self.beta * kl, "negative_log_likelihood": likelihood, "kl": kl}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def negative_log_likelihood(self, error: Tensor) -> Tensor:
        """-log p(x | z) (B,) in nats of squared errors (B, H, W)."""
        values = error[0].numel() * self.spec.channels
        constant = values * (math.log(self.noise) + math.log(2 * math.pi) / 2)
        return error.sum(dim=(1, 2)) / (2 * self.noise**2) + constant


class ResNetEncoder(nn.Sequential):
    """timm's ResNet-18 without its classifier, from (B, channels, size, size) to (B, outputs, size / 32, size / 32)."""

    def __init__(self, size: int, channels: int, outputs: int) -> None:
        if size % 2**_HALVINGS:
            raise UsageError(f"a ResNet halves its input five times: {size} pixels is no multiple of {2**_HALVINGS}")
        body = timm.create_model("resnet18", in_chans=channels, num_classes=0, global_pool="")
        super().__init__(body, nn.Conv2d(512, outputs, 1))


class ResNetDecoder(nn.Sequential):
    """Five doublings with the encoder's channels, from (B, latent_dim, size / 32, size / 32) to images in (0, 1).

    PaDiM's paper does not describe its decoder.
    """

    def __init__(self, _size: int, channels: int, latent_dim: int) -> None:
        widths = (latent_dim, 512, 256, 128, 64, 64)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(64, channels, 3, padding=1), nn.Sigmoid())


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence (B,) in nats of N(mean, exp(log_variance)) from N(0, I) (appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1) / 2
