"""Networks of f-AnoGAN: residual generator, critic and encoder of WGAN-GP (Gulrajani et al., NeurIPS 2017)."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

from bench.errors import UsageError

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

_GRID = 4  # side of the coarsest map
_WIDEST = 8  # times the width of the finest map
_HE = 2**0.5  # gain of Glorot's initial values before a rectifier, as in the authors' code


class Generator(nn.Module):
    """From codes (B, latent_dim) to images (B, channels, size, size) in [-1, 1]."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        super().__init__()
        widths = _widths(size, width)[::-1]
        self.first = _glorot(nn.Linear(latent_dim, widths[0] * _GRID**2))
        self.grid = nn.Unflatten(1, (widths[0], _GRID, _GRID))
        self.blocks = nn.Sequential(*(UpBlock(*each) for each in pairwise(widths)))
        last = _glorot(nn.Conv2d(width, channels, 3, padding=1), _HE)
        self.last = nn.Sequential(batch_norm(width), nn.ReLU(), last, nn.Tanh())

    def forward(self, code: Tensor) -> Tensor:
        """Draw the images of (B, latent_dim) codes."""
        image: Tensor = self.last(self.blocks(self.grid(self.first(code))))
        return image


class Critic(nn.Module):
    """Maps images to numbers, large for real ones; no image's number depends on the others of its batch.

    The penalty bounds the gradient of each image alone, which BatchNorm would couple to its batch.
    """

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.body, features = _body(size, channels, width, layer_norm)
        self.last = _glorot(nn.Linear(features, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Judge (B, channels, size, size) images: (B,), unbounded."""
        return self.judge(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """The last block's output for images, (B, features): f in the paper."""
        features: Tensor = self.body(image)
        return features

    def judge(self, features: Tensor) -> Tensor:
        """From (B, features) to (B,)."""
        value: Tensor = self.last(features)
        return value.squeeze(1)


class Encoder(nn.Module):
    """From images to codes (B, latent_dim): the critic's body with BatchNorm; codes are unbounded."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.body, features = _body(size, channels, width, batch_norm)
        self.last = _glorot(nn.Linear(features, latent_dim))

    def forward(self, image: Tensor) -> Tensor:
        """Codes of (B, channels, size, size) images in [-1, 1]."""
        code: Tensor = self.last(self.body(image))
        return code


class DownBlock(nn.Module):
    """A pre-activation residual block that halves its maps."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.shortcut = _glorot(nn.Conv2d(inputs, outputs, 1))
        same = _glorot(nn.Conv2d(inputs, inputs, 3, padding=1, bias=False), _HE)
        pooled = _glorot(PooledConvolution(inputs, outputs, 3), _HE)
        self.residual = nn.Sequential(norm(inputs), nn.ReLU(), same, norm(inputs), nn.ReLU(), pooled)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        halved: Tensor = self.shortcut(functional.avg_pool2d(maps, 2)) + self.residual(maps)
        return halved


class UpBlock(nn.Module):
    """A pre-activation residual block that doubles its maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = _glorot(nn.Conv2d(inputs, outputs, 1))
        enlarged = _glorot(EnlargedConvolution(inputs, outputs, 3, bias=False), _HE)
        same = _glorot(nn.Conv2d(outputs, outputs, 3, padding=1), _HE)
        self.residual = nn.Sequential(batch_norm(inputs), nn.ReLU(), enlarged, batch_norm(outputs), nn.ReLU(), same)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        # The shortcut acts on single pixels, so it may as well act before they are doubled.
        doubled: Tensor = functional.interpolate(self.shortcut(maps), scale_factor=2) + self.residual(maps)
        return doubled


class PooledConvolution(nn.Conv2d):
    """A 3 x 3 convolution and the mean of each 2 x 2 pixels, as one 4 x 4 convolution at less than half the cost."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
        return functional.conv2d(maps, _four_shifts(self.weight) / 4, self.bias, stride=2, padding=1)


class EnlargedConvolution(nn.Conv2d):
    """Each pixel made 2 x 2, then a 3 x 3 convolution, as one transposed 4 x 4 convolution at half the cost."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        weight = _four_shifts(self.weight).flip(2, 3).transpose(0, 1)
        return functional.conv_transpose2d(maps, weight, self.bias, stride=2, padding=1)


def layer_norm(channels: int) -> nn.Module:
    """Normalisation over all values of an image's maps, with a scale and an offset per channel."""
    return nn.GroupNorm(1, channels)


def batch_norm(channels: int) -> nn.Module:
    """BatchNorm with the authors' epsilon; running statistics have torch's momentum of .1, theirs .01."""
    return nn.BatchNorm2d(channels, eps=1e-3)


def _four_shifts(weight: Tensor) -> Tensor:
    """The sum of a 3 x 3 kernel at its four positions in a 4 x 4 one."""
    padded = functional.pad(weight, (1, 1, 1, 1))
    return padded[..., :-1, :-1] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., 1:, 1:]


def _body(size: int, channels: int, width: int, norm: Callable[[int], nn.Module]) -> tuple[nn.Sequential, int]:
    """The layers of critic and encoder from images to vectors, and the vectors' length."""
    widths = _widths(size, width)
    first = _glorot(nn.Conv2d(channels, width, 3, padding=1))
    blocks = [DownBlock(*each, norm) for each in pairwise(widths)]
    return nn.Sequential(first, *blocks, nn.Flatten()), widths[-1] * _GRID**2


def _widths(size: int, width: int) -> list[int]:
    """Channels of the maps from `size` down to 4 pixels: the paper's 1, 2, 4, 8, 8 times the width, then no wider."""
    if size < 2 * _GRID or size & (size - 1):
        raise UsageError(f"f-AnoGAN halves its input down to 4 x 4: {size} pixels is no power of two above 4")
    halvings = (size // _GRID).bit_length() - 1
    return [width * min(2**step, _WIDEST) for step in range(halvings + 1)]


def _glorot(layer: Layer, gain: float = 1.0) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
