"""Gaussians fitted in one streaming pass, on one process or many."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

# Positions whose matrices are handled together: enough to fill the cores, few enough to stay in their caches.
_POSITIONS_AT_ONCE = 256


class PositionGaussians(nn.Module):
    """One Gaussian over `channels` at each of `positions`, kept as mean and inverse Cholesky factor.

    While images are collected, `mean` holds the sum and `whitening` the scatter of the shifted features, so that no
    second matrix per position and no feature is ever kept. The shift makes single precision enough: without it, the
    scatter of features far from zero cancels.
    """

    mean: Tensor
    whitening: Tensor
    count: Tensor

    def __init__(self, positions: int, channels: int, regularisation: float) -> None:
        super().__init__()
        self.regularisation = regularisation
        self.register_buffer("mean", torch.zeros(positions, channels))
        self.register_buffer("whitening", torch.zeros(positions, channels, channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._shift: Tensor | None = None

    @torch.inference_mode()
    def collect(self, features: Tensor) -> None:
        """Add (positions, B, channels) features of B images."""
        if self._shift is None:
            self._shift = from_first_process(features.float().mean(dim=1, keepdim=True))
            for buffer in (self.mean, self.whitening, self.count):
                buffer.zero_()
        for part in self._parts():
            shifted = features[part].float() - self._shift[part]
            self.mean[part] += shifted.sum(dim=1)
            with _full_precision(features):
                self.whitening[part].baddbmm_(shifted.mT, shifted)
        self.count += features.shape[1]

    @torch.inference_mode()
    def settle(self) -> None:
        """Turn the sums of all processes into mean and inverse Cholesky factor of covariance + regularisation * I.

        The covariance is divided by n - 1. A Cholesky factor and its triangular inverse, not `inv`: batched `inv` fails
        on CPUs from 256 channels on, and is less exact.
        """
        assert self._shift is not None, "settle before collect"
        for total in (self.mean, self.whitening, self.count):
            add_over_processes(total)
        n = int(self.count)
        if n < 2:
            raise ValueError(f"a Gaussian needs at least 2 images, not {n}")
        self.mean /= n
        identity = torch.eye(self.mean.shape[1], device=self.mean.device)
        for part in self._parts():
            mean, scatter = self.mean[part], self.whitening[part]
            covariance = scatter.baddbmm_(mean[:, :, None], mean[:, None, :], alpha=-n).div_(n - 1)
            factor = torch.linalg.cholesky(covariance + self.regularisation * identity)
            scatter.copy_(torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False))
        self.mean += self._shift[:, 0]
        self._shift = None

    def squared_distance(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance (positions, B) of (positions, B, channels) features."""
        squared = torch.empty(features.shape[:2], device=features.device)
        for part in self._parts():
            centred = features[part].float() - self.mean[part, None]
            with _full_precision(features):
                squared[part] = torch.bmm(centred, self.whitening[part].mT).square_().sum(dim=2)
        return squared

    def left_out(self, squared: Tensor) -> Tensor:
        """Squared distances of collected images as if each alone had been left out, in closed form.

        By Sherman and Morrison: leaving out x changes the covariance by a multiple of (x - m)(x - m)^T and moves the
        mean along x - m. The regularisation becomes (n - 1) / (n - 2) times its size.
        """
        n = float(self.count)
        return squared * ((n - 2) / (n - 1) * (n / (n - 1)) ** 2) / (1 - squared * (n / (n - 1) ** 2)).clamp_min(1e-12)

    def _parts(self) -> Iterator[slice]:
        """Positions taken together: few enough that nothing the size of all features is ever made again."""
        for start in range(0, len(self.mean), _POSITIONS_AT_ONCE):
            yield slice(start, start + _POSITIONS_AT_ONCE)


class PrincipalComponents(nn.Module):
    """The directions of largest variance of pooled features, from one streaming pass."""

    mean: Tensor
    directions: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("directions", torch.zeros(features, components))
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.inference_mode()
    def collect(self, features: Tensor) -> None:
        """Add (N, features)."""
        wide = features.double()
        if self._sums is None:
            size = features.shape[1]
            self._sums = (wide.new_zeros(()), wide.new_zeros(size), wide.new_zeros(size, size))
        count, total, scatter = self._sums
        count += len(wide)
        total += wide.sum(dim=0)
        scatter.addmm_(wide.mT, wide)

    @torch.inference_mode()
    def settle(self) -> None:
        """Keep the leading eigenvectors of the covariance of all processes' features."""
        assert self._sums is not None, "settle before collect"
        for part in self._sums:
            add_over_processes(part)
        count, total, scatter = self._sums
        mean = total / count
        _, vectors = torch.linalg.eigh(scatter / count - mean[:, None] * mean[None, :])
        leading = vectors[:, -self.components :].flip(1)
        # An eigenvector's sign is arbitrary: fixed, so that every process and machine keeps the same one.
        leading *= leading.gather(0, leading.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.directions.copy_(leading)
        self._sums = None

    def project(self, features: Tensor) -> Tensor:
        """Coordinates (..., components) of (..., features)."""
        return (features - self.mean) @ self.directions


def _full_precision(features: Tensor) -> torch.autocast:
    # Half the digits of a covariance are lost in bfloat16, and its Cholesky factor with them.
    return torch.autocast(features.device.type, enabled=False)


def _processes() -> int:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def add_over_processes(total: Tensor) -> None:
    """Replace a tensor by its sum over all processes."""
    # In place, where a torchmetrics state would gather one copy per process first.
    if _processes() > 1:
        torch.distributed.all_reduce(total)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over all processes, as DDP does after each of its own backward passes."""
    if _processes() > 1:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        add_over_processes(together)
        together /= _processes()
        for gradient, mean in zip(gradients, torch.split(together, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def from_first_process(value: Tensor) -> Tensor:
    """The first process's value, in every process."""
    if _processes() > 1:
        value = value.contiguous()
        torch.distributed.broadcast(value, src=0)
    return value
