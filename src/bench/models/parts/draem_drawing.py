"""DRAEM's simulated anomalies (arXiv 2108.07610, section 3.3): changed textures, pasted through Perlin masks.

All draws come from torch's CPU generator, whatever the device of the images. The textures' changes are torchvision's,
those of the authors imgaug's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as changes

from bench.models.parts.convolutional import to_grey
from bench.models.parts.image_folder import ImageFolder
from bench.models.parts.perlin import draw_masks, perlin, turned

_LARGEST_SHARE_OF_IMAGE = 0.8  # of a pasted pixel; the rest is texture
_TURN = 90  # degrees, of normal images
_CHANGES = 3  # of a texture
_OCTAVES = 4


class Simulated(NamedTuple):
    """Normal images (B, C, H, W), the same with anomalies pasted into some, and what was pasted (B, 1, H, W)."""

    normal: Tensor
    pasted: Tensor
    mask: Tensor


class Textures:
    """Random textures: images of a folder, or procedural ones, each changed three times at random."""

    def __init__(self, folder: str | None, size: int) -> None:
        self.size = size
        self.images = None if folder is None else ImageFolder(folder, size)

    def draw(self, count: int) -> Tensor:
        """Textures (count, 3, size, size) in [0, 1], on the CPU."""
        found = procedural(count, self.size) if self.images is None else self.images.draw(count)
        pixels = (255 * found).round().to(torch.uint8)
        return torch.stack([_changed(each) for each in pixels]).float().div_(255)


def simulate(image: Tensor, textures: Textures, share: float, turned_share: float) -> Simulated:
    """Normal images, a `turned_share` of them turned by up to 90 degrees, and textures pasted into a `share` of them.

    A pasted pixel is texture for 20 to 100 %; outside the mask an image is unchanged.
    """
    count, size, device = len(image), image.shape[-1], image.device
    turns = torch.where(torch.rand(count) < turned_share, math.radians(_TURN) * (2 * torch.rand(count) - 1), 0.0)
    chosen = (torch.rand(count, 1, 1, 1) < share).to(device, non_blocking=True)
    rest = (_LARGEST_SHARE_OF_IMAGE * torch.rand(count, 1, 1, 1)).to(device, non_blocking=True)
    texture = textures.draw(count)
    texture = (texture if image.shape[1] == 3 else to_grey(texture)).to(device, non_blocking=True)
    upright = (turns == 0).view(-1, 1, 1, 1).to(device, non_blocking=True)
    normal = torch.where(upright, image, turned(image, turns.to(device, non_blocking=True)))
    mask = draw_masks(count, size, device) & chosen
    return Simulated(normal, torch.where(mask, rest * normal + (1 - rest) * texture, normal), mask)


def procedural(count: int, size: int) -> Tensor:
    """Textures (count, 3, size, size) in [0, 1]: two colours mixed by Perlin noise, or by stripes that it bends."""
    colours = torch.rand(2, count, 3, 1, 1)
    noise, weight = torch.zeros(count, size, size), 1.0
    strengths = torch.rand(count, _OCTAVES)
    for octave in range(_OCTAVES):
        cells = 2 ** (1 + octave + torch.randint(2, (count, 2)))
        angles = 2 * math.pi * torch.rand(count, 2 ** (octave + 2) + 1, 2 ** (octave + 2) + 1)
        noise = noise + weight * strengths[:, octave, None, None] * perlin(cells, angles, size)
        weight /= 1.5
    down, right = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    angle, waves = math.pi * torch.rand(count, 1, 1), 2 + 30 * torch.rand(count, 1, 1)
    stripes = (2 * math.pi * waves * (down * angle.sin() + right * angle.cos()) + 3 * noise).sin()
    pattern = torch.where(torch.rand(count, 1, 1) < 0.5, stripes, 2 * noise)[:, None].clamp(-1, 1)
    return torch.lerp(colours[0], colours[1], (pattern + 1) / 2)


def _changed(texture: Tensor) -> Tensor:
    """A texture (3, H, W) of bytes after three of the ten changes, in random order."""
    for place in torch.randperm(len(_KINDS))[:_CHANGES].tolist():
        texture = _KINDS[place](texture)
    return texture


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _gamma(texture: Tensor) -> Tensor:
    return torch.cat([changes.adjust_gamma(each[None], _uniform(0.5, 2.0)) for each in texture])


def _brightness(texture: Tensor) -> Tensor:
    return (texture.float() * _uniform(0.8, 1.2) + _uniform(-30, 30)).clamp(0, 255).to(torch.uint8)


def _colour(texture: Tensor) -> Tensor:
    turned_hue = changes.adjust_hue(texture, _uniform(-50, 50) / 255)
    found: Tensor = changes.adjust_saturation(turned_hue, 1 + _uniform(-50, 50) / 255)
    return found


def _solarised(texture: Tensor) -> Tensor:
    return changes.solarize(texture, _uniform(32, 128)) if torch.rand(()) < 0.5 else texture


_KINDS: tuple[Callable[[Tensor], Tensor], ...] = (
    _gamma,
    _brightness,
    lambda texture: changes.adjust_sharpness(texture, _uniform(0, 2)),
    _colour,
    _solarised,
    lambda texture: changes.posterize(texture, int(torch.randint(1, 9, ()))),
    changes.invert,
    changes.autocontrast,
    changes.equalize,
    lambda texture: changes.rotate(texture, _uniform(-45, 45), changes.InterpolationMode.BILINEAR),
)
