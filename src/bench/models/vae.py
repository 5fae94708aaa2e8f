"""Convolutional variational autoencoder (Kingma and Welling, ICLR 2014, arXiv 1312.6114)."""

import math
from typing import Literal

import torch
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.models.autoencoder import Decoder, Encoder, squared_error
from bench.models.base import Detector, Prediction
from bench.models.maps import SmoothUpsampling

# exp(10 / 2) is a standard deviation of 148: beyond it only overflow lies.
_LOG_VARIANCE_LIMIT = 10.0


class VAE(Detector):
    """Reconstruct normal images through a Gaussian code; what is unlikely under the model is anomalous.

    Args:
        spec: what the data are like.
        latent_dim: dimensions of the code.
        beta: weight of the KL term; 1 is the evidence lower bound.
        noise: standard deviation of the Gaussian likelihood of a pixel, in units of [0, 1].
        score: `reconstruction` takes the maximum of the blurred squared error, `likelihood` the negative evidence lower
            bound of the whole image (equation 3), in nats.
        sigma: standard deviation in pixels of the blur of the anomaly map.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent_dim: int = 128,
        beta: float = 1.0,
        noise: float = 0.1,
        score: Literal["reconstruction", "likelihood"] = "reconstruction",
        sigma: float = 4.0,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(spec)
        self.encoder = Encoder(spec.size, spec.channels, 2 * latent_dim)
        self.decoder = Decoder(spec.size, spec.channels, latent_dim)
        self.smooth = SmoothUpsampling((spec.size, spec.size), spec.size, sigma)
        self.beta = beta
        self.noise = noise
        self.score = score
        self.learning_rate = learning_rate

    def forward(self, image: Tensor) -> Prediction:
        """Score with the mean code: no sampling, so that the same image always gets the same score."""
        mean, log_variance = self.encode(image)
        error = squared_error(self.decoder(mean), image)
        anomaly_map = self.smooth(error)
        if self.score == "likelihood":
            return Prediction(self._negative_log_likelihood(error) + divergence(mean, log_variance), anomaly_map)
        return Prediction(anomaly_map.amax(dim=(1, 2)), anomaly_map)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent_dim) of the code."""
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance.clamp(-_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Negative evidence lower bound per image, summed over pixels: a mean over pixels would let the KL term win."""
        mean, log_variance = self.encode(batch.image)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        likelihood = self._negative_log_likelihood(squared_error(self.decoder(code), batch.image)).mean()
        kl = divergence(mean, log_variance).mean()
        return {"loss": likelihood + self.beta * kl, "negative_log_likelihood": likelihood, "kl": kl}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def _negative_log_likelihood(self, error: Tensor) -> Tensor:
        """-log p(x | z) (B,) in nats of squared errors (B, H, W)."""
        values = error[0].numel() * self.spec.channels
        constant = values * (math.log(self.noise) + math.log(2 * math.pi) / 2)
        return error.sum(dim=(1, 2)) / (2 * self.noise**2) + constant


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence (B,) in nats of N(mean, exp(log_variance)) from N(0, I) (appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
