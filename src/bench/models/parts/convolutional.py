"""The convolutional encoder and decoder of Bergmann et al. (VISAPP 2019, arXiv 1807.02011, table 1), and residuals."""

import torch
from torch import Tensor, nn

from bench.errors import UsageError

_SLOPE = 0.2  # of the leaky rectifiers

# Rec. 601 luma, as Pillow and OpenCV convert to grey.
_LUMA = (0.299, 0.587, 0.114)


class Encoder(nn.Sequential):
    """The paper's encoder (table 1) from (B, channels, size, size) to (B, outputs); 256 pixels take one more layer."""

    def __init__(self, size: int, channels: int, outputs: int) -> None:
        halvings, bottom = _plan(size)
        layers: list[nn.Module] = []
        for inputs in [channels] + [32] * (halvings - 4):
            layers += _down(inputs, 32)
        layers += [*_down(32, 32), *_same(32, 32), *_down(32, 64), *_same(64, 64), *_down(64, 128)]
        layers += [*_same(128, 64), *_same(64, 32), nn.Conv2d(32, outputs, bottom), nn.Flatten()]
        super().__init__(*layers)
        _keep_variance(self)


class Decoder(nn.Sequential):
    """The encoder mirrored, from (B, latent_dim) to images in (0, 1)."""

    def __init__(self, size: int, channels: int, latent_dim: int) -> None:
        halvings, bottom = _plan(size)
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
        layers += [nn.ConvTranspose2d(latent_dim, 32, bottom), nn.LeakyReLU(_SLOPE), *_same(32, 64), *_same(64, 128)]
        layers += [*_up(128, 64), *_same(64, 64), *_up(64, 32), *_same(32, 32)]
        for _ in range(halvings - 3):
            layers += _up(32, 32)
        super().__init__(*layers, nn.ConvTranspose2d(32, channels, 4, 2, 1), nn.Sigmoid())
        _keep_variance(self)


def to_grey(image: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of colour images; grey ones are returned unchanged."""
    if image.shape[1] == 1:
        return image
    # Filled on the images' device: a copy of numbers to a GPU would be waited for.
    shares = torch.stack([image.new_full((), share) for share in _LUMA])
    return (image * shares.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Squared error (B, H, W), summed over channels."""
    return (output - target).square().sum(dim=1)


def _plan(size: int) -> tuple[int, int]:
    """How often the size is halved, and the side that remains for the last, unpadded convolution (8 in the paper)."""
    halvings = 4
    while size // 2**halvings >= 16:
        halvings += 1
    bottom, rest = divmod(size, 2**halvings)
    if rest or not bottom:
        raise UsageError(
            f"an autoencoder halves its input {halvings} times: {size} pixels is no multiple of {2**halvings}"
        )
    return halvings, bottom


def _keep_variance(network: nn.Module) -> None:
    """Set He et al.'s initial values: torch's own shrink the signal in each layer, and the code starts constant.

    Measured on synthetic screws: with torch's, training stays at the mean image for hundreds of steps.
    """
    gain = nn.init.calculate_gain("leaky_relu", _SLOPE)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            taps = layer.kernel_size[0] ** 2
            if isinstance(layer, nn.ConvTranspose2d):  # of its kernel only a part meets each output pixel
                taps = taps // layer.stride[0] ** 2 if layer.padding[0] else 1
            nn.init.normal_(layer.weight, std=gain / (layer.in_channels * taps) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(_SLOPE)]


def _same(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.LeakyReLU(_SLOPE)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
