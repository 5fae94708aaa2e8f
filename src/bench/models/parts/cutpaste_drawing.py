"""CutPaste's augmentations (Li et al., CVPR 2021, section 2.1 and appendix A.2), for whole batches at once.

All draws come from torch's CPU generator, whatever the device of the images: a seed pastes alike on every device.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.models.parts.convolutional import to_grey

AREA = (0.02, 0.15)  # of the image
WIDE, TALL = (0.3, 1.0), (1.0, 3.3)  # height / width
SCAR_WIDTH, SCAR_LENGTH = (2.0, 16.0), (10.0, 25.0)  # pixels
SCAR_ANGLE = math.radians(45)


class Rectangles(NamedTuple):
    """One patch per image, in pixels and radians; `source` and `target` are centres (y, x)."""

    height: Tensor  # (B,)
    width: Tensor  # (B,)
    angle: Tensor  # (B,), by which the patch is turned before it is pasted
    source: Tensor  # (B, 2)
    target: Tensor  # (B, 2)


def draw_patches(count: int, side: int) -> Rectangles:
    """Large patches for images of `side` pixels; both ranges of aspect ratios are equally likely."""
    area = _uniform(count, AREA) * side**2
    aspect = torch.where(torch.rand(count) < 0.5, _uniform(count, WIDE), _uniform(count, TALL))
    height, width = (area * aspect).sqrt().round().clamp_min(1), (area / aspect).sqrt().round().clamp_min(1)
    room = side - torch.stack([height, width], dim=1)
    # Whole pixels: a patch without rotation is copied, never resampled.
    source, target = ((torch.rand(count, 2) * (room + 1)).floor().minimum(room) for _ in range(2))
    middle = (torch.stack([height, width], dim=1) - 1) / 2
    return Rectangles(height, width, torch.zeros(count), source + middle, target + middle)


def draw_scars(count: int, side: int, scale: float = 1.0) -> Rectangles:
    """Thin, turned patches for images of `side` pixels; `scale` is their size relative to the paper's."""
    width, height = ((_uniform(count, limits) * scale).clamp_min(1) for limits in (SCAR_WIDTH, SCAR_LENGTH))
    angle = _uniform(count, (-SCAR_ANGLE, SCAR_ANGLE))
    cosine, sine = angle.cos(), angle.sin().abs()
    upright = torch.stack([height, width], dim=1)
    turned = torch.stack([height * cosine + width * sine, width * cosine + height * sine], dim=1)
    source, target = ((box - 1) / 2 + torch.rand(count, 2) * (side - box) for box in (upright, turned))
    return Rectangles(height, width, angle, source, target)


def paste(image: Tensor, patches: Rectangles, strength: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1] with a patch of their own, colours jittered by `strength`, at another position."""
    height, width, angle, source, target = (_send(part, image.device)[..., None, None] for part in patches)
    y = torch.arange(image.shape[2], device=image.device)[:, None] - target[:, 0]
    x = torch.arange(image.shape[3], device=image.device) - target[:, 1]
    # Where each pixel lies in the patch: the rotation undone.
    down, right = y * angle.cos() + x * angle.sin(), x * angle.cos() - y * angle.sin()
    inside = ((down.abs() < height / 2) & (right.abs() < width / 2))[:, None]
    rows = (source[:, 0] + down).round().long().clamp(0, image.shape[2] - 1)
    columns = (source[:, 1] + right).round().long().clamp(0, image.shape[3] - 1)
    batch = torch.arange(len(image), device=image.device)[:, None, None]
    patch = image[batch, :, rows, columns].permute(0, 3, 1, 2)
    return torch.where(inside, jitter(patch, inside, strength), image)


def random_windows(image: Tensor, side: int) -> Tensor:
    """One window (B, C, side, side) at a random position of each image (section 2.4)."""
    corner = [torch.randint(length - side + 1, (len(image), 1)) for length in image.shape[2:]]
    rows, columns = (_send(start + torch.arange(side), image.device) for start in corner)
    batch = torch.arange(len(image), device=image.device)[:, None, None]
    return image[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def jitter(image: Tensor, inside: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast, saturation and hue, each within `strength` and in random order per image.

    The pixels `inside` (B, 1, H, W) change as under torchvision's ColorJitter if cut out; the others are of no use.
    """
    image = image.clone()
    amount = strength * (2 * torch.rand(len(_CHANGES), len(image)) - 1)
    order = torch.rand(len(image), len(_CHANGES)).argsort(dim=1)
    for step in range(len(_CHANGES)):
        for kind, change in enumerate(_CHANGES if image.shape[1] == 3 else _CHANGES[:2]):
            due = (order[:, step] == kind).nonzero()[:, 0]
            if len(due):
                own, there = _send(amount[kind, due], image.device), _send(due, image.device)
                image[there] = change(image[there], own.view(-1, 1, 1, 1), inside[there])
    return image


def _brightness(image: Tensor, amount: Tensor, _inside: Tensor) -> Tensor:
    return (image * (1 + amount)).clamp(0, 1)


def _contrast(image: Tensor, amount: Tensor, inside: Tensor) -> Tensor:
    mean = (to_grey(image) * inside).sum(dim=(2, 3), keepdim=True) / inside.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return (image + amount * (image - mean)).clamp(0, 1)


def _saturation(image: Tensor, amount: Tensor, _inside: Tensor) -> Tensor:
    return (image + amount * (image - to_grey(image))).clamp(0, 1)


def _hue(image: Tensor, amount: Tensor, _inside: Tensor) -> Tensor:
    """Turn the hue by `amount` of the whole circle, in six sectors as in HSV."""
    red, green, blue = image[:, 0:1], image[:, 1:2], image[:, 2:3]
    value = image.amax(dim=1, keepdim=True)
    chroma = value - image.amin(dim=1, keepdim=True)
    scale = chroma.where(chroma > 0, 1)
    sector = (4 + (red - green) / scale).where(value > green, 2 + (blue - red) / scale)
    sector = sector.where(value > red, (green - blue) / scale)
    offsets = 5 - 2 * torch.arange(3, dtype=image.dtype, device=image.device)
    distance = (offsets.view(1, 3, 1, 1) + sector + 6 * amount) % 6
    turned: Tensor = value - chroma * distance.minimum(4 - distance).clamp(0, 1)
    return turned


_CHANGES: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (_brightness, _contrast, _saturation, _hue)


def _send(drawn: Tensor, device: torch.device) -> Tensor:
    """Copy a few numbers drawn on the CPU to the device, without waiting for the copy."""
    return drawn.to(device, non_blocking=True)


def _uniform(count: int, limits: tuple[float, float]) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * torch.rand(count)
