"""EfficientAD's networks (Batzner et al., arXiv 2303.14535): descriptions of patches, and an autoencoder of them."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.parts.precision import network_precision
from bench.models.parts.weight_files import existing_file, is_file_reference
from bench.models.parts.weights import NONE, fill

FEATURES = 384  # numbers of a position's description
BORDER = 4  # positions that a network without padding lacks on each side of a grid of a quarter of the pixels
LEAST = 64  # pixels; below, few positions or none are left
_HALVINGS = 5  # of the autoencoder's encoder, before its last convolution
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet

Size = Literal["small", "medium"]


class PatchDescription(nn.Sequential):
    """A patch description network (PDN): each position describes 33 x 33 pixels, a position every 4 pixels.

    The layers have the numbers of nelson1425/EfficientAD, whose files of weights therefore fit.

    Args:
        size: `small` (4 convolutions) or `medium` (6).
        outputs: numbers of a description.
        padding: whether positions at the border are kept, as in distillation; without, `BORDER` of each side are not.
    """

    def __init__(self, size: Size, outputs: int, *, padding: bool = False) -> None:
        pad = int(padding)
        width = 128 if size == "small" else 256
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 4, padding=3 * pad), nn.ReLU(), nn.AvgPool2d(2, 2, pad),
            nn.Conv2d(width, 2 * width, 4, padding=3 * pad), nn.ReLU(), nn.AvgPool2d(2, 2, pad),
        ]  # fmt: skip
        if size == "small":
            layers += [nn.Conv2d(256, 256, 3, padding=pad), nn.ReLU(), nn.Conv2d(256, outputs, 4)]
        else:
            layers += [nn.Conv2d(512, 512, 1), nn.ReLU(), nn.Conv2d(512, 512, 3, padding=pad), nn.ReLU()]
            layers += [nn.Conv2d(512, outputs, 4), nn.ReLU(), nn.Conv2d(outputs, outputs, 1)]
        super().__init__(*layers)


class Autoencoder(nn.Sequential):
    """From whole images (B, 3, side, side), through 64 numbers, to the descriptions of all positions, without padding.

    For 256 pixels the paper's network; for other sides the maps in between are smaller or larger in proportion, and the
    code is of one position all the same.
    """

    def __init__(self, side: int, outputs: int, dropout: float) -> None:
        check_side(side)
        widths = [3, 32, 32, 64, 64, 64]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(64, 64, side // 2**_HALVINGS))
        for place in (side // 64 - 1, side // 32, side // 16 - 1, side // 8, side // 4 - 1, side // 2 - 1):
            layers += [nn.Upsample(max(place, 1), mode="bilinear"), nn.Conv2d(64, 64, 4, padding=2), nn.ReLU()]
            layers.append(nn.Dropout(dropout))
        layers += [nn.Upsample(positions_per_side(side), mode="bilinear"), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(64, outputs, 3, padding=1))


class Describer(nn.Module):
    """Normalises images as ImageNet's and passes them through a network, in the run's precision."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, network: nn.Module, image: Tensor) -> Tensor:
        """Descriptions (B, outputs, h, w) of (B, 1 or 3, side, side) images in [0, 1], in single precision."""
        with network_precision(image.device):
            described: Tensor = network((image - self.mean) / self.deviation)
        return described.float()


def positions_per_side(side: int) -> int:
    """The positions along a side of an image that a network without padding describes."""
    return side // 4 - 2 * BORDER


def check_side(side: int) -> None:
    """A UsageError for images that the autoencoder cannot halve, or that leave no position."""
    if side < LEAST or side % 2**_HALVINGS:
        raise UsageError(
            f"EfficientAD needs images of at least {LEAST} pixels and a multiple of {2**_HALVINGS}, not {side}: set "
            "--data.image_size"
        )


def load_teacher(network: PatchDescription, reference: str) -> None:
    """Fill a teacher from a file: that of `bench teacher`, of nelson1425/EfficientAD or of anomalib."""
    if reference == NONE:
        return
    if not is_file_reference(reference):
        raise UsageError(f"--model.weights {reference}: a teacher is a file, which 'bench teacher' writes, or 'none'")
    path: Path = existing_file(reference)
    count = sum(isinstance(layer, nn.Conv2d) for layer in network)
    # anomalib counts convolutions from 1.
    named = [f"conv{number}.{part}" for number in range(1, count + 1) for part in ("weight", "bias")]
    fill(network, "the teacher", path, (), lambda: named)
