"""One Gaussian with full covariance, of any number of samples, fitted in one streaming pass."""

import torch
from torch import Tensor, nn

from bench.models.accumulators import Accumulator, First, State, Sum
from bench.models.parts.chunks import rows_at_once

# Samples handled together on a CPU, in double precision: no second copy of all features is ever made.
_SAMPLES_AT_ONCE = 4096

FEWEST_SAMPLES = 3  # two are equally far from their mean: the shrinkage cannot be estimated


class ShrunkGaussian(nn.Module):
    """A Gaussian whose covariance is shrunk towards a sphere, kept as mean and inverse Cholesky factor.

    The shrinkage is Ledoit and Wolf's (Journal of Multivariate Analysis 88, 2004): the covariance of 200 images of 512
    features has no inverse. Their formula needs the fourth moment of the distance from the mean; expanded around a
    shift, it is a sum that needs no second pass. On several processes the result is the same but for rounding.
    """

    mean: Tensor
    whitening: Tensor
    shrinkage: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("shrinkage", torch.zeros((), dtype=torch.float64))

    def accumulators(self) -> dict[str, Accumulator]:
        """The number of samples, and sums of their shifted powers up to the fourth."""
        size = len(self.mean)
        sums = {"samples": Sum(), "total": Sum(size), "scatter": Sum(size, size), "quartic": Sum(), "cubic": Sum(size)}
        return {"shift": First(size), **sums}

    @torch.no_grad()
    def accumulate(self, state: State, features: Tensor) -> None:
        """Add samples (N, features)."""
        shift = state.first("shift", lambda: features.float().mean(dim=0))
        for part in torch.split(features, self._at_once(features)):
            shifted = part.to(state.total.dtype) - shift
            square = shifted.square().sum(dim=1)
            state.samples += len(part)
            state.total += shifted.sum(dim=0)
            state.scatter.addmm_(shifted.mT, shifted)
            state.quartic += square.square().sum()
            state.cubic += square @ shifted

    @torch.no_grad()
    def finish(self, state: State) -> None:
        """Turn the sums into the Gaussian."""
        if int(state.samples) < FEWEST_SAMPLES:
            raise ValueError(f"a shrunk Gaussian needs at least {FEWEST_SAMPLES} samples, not {int(state.samples)}")
        covariance, shrinkage = _shrunk(state.samples, state.total, state.scatter, state.quartic, state.cubic)
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.cholesky(covariance)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))
        self.mean.copy_(state.shift + state.total / state.samples)
        self.shrinkage.copy_(shrinkage)

    def fit(self, features: Tensor) -> None:
        """Learn from samples (N, features) that every process has."""
        state = State(self.accumulators(), len(features), features.device)
        self.accumulate(state, features)  # every process has all samples: nothing is reduced
        self.finish(state)

    def squared_distance(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance (...) of (..., features)."""
        parts = torch.split(features.flatten(0, -2), self._at_once(features))
        squared = [((part.double() - self.mean) @ self.whitening.mT).square().sum(dim=1).float() for part in parts]
        return torch.cat(squared).reshape(features.shape[:-1])

    def _at_once(self, features: Tensor) -> int:
        return rows_at_once(features.device, 8 * len(self.mean), on_cpu=_SAMPLES_AT_ONCE)


def _shrunk(n: Tensor, total: Tensor, scatter: Tensor, quartic: Tensor, cubic: Tensor) -> tuple[Tensor, Tensor]:
    """The shrunk covariance and its shrinkage, 0 to 1."""
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
    dispersion = (norm - d * variance.square()) / d
    noise = ((fourth / n - norm) / (n * d)).clamp(torch.zeros_like(dispersion), dispersion)
    shrinkage = torch.where(noise > 0, noise / dispersion, 0)
    covariance = (1 - shrinkage) * covariance
    covariance.diagonal().add_(shrinkage * variance)
    return covariance, shrinkage
