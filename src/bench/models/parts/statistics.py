"""Gaussians and principal components from sums over the training images."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.memory import available_bytes
from bench.models.accumulators import Accumulator, First, State, Sum
from bench.models.parts.chunks import rows_at_once
from bench.models.parts.precision import full_precision

# Positions whose matrices are handled together: on a CPU enough to fill its cores, few enough to stay in their caches.
_POSITIONS_AT_ONCE = 256
_MATRICES_AT_ONCE = 64  # of double precision, summed or factorised: several copies of them are made
# Rows of a scatter matrix that are summed together: what lies above the diagonal beyond them is left out.
_ROWS_AT_ONCE = 32
_BYTES = 4  # of a number in single precision
# An accumulator of fewer bytes would not return to the system when it is freed: glibc keeps what is below 32 MiB.
_BYTES_OF_SUMS = 2**26


class PositionGaussians(nn.Module):
    """One Gaussian over `channels` at each of `positions` of each tile, kept as mean and inverse Cholesky factor.

    Sums are shifted and of double precision: for features far from zero, with fewer images than channels, the factor
    magnifies the last digits of single precision a thousandfold. Hardly more than the lower half of the symmetric
    scatter matrices is summed, so that they take little more memory than the single-precision factors that they become.
    """

    mean: Tensor
    whitening: Tensor
    count: Tensor

    def __init__(self, positions: int, channels: int, regularisation: float, tiles: int = 1) -> None:
        super().__init__()
        self.regularisation = regularisation
        self.positions, self.tiles = positions, tiles
        _check_memory(positions * tiles, channels)
        self.register_buffer("mean", torch.zeros(positions * tiles, channels))
        self.register_buffer("whitening", torch.zeros(positions * tiles, channels, channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def accumulators(self) -> dict[str, Accumulator]:
        """Sums of features and of their products, shifted; the products of a few positions in each accumulator."""
        positions, channels = self.mean.shape
        size = sum((rows.stop - rows.start) * rows.stop for rows in _blocks(channels))
        scatter = {f"scatter_{part.start}": Sum((part.stop - part.start) * size) for part in self._stored_parts()}
        return {"shift": First(positions, channels), "total": Sum(positions, channels), **scatter}

    @torch.no_grad()
    def accumulate(self, state: State, features: Tensor, tiles: Sequence[int] | None = None) -> None:
        """Add (positions, B, channels) features of B images, or of tiles with these numbers."""
        shift = state.first("shift", lambda: features.float().mean(dim=1).repeat(self.tiles, 1))
        memory = self.whitening.untyped_storage()
        if memory.resizable():  # not while numpy shares it
            memory.resize_(0)  # the sums need its memory, until `finish` fills it
        with full_precision(features.device):
            for first, batch in self._of_each_tile(features, tiles):
                self._accumulate(state, features[:, batch], shift, first)

    def _accumulate(self, state: State, features: Tensor, shift: Tensor, first: int) -> None:
        """Add features of one tile, whose Gaussians begin with the one numbered `first`."""
        last = first + self.positions
        for stored in self._stored_parts():
            span = slice(max(first, stored.start), min(last, stored.stop))
            if span.start >= span.stop:
                continue
            scatter = getattr(state, f"scatter_{stored.start}")
            matrices = list(_matrices(scatter, stored, features.shape[2]))
            for part in self._parts(span, _MATRICES_AT_ONCE):
                here = slice(part.start - first, part.stop - first)
                shifted = features[here].to(state.total.dtype) - shift[part, None]
                state.total[part] += shifted.sum(dim=1)
                own = slice(part.start - stored.start, part.stop - stored.start)
                for rows, sums in matrices:
                    sums[own].baddbmm_(shifted[:, :, rows].mT, shifted[:, :, : rows.stop])

    @torch.no_grad()
    def finish(self, state: State) -> None:
        """Keep mean and inverse Cholesky factor of covariance + regularisation * I.

        The covariance is divided by n - 1. The inverse is that of a triangular Cholesky factor, not `inv`: batched
        `inv` fails on CPUs from 256 channels on, and is less exact.
        """
        n = state.images // self.tiles
        if n < 2:
            raise ValueError(f"a Gaussian needs at least 2 images, not {n}")
        mean = state.total / n
        channels = mean.shape[1]
        identity = torch.eye(channels, device=mean.device, dtype=mean.dtype)
        if not self.whitening.untyped_storage().nbytes():
            self.whitening.untyped_storage().resize_(self.whitening.numel() * self.whitening.element_size())
        for stored in self._stored_parts():
            matrices = list(_matrices(state.take(f"scatter_{stored.start}"), stored, channels))
            for part in self._parts(stored, _MATRICES_AT_ONCE):
                covariance = mean.new_zeros(part.stop - part.start, channels, channels)
                own = slice(part.start - stored.start, part.stop - stored.start)
                for rows, sums in matrices:
                    covariance[:, rows, : rows.stop] = sums[own]
                covariance = covariance.tril() + covariance.tril(-1).mT
                covariance.baddbmm_(mean[part, :, None], mean[part, None, :], alpha=-n).div_(n - 1)
                factor = torch.linalg.cholesky(covariance + self.regularisation * identity)
                self.whitening[part] = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
            del matrices, sums  # frees memory for the next factors
        self.mean.copy_(mean + state.shift)
        self.count.fill_(n)

    def squared_distance(self, features: Tensor, tiles: Sequence[int] | None = None) -> Tensor:
        """Squared Mahalanobis distance (positions, B) of (positions, B, channels) features, of images or such tiles."""
        squared = torch.empty(features.shape[:2], device=features.device)
        with full_precision(features.device):
            for first, batch in self._of_each_tile(features, tiles):
                for part in self._parts(slice(first, first + self.positions)):
                    here = slice(part.start - first, part.stop - first)
                    centred = features[here, batch].float() - self.mean[part, None]
                    squared[here, batch] = torch.bmm(centred, self.whitening[part].mT).square_().sum(dim=2)
        return squared

    def left_out(self, squared: Tensor) -> Tensor:
        """Squared distances of the training images, as if each alone had been left out, in closed form.

        By Sherman and Morrison: leaving out x changes the covariance by a multiple of (x - m)(x - m)^T and moves the
        mean along x - m. The regularisation becomes (n - 1) / (n - 2) times its size. At least 3 images are needed.
        """
        n = float(self.count)
        return squared * ((n - 2) / (n - 1) * (n / (n - 1)) ** 2) / (1 - squared * (n / (n - 1) ** 2)).clamp_min(1e-12)

    def _of_each_tile(self, features: Tensor, tiles: Sequence[int] | None) -> Iterator[tuple[int, slice]]:
        """The number of a tile's first Gaussian with the part of the batch that is of this tile."""
        start = 0
        for tile, batch in groupby([0] * features.shape[1] if tiles is None else tiles):
            stop = start + len(list(batch))
            yield tile * self.positions, slice(start, stop)
            start = stop

    def _parts(self, among: slice, on_cpu: int = _POSITIONS_AT_ONCE) -> Iterator[slice]:
        """Slices of positions handled together: few enough that no second array of all features is ever made."""
        at_once = rows_at_once(self.mean.device, 8 * self.mean.shape[1] ** 2, on_cpu=on_cpu)
        return _slices(among, at_once)

    def _stored_parts(self) -> Iterator[slice]:
        """Slices of positions whose sums lie in one accumulator."""
        positions, channels = self.mean.shape
        return _slices(slice(0, positions), max(_POSITIONS_AT_ONCE, _BYTES_OF_SUMS // (4 * channels**2)))


class PrincipalComponents(nn.Module):
    """The directions of largest variance of pooled features, from one streaming pass."""

    mean: Tensor
    directions: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("directions", torch.zeros(features, components))

    def accumulators(self) -> dict[str, Accumulator]:
        """Number, sum and products of features, shifted."""
        size = len(self.mean)
        return {"shift": First(size), "count": Sum(), "total": Sum(size), "scatter": Sum(size, size)}

    @torch.no_grad()
    def accumulate(self, state: State, features: Tensor) -> None:
        """Add (N, features)."""
        wide = features.to(state.total.dtype) - state.first("shift", lambda: features.float().mean(dim=0))
        state.count += len(wide)
        state.total += wide.sum(dim=0)
        state.scatter.addmm_(wide.mT, wide)

    @torch.no_grad()
    def finish(self, state: State) -> None:
        """Keep the leading eigenvectors of the covariance."""
        mean = state.total / state.count
        _, vectors = torch.linalg.eigh(state.scatter / state.count - mean[:, None] * mean[None, :])
        leading = vectors[:, -self.components :].flip(1)
        # An eigenvector's sign is arbitrary: fixed, so that every process and machine keeps the same one.
        leading *= leading.gather(0, leading.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(mean + state.shift)
        self.directions.copy_(leading)

    def project(self, features: Tensor) -> Tensor:
        """Coordinates (..., components) of (..., features), in single precision."""
        with full_precision(features.device):
            return (features.float() - self.mean) @ self.directions


def _check_memory(gaussians: int, channels: int) -> None:
    """A UsageError where the Gaussians would not fit into the memory that is free: the machine would swap."""
    needed, there = gaussians * channels**2 * _BYTES / 1e9, available_bytes() / 1e9
    if there and needed > there:
        raise UsageError(
            f"a Gaussian of {channels} channels at each of {gaussians:,} positions takes {needed:,.1f} GB, more than "
            f"the {there:,.1f} GB of memory that are free; lower --model.channels or --data.image_size"
        )


def _slices(span: slice, at_once: int) -> Iterator[slice]:
    for start in range(span.start, span.stop, at_once):
        yield slice(start, min(start + at_once, span.stop))


def _blocks(channels: int) -> Iterator[slice]:
    """Rows of a symmetric matrix that are summed together."""
    return _slices(slice(0, channels), _ROWS_AT_ONCE)


def _matrices(sums: Tensor, stored: slice, channels: int) -> Iterator[tuple[slice, Tensor]]:
    """The rows of each block and its sums (positions, rows, last row), views of an accumulator's numbers."""
    positions, first = stored.stop - stored.start, 0
    for rows in _blocks(channels):
        shape = (positions, rows.stop - rows.start, rows.stop)
        size = shape[0] * shape[1] * shape[2]
        yield rows, sums[first : first + size].view(shape)
        first += size
