"""EfficientAD's teacher: a large network's patch features, distilled into a small one (arXiv 2303.14535, section 3.1).

The paper distils WideResNet-101 on ImageNet. The features are PatchCore's, pooled to 384 numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.data.datamodule import DataSpec
from bench.errors import RunError, UsageError
from bench.models.parts.convolutional import to_grey
from bench.models.parts.efficient_ad_network import FEATURES, Describer, PatchDescription, Size
from bench.models.parts.image_folder import ImageFolder, listed
from bench.models.patchcore import PatchCore
from bench.phases import phase

_GREY = 0.1  # of the images
_LEVEL_FEATURES = 1024
_RATE, _DECAY = 1e-4, 1e-5
_MOST_NORMALISED = 10_000  # images by which the features' channels are normalised


@dataclass(frozen=True)
class Plan:
    """What is distilled into which network, and for how long; the defaults are the paper's."""

    images: str
    size: Size = "small"
    backbone: str = "wide_resnet101_2"
    weights: str = "tv_in1k"
    levels: Sequence[int] = (2, 3)
    steps: int = 60_000
    batch_size: int = 16
    side: int = 256
    seed: int = 0


class Taught(NamedTuple):
    """A distilled teacher, and its loss: that of the first steps, and of the last."""

    teacher: PatchDescription
    first_loss: float
    last_loss: float


def distil(plan: Plan, device: torch.device) -> Taught:
    """Distil; the backbone sees images of twice the side, of which a position of its features is 8 pixels."""
    torch.manual_seed(plan.seed)
    source = _Source(plan, device)
    teacher, describe = PatchDescription(plan.size, FEATURES, padding=True).to(device), Describer().to(device)
    optimizer = torch.optim.Adam(teacher.parameters(), _RATE, weight_decay=_DECAY)
    source.normalise()
    losses = []
    with phase("distilling", plan.steps, "steps") as counted:
        for _ in range(plan.steps):
            image = source.draw()
            small = interpolate(image, size=plan.side, mode="bilinear", antialias=True)
            loss = (source.features(image) - describe(teacher, small)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            counted.advance()
    found = torch.stack(losses).cpu()
    if not found.isfinite().all():
        raise RunError("the loss of the distillation is no finite number")
    few = max(1, len(found) // 20)
    return Taught(teacher, float(found[:few].mean()), float(found[-few:].mean()))


class _Source:
    """Images of a folder, and their features (B, 384, side / 4, side / 4), each channel normalised over the images."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.images = ImageFolder(plan.images, 2 * plan.side)
        self.network = PatchCore(
            DataSpec(2 * plan.side, 3, 1), backbone=plan.backbone, weights=plan.weights, levels=list(plan.levels),
            level_features=_LEVEL_FEATURES, features=FEATURES, projection=None,
        ).eval().to(device)  # fmt: skip
        grid = plan.side // 4
        if plan.side % 4 or self.network.grid != (grid, grid):
            raise UsageError(
                f"the first of --levels has {self.network.grid[0]} positions a side, the teacher {plan.side / 4:g}: "
                "name a level of stride 8, and a --side that is a multiple of 4"
            )
        self.mean = torch.zeros(FEATURES, 1, 1, device=device)
        self.deviation = torch.ones(FEATURES, 1, 1, device=device)

    def draw(self) -> Tensor:
        """A batch of random images (B, 3, 2 * side, 2 * side), some of them grey."""
        image = self.images.draw(self.plan.batch_size)
        grey = torch.rand(len(image), 1, 1, 1) < _GREY
        return torch.where(grey, to_grey(image), image).to(self.device)

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """Normalised features of images."""
        grid = self.network.grid
        found = self.network.embed(image).mT.reshape(len(image), FEATURES, *grid)
        return (found - self.mean) / self.deviation

    def normalise(self) -> None:
        """Fix mean and standard deviation of each channel, over images evenly spread among all."""
        there = len(listed(self.plan.images))
        numbers = range(0, there, -(-there // _MOST_NORMALISED))
        count, size = 0, self.plan.batch_size
        total, squares = (torch.zeros(FEATURES, dtype=torch.float64) for _ in range(2))
        with phase("normalising the features", len(numbers)) as counted:
            for first in range(0, len(numbers), size):
                part = self.images.read(numbers[first : first + size])
                found = self.features(part.to(self.device)).transpose(0, 1).flatten(1).cpu().double()
                count += found.shape[1]
                total += found.sum(dim=1)
                squares += found.square().sum(dim=1)
                counted.advance(len(part))
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean.view(-1, 1, 1))
        self.deviation.copy_(deviation.where(deviation > 0, 1).view(-1, 1, 1))
