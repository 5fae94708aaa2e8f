"""DRAEM's two U-shaped networks (Zavrtanik et al., ICCV 2021, arXiv 2108.07610), as its authors' code has them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.parts.precision import full_precision

_WIDTHS = (1, 2, 4, 8, 8)  # of the encoders' levels, in units of the first; the last level is repeated
HALVINGS = 5  # of the discriminative network; the reconstructive one has one less


class ReconstructiveNetwork(nn.Module):
    """From images with pasted anomalies to images without, through a code of a sixteenth of the side; no skips."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * each for each in _WIDTHS]
        self.encoder = nn.ModuleList(_double(a, b, b) for a, b in pairwise([channels, *widths]))
        coming = widths[-1:0:-1]  # 8, 8, 4, 2
        self.up = nn.ModuleList(_up(each, each) for each in (coming[0], *coming[2:], width))
        self.decoder = nn.ModuleList(
            _double(each, each, after)
            for each, after in zip((coming[0], *coming[2:], width), (*coming[2:], width, width), strict=True)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, channels, side, side), unbounded."""
        values = image
        for level, block in enumerate(self.encoder):
            values = block(values if level == 0 else _halved(values))
        for up, block in zip(self.up, self.decoder, strict=True):
            values = block(up(values))
        found: Tensor = self.last(values)
        return found


class DiscriminativeNetwork(nn.Module):
    """A U-Net from an image and its reconstruction to two logits a pixel: normal, anomalous."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * each for each in (*_WIDTHS, _WIDTHS[-1])]
        self.encoder = nn.ModuleList(_double(a, b, b) for a, b in pairwise([2 * channels, *widths]))
        skips = widths[-2::-1]  # 8, 8, 4, 2, 1
        afters = [widths[-1], *skips[2:], width]  # of the decoder's blocks: 8, 4, 2, 1, 1
        self.up = nn.ModuleList(_up(a, b) for a, b in pairwise([widths[-1], *afters]))
        self.decoder = nn.ModuleList(
            _double(after + skip, after, after) for after, skip in zip(afters, skips, strict=True)
        )
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """Logits (B, 2, side, side), in single precision."""
        values, levels = torch.cat([reconstruction, image], dim=1), list[Tensor]()
        for level, block in enumerate(self.encoder):
            values = block(values if level == 0 else _halved(values))
            levels.append(values)
        for up, block, skip in zip(self.up, self.decoder, levels[-2::-1], strict=True):
            values = block(torch.cat([up(values), skip], dim=1))
        with full_precision(image.device):  # half precision would leave few different probabilities
            found: Tensor = self.last(values.float())
        return found


def initialise(networks: Sequence[nn.Module]) -> None:
    """Draw the authors' initial values: normal, of deviation .02 around 0 (convolutions) and 1 (BatchNorm)."""
    for layer in (layer for network in networks for layer in network.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def check_halvings(side: int) -> None:
    """A UsageError for images that cannot be halved as often as the networks do."""
    if side % 2**HALVINGS:
        raise UsageError(
            f"DRAEM halves images {HALVINGS} times: set --data.image_size to a multiple of {2**HALVINGS}, not {side}"
        )


def _halved(values: Tensor) -> Tensor:
    return nn.functional.max_pool2d(values, 2)


def _double(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(inputs, middle), *_convolution(middle, outputs))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Sequential(enlarge, *_convolution(inputs, outputs))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
