"""Novelty scores against a few hundred normal feature vectors: one-class SVM, nearest neighbours, Gaussians."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.models.parts.density import ShrunkGaussian
from bench.models.parts.neighbours import nearest

if TYPE_CHECKING:
    from sklearn.svm import OneClassSVM

# With libsvm's own 1e-3, the third digit of a score depends on the order of the images.
_TOLERANCE = 1e-8
_FOLDS = 5


class Standardised(nn.Module):
    """Features with variance 1 over the normal images, and mean 0 if `centred`; one that never varies is not scaled."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, centred: bool = True) -> None:
        super().__init__()
        self.centred = centred
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(features, dtype=torch.float64))

    def fit(self, features: Tensor) -> None:
        """Learn from (N, features)."""
        wide = features.double()
        mean, deviation = wide.mean(dim=0), wide.std(dim=0, correction=0)
        if self.centred:
            self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-9 * mean.abs(), deviation, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised (N, features), in double precision."""
        return (features.double() - self.mean) / self.scale


class Neighbours(nn.Module):
    """Score = mean distance to the nearest normal images."""

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.standardised = Standardised(features)
        self.count = count

    def fit(self, features: Tensor) -> None:
        """Learn from (N, features)."""
        self.standardised.fit(features)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """Scores (B,) of (B, features), where `features` (N, features) are those learned from."""
        distances, _ = nearest(self.standardised(queries).float(), self.standardised(features).float(), self.count)
        return distances.mean(dim=1)


class OneClass(nn.Module):
    """Schölkopf's one-class SVM (Neural Computation 13, 2001), solved by libsvm; score = minus its decision function.

    `nu` bounds the share of normal images beyond the boundary. Of several, the one is taken whose share of rejected
    normal images, held out in five folds, comes nearest to it; of two as near, the smaller. For the RBF kernel, gamma
    is one over the number of features times their variance (scikit-learn's `scale`). A linear kernel separates normal
    images from the origin: its features are not centred, or the origin would lie among them.
    """

    coefficients: Tensor
    offset: Tensor
    gamma: Tensor
    nu: Tensor

    def __init__(self, images: int, features: int, rbf: bool, nu: Sequence[float]) -> None:
        super().__init__()
        self.standardised = Standardised(features, centred=rbf)
        self.rbf = rbf
        self.choices = sorted(nu)
        self.register_buffer("coefficients", torch.zeros(images, dtype=torch.float64))
        for name in ("offset", "gamma", "nu"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def fit(self, features: Tensor) -> None:
        """Learn from (N, features), with no more images than the constructor was given."""
        self.standardised.fit(features)
        points = self.standardised(features)
        variance = points.var(correction=0)
        self.gamma.copy_(1 / (points.shape[1] * variance) if variance > 0 else torch.ones_like(variance))
        kernel = self._kernel(points, points).cpu().numpy()
        nu = self.choices[0] if len(self.choices) == 1 else self.select_nu_by_cross_validation(kernel)
        solved = _solve(kernel, nu)
        self.nu.fill_(nu)
        self.offset.fill_(float(solved.intercept_[0]))
        self.coefficients.zero_()
        self.coefficients[torch.from_numpy(solved.support_).long()] = torch.from_numpy(solved.dual_coef_[0]).to(points)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """Scores (B,) of (B, features), where `features` (N, features) are those learned from."""
        kernel = self._kernel(self.standardised(queries), self.standardised(features))
        return -(kernel @ self.coefficients[: len(features)] + self.offset)

    def _kernel(self, left: Tensor, right: Tensor) -> Tensor:
        if not self.rbf:
            return left @ right.mT
        return (-self.gamma * torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist").square()).exp()

    def select_nu_by_cross_validation(self, kernel: NDArray[np.float64]) -> float:
        fold = np.arange(len(kernel)) % min(_FOLDS, len(kernel))
        wrong = []
        for nu in self.choices:
            rejected = 0
            for each in np.unique(fold):
                kept, out = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
                solved = _solve(kernel[np.ix_(kept, kept)], nu)
                rejected += int((solved.decision_function(kernel[np.ix_(out, kept)]) < 0).sum())
            wrong.append(abs(rejected / len(kernel) - nu))
        return self.choices[int(np.argmin(wrong))]


class LevelGaussians(nn.Module):
    """Sum over levels of the Mahalanobis distance to a Gaussian of each (Rippel et al., ICPR 2020)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)
        self.gaussians = nn.ModuleList(ShrunkGaussian(each) for each in channels)

    def fit(self, features: Tensor) -> None:
        """Learn from (N, features), the channels of all levels side by side."""
        for gaussian, level in self._by_level(features):
            gaussian.fit(level)

    def forward(self, queries: Tensor, _features: Tensor) -> Tensor:
        """Scores (B,) of (B, features); those learned from are no longer needed."""
        distances = [gaussian.squared_distance(level).sqrt() for gaussian, level in self._by_level(queries)]
        return torch.stack(distances).sum(dim=0)

    def _by_level(self, features: Tensor) -> Iterator[tuple[ShrunkGaussian, Tensor]]:
        for gaussian, level in zip(self.gaussians, torch.split(features, self.channels, dim=1), strict=True):
            assert isinstance(gaussian, ShrunkGaussian)
            yield gaussian, level


def _solve(kernel: NDArray[np.float64], nu: float) -> "OneClassSVM":
    from sklearn.svm import OneClassSVM  # half a second, which the other methods need not wait for

    return OneClassSVM(kernel="precomputed", nu=nu, tol=_TOLERANCE).fit(kernel)
