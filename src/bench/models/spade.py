"""SPADE: nearest images, then nearest pixels of their feature pyramids (Cohen and Hoshen, arXiv 2005.02357)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.console import say
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.backbones import Backbone
from bench.models.base import Detector, Prediction
from bench.models.coreset import rank_and_processes
from bench.models.maps import SmoothUpsampling
from bench.models.neighbours import nearest
from bench.models.statistics import add_over_processes

_BYTES = 4


class SPADE(Detector):
    """Distance to the nearest training images, and of each position to the nearest position in those images.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the pyramid, finest first, as numbers (ResNet: 1, 2, 3) or names of modules.
        image_level: level whose mean over all positions tells which images are near (ResNet: 4).
        neighbours: how many nearest images count (K in equations 1 and 2).
        sigma: standard deviation in pixels of the blur of the anomaly map.
        memory_limit: gigabytes that the pyramids of all training images may take.
    """

    statistics: ClassVar[Literal["none", "before", "after"]] = "after"
    pooled: Tensor
    count: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "wide_resnet50_2",
        weights: str = "tv_in1k",
        levels: list[int] = [1, 2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        image_level: int = 4,
        neighbours: int = 5,
        sigma: float = 4.0,
        memory_limit: float = 8.0,
    ) -> None:
        super().__init__(spec)
        if not 1 <= neighbours < spec.train_images:
            raise UsageError(
                f"--model.neighbours {neighbours} does not lie between 1 and {spec.train_images - 1}, "
                f"one less than the {spec.train_images} images learned from"
            )
        if image_level in levels or not levels:
            raise UsageError("--model.levels names at least one level, and not that of --model.image_level")
        self.backbone = Backbone(backbone, [*levels, image_level], weights, spec.size)
        *pyramid, last = self.backbone.shapes
        size = spec.train_images * sum(c * h * w for c, h, w in pyramid) * _BYTES / 1e9
        if size > memory_limit:
            raise UsageError(
                f"the pyramids of {spec.train_images} images take {size:.1f} GB, more than --model.memory_limit "
                f"{memory_limit:g}; leave out a level, lower --data.image_size, or raise the limit"
            )
        self.memory = f"the pyramids of {spec.train_images} images ({size:.2f} GB)"
        self.neighbours = neighbours
        self.grid = pyramid[0][1:]
        self.register_buffer("pooled", torch.zeros(spec.train_images, last[0]))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for place, shape in enumerate(pyramid):
            self.register_buffer(f"level{place}", torch.zeros(spec.train_images, *shape))
        self.pyramid = [f"level{place}" for place in range(len(pyramid))]
        self.to_map = SmoothUpsampling(self.grid, spec.size, sigma)
        self._images = 0

    def forward(self, image: Tensor) -> Prediction:
        """Score = mean squared distance to the nearest images (equation 1); map = to the nearest positions (3)."""
        levels, pooled = self._features(image)
        distances, places = nearest(pooled, self.pooled[: int(self.count)], self.neighbours)
        squared = [
            self._nearest_positions([level[own, None] for level in levels], near) for own, near in enumerate(places)
        ]
        return Prediction(distances.square().mean(dim=1), self.to_map(torch.stack(squared)))

    def collect(self, image: Tensor) -> None:
        """Keep the features of training images at the places that they have on one process."""
        if self._images == 0:
            say(self.memory)
            for buffer in self._gallery():
                buffer.zero_()
        levels, pooled = self._features(image)
        rank, processes = rank_and_processes()
        rows = rank + processes * torch.arange(self._images, self._images + len(image), device=image.device)
        for buffer, own in zip(self._gallery(), [*levels, pooled], strict=True):
            buffer[rows] = own
        self._images += len(image)

    def settle(self) -> bool:
        """Join the features of all processes."""
        self.count.fill_(self._images)
        for buffer in (*self._gallery(), self.count):
            add_over_processes(buffer)
        self._images = 0
        return False

    @property
    def scores_left_out(self) -> bool:
        """Always: an image's own features are one row of the gallery."""
        return True

    def left_out_score(self, image: Tensor) -> Tensor:
        """Exact: the nearest image of all is the image itself, or its very copy."""
        distances, _ = nearest(self._features(image)[1], self.pooled[: int(self.count)], self.neighbours + 1)
        return distances[:, 1:].square().mean(dim=1)

    def _nearest_positions(self, levels: list[Tensor], places: Tensor) -> Tensor:
        """Squared distances (h, w) of one image's positions to the nearest of all positions of the images at `places`.

        One image at a time: fifty would take a gigabyte.
        """
        own = self._concatenated(levels)
        found: Tensor = own.new_full((len(own),), torch.inf)
        for place in places.tolist():
            gallery = self._concatenated([getattr(self, name)[place, None] for name in self.pyramid])
            found = torch.minimum(found, nearest(own, gallery)[0][:, 0])
        return found.square().view(self.grid)

    def _concatenated(self, levels: list[Tensor]) -> Tensor:
        """(positions, channels) of all levels of one image, the coarser ones enlarged bilinearly."""
        enlarged = [levels[0], *(interpolate(level, self.grid, mode="bilinear") for level in levels[1:])]
        return torch.cat(enlarged, dim=1)[0].flatten(1).mT.contiguous()

    def _features(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        *levels, last = (level.float() for level in self.backbone(image))
        return levels, last.mean(dim=(2, 3))

    def _gallery(self) -> list[Tensor]:
        return [*(getattr(self, name) for name in self.pyramid), self.pooled]
