"""One Gaussian with full covariance, of any number of samples, fitted in one streaming pass."""

import torch
from torch import Tensor, nn

from bench.models.statistics import add_over_processes, from_first_process

# Samples handled together, in double precision: no second copy of all features is ever made.
_SAMPLES_AT_ONCE = 4096


class ShrunkGaussian(nn.Module):
    """A Gaussian whose covariance is shrunk towards a sphere, kept as mean and inverse Cholesky factor.

    Ledoit and Wolf (Journal of Multivariate Analysis 88, 2004) say how far: with 200 images of 512 features the
    covariance has no inverse. Their formula needs the fourth moment of the distance from the mean; expanded around a
    shift, it is a sum that needs no second pass. On several processes the figures are the same but for rounding.
    """

    mean: Tensor
    whitening: Tensor
    shrinkage: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("shrinkage", torch.zeros((), dtype=torch.float64))
        self._shift: Tensor | None = None
        self._sums: tuple[Tensor, ...] = ()

    @torch.inference_mode()
    def collect(self, features: Tensor) -> None:
        """Add samples (N, features)."""
        if self._shift is None:
            self._shift = from_first_process(features.mean(dim=0).double())
            zero, vector = torch.zeros_like(self.shrinkage), torch.zeros_like(self.mean)
            self._sums = (zero, vector, torch.zeros_like(self.whitening), zero.clone(), vector.clone())
        count, total, scatter, quartic, cubic = self._sums
        for part in torch.split(features, _SAMPLES_AT_ONCE):
            shifted = part.double() - self._shift
            square = shifted.square().sum(dim=1)
            count += len(part)
            total += shifted.sum(dim=0)
            scatter.addmm_(shifted.mT, shifted)
            quartic += square.square().sum()
            cubic += square @ shifted

    @torch.inference_mode()
    def settle(self) -> None:
        """Turn the sums of all processes into the Gaussian."""
        assert self._shift is not None, "settle before collect"
        for part in self._sums:
            add_over_processes(part)
        if int(self._sums[0]) < 3:  # two are equally far from their mean: nothing tells how far to shrink
            raise ValueError(f"a shrunk Gaussian needs at least 3 samples, not {int(self._sums[0])}")
        covariance, shrinkage = self._shrunk()
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.cholesky(covariance)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))
        self.mean.copy_(self._shift + self._sums[1] / self._sums[0])
        self.shrinkage.copy_(shrinkage)
        self._shift, self._sums = None, ()

    def squared_distance(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance (...) of (..., features)."""
        parts = torch.split(features.flatten(0, -2), _SAMPLES_AT_ONCE)
        squared = [((part.double() - self.mean) @ self.whitening.mT).square().sum(dim=1).float() for part in parts]
        return torch.cat(squared).reshape(features.shape[:-1])

    def _shrunk(self) -> tuple[Tensor, Tensor]:
        """The shrunk covariance and how far it was shrunk, 0 to 1."""
        n, total, scatter, quartic, cubic = self._sums
        d, mean = len(total), total / n
        covariance = scatter / n - mean[:, None] * mean
        variance = covariance.trace() / d
        if not variance > 0:
            raise ValueError("the features of all images are the same: the network has learned nothing")
        # Sum of |y - m|^4 over the shifted samples y with mean m.
        square = mean @ mean
        fourth = quartic + 4 * mean @ scatter @ mean - 4 * mean @ cubic + 2 * square * scatter.trace()
        fourth -= 3 * n * square.square()
        norm = covariance.square().sum()
        spread = (norm - d * variance.square()) / d
        noise = ((fourth / n - norm) / (n * d)).clamp(torch.zeros_like(spread), spread)
        shrinkage = torch.where(noise > 0, noise / spread, 0)
        covariance = (1 - shrinkage) * covariance
        covariance.diagonal().add_(shrinkage * variance)
        return covariance, shrinkage
