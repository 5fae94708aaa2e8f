"""SPADE: nearest images, then nearest pixels of their feature pyramids (Cohen and Hoshen, arXiv 2005.02357)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.config.number_ranges import Positive, Sigma
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.accumulators import Accumulator, Pass, Rows, State
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.chunks import rows_at_once
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.neighbours import nearest

_BYTES = 4


class SPADE(Detector):
    """Distance to the nearest training images, and of each position to the nearest position in those images.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the pyramid, finest first, as numbers (ResNet: 1, 2, 3) or names of modules.
        image_level: level whose mean over all positions decides which images are near (ResNet: 4).
        neighbours: how many nearest images count (K in equations 1 and 2).
        sigma: standard deviation in pixels of the blur of the anomaly map.
        memory_limit: gigabytes that the pyramids of all training images may take.
    """

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
        sigma: Sigma = 4.0,
        memory_limit: Positive = 8.0,
    ) -> None:
        super().__init__(spec)
        if neighbours < 1:
            raise UsageError(f"--model.neighbours {neighbours} is not positive")
        if image_level in levels or not levels:
            raise UsageError("--model.levels names at least one level, and not that of --model.image_level")
        self.backbone = Backbone(backbone, [*levels, image_level], weights, spec.size)
        *pyramid, last = self.backbone.shapes
        size = spec.train_images * sum(c * h * w for c, h, w in pyramid) * _BYTES / 1e9
        if size > memory_limit:
            raise UsageError(
                f"the pyramids of {spec.learned_from} take {size:.1f} GB, more than --model.memory_limit "
                f"{memory_limit:g}; leave out a level, lower --data.image_size, or raise the limit"
            )
        self.memory = f"the pyramids of {spec.learned_from} ({size:.2f} GB)"
        self.neighbours = neighbours
        self.grid = pyramid[0][1:]
        self.register_buffer("pooled", torch.zeros(spec.train_images, last[0]))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for index, shape in enumerate(pyramid):
            self.register_buffer(f"level{index}", torch.zeros(spec.train_images, *shape))
        self.pyramid = [f"level{index}" for index in range(len(pyramid))]
        self.to_map = SmoothUpsampling(self.grid, spec.size, sigma)

    def forward(self, image: Tensor) -> Prediction:
        """Score = mean squared distance to the nearest images (equation 1); map = to the nearest positions (3)."""
        levels, pooled = self._features(image)
        distances, indices = nearest(pooled, self.pooled[: int(self.count)], self.neighbours)
        squared = [
            self._nearest_positions([level[own, None] for level in levels], near) for own, near in enumerate(indices)
        ]
        return Prediction(distances.square().mean(dim=1), self.to_map(torch.stack(squared)))

    def passes(self) -> Sequence[Pass]:
        """One: the pyramids of all images, in their order."""
        galleries: dict[str, Accumulator] = {name: Rows(into=getattr(self, name)) for name in self._galleries}
        return [Pass("pyramids", galleries, self.accumulate, self.finish)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Keep the features of training images."""
        levels, pooled = self._features(image)
        for name, own in zip(self._galleries, [*levels, pooled], strict=True):
            getattr(state, name)[state.indices] = own

    def finish(self, state: State) -> None:
        """Store how many images the filled galleries hold."""
        self.count.fill_(state.images)

    @property
    def fewest_images(self) -> int:
        """The number of neighbours."""
        return self.neighbours

    @property
    def supports_leave_one_out(self) -> bool:
        """Always: an image's own features are one row of the gallery."""
        return True

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Exact: the nearest image of all is the image itself, or an identical copy."""
        distances, _ = nearest(self._features(image)[1], self.pooled[: int(self.count)], self.neighbours + 1)
        return distances[:, 1:].square().mean(dim=1)

    def _nearest_positions(self, levels: list[Tensor], indices: Tensor) -> Tensor:
        """Squared distances (h, w) of one image's positions to the nearest of all positions of the images at `indices`.

        One image at a time on a CPU: fifty would take a gigabyte.
        """
        own = self._concatenated(levels)
        found: Tensor = own.new_full((len(own),), torch.inf)
        for part in torch.split(indices, rows_at_once(own.device, own.nbytes, on_cpu=1)):
            gallery = self._concatenated([getattr(self, name)[part] for name in self.pyramid])
            found = torch.minimum(found, nearest(own, gallery)[0][:, 0])
        return found.square().view(self.grid)

    def _concatenated(self, levels: list[Tensor]) -> Tensor:
        """(images * positions, channels) of all levels of some images, the coarser ones enlarged bilinearly."""
        enlarged = [levels[0], *(interpolate(level, self.grid, mode="bilinear") for level in levels[1:])]
        return torch.cat(enlarged, dim=1).flatten(2).mT.flatten(0, 1).contiguous()

    def _features(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        *levels, last = (level.float() for level in self.backbone(image))
        return levels, last.mean(dim=(2, 3))

    @property
    def _galleries(self) -> list[str]:
        return [*self.pyramid, "pooled"]
