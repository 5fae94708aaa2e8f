"""PaDiM: one Gaussian of pretrained features per position (Defard et al., ICPR 2021 workshops, arXiv 2011.08785)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.config.number_ranges import NonNegative, Sigma
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.accumulators import Pass, State
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.statistics import PositionGaussians, PrincipalComponents


class PaDiM(Detector):
    """Mahalanobis distance to a Gaussian per position, over channels of several levels of a pretrained network.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the backbone, as numbers (ResNet: 1, 2, 3) or names of modules.
        channels: number of channels kept of all levels' together (section III.B); null keeps all.
        reduction: `random` keeps channels drawn by the seed, `pca` the principal components.
        interpolation: how coarser levels are brought to the finest grid; the authors' ports replicate (`nearest`).
        regularisation: added to the diagonal of each covariance (the paper's 0.01, section III.B).
        sigma: standard deviation in pixels of the blur of the anomaly map.
    """

    chosen: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "resnet18",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [1, 2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        channels: int | None = 100,
        reduction: Literal["random", "pca"] = "random",
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        regularisation: NonNegative = 0.01,
        sigma: Sigma = 4.0,
    ) -> None:
        super().__init__(spec)
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        total = sum(self.backbone.channels)
        kept = total if channels is None else channels
        if not 1 <= kept <= total:
            raise UsageError(f"--model.channels {kept} does not lie between 1 and the {total} channels of {backbone}")
        # A generator of its own: the backbone's initial values, drawn before, differ between releases of timm.
        generator = torch.Generator().manual_seed(torch.initial_seed())
        random = reduction == "random" and kept < total
        chosen = torch.randperm(total, generator=generator)[:kept] if random else torch.arange(total)
        self.register_buffer("chosen", chosen)
        self.components = PrincipalComponents(total, kept) if reduction == "pca" else None
        self.grid = self.backbone.shapes[0][1:]
        # Each tile of an image has Gaussians of its own: they tell one position of an image from another.
        self.tiles = 1 if spec.tiles is None else spec.tiles.per_image
        self.gaussians = PositionGaussians(self.grid[0] * self.grid[1], kept, regularisation, self.tiles)
        self.to_map = SmoothUpsampling(self.grid, spec.size, sigma)
        self.interpolation = interpolation

    def forward(self, image: Tensor) -> Prediction:
        """Score = maximum of the blurred map of Mahalanobis distances."""
        return self._prediction(self._squared_distance(image))

    def passes(self) -> Sequence[Pass]:
        """One for the Gaussians; with PCA one before it for the components."""
        gaussians = Pass("Gaussians", self.gaussians.accumulators(), self.accumulate, self.gaussians.finish)
        if self.components is None:
            return [gaussians]
        learned = self.components
        first = Pass("components", learned.accumulators(), self.accumulate_components, learned.finish)
        return [first, gaussians]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Add reduced features to the Gaussians."""
        images = state.images // self.tiles  # all first tiles come first, then all second ones, and so on
        self.gaussians.accumulate(state, self._embed(image), (state.indices // images).tolist())

    def accumulate_components(self, state: State, image: Tensor) -> None:
        """Add all features of all positions."""
        assert self.components is not None
        self.components.accumulate(state, self._features(image).flatten(0, 2))

    @property
    def fewest_images(self) -> int:
        """Two: one has no covariance."""
        return 2

    @property
    def models_each_tile(self) -> bool:
        """Yes: its Gaussians are those of positions."""
        return True

    @property
    def supports_leave_one_out(self) -> bool:
        """Not with PCA, whose components depend on every image."""
        return self.components is None

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Exact leave-one-out scores, in closed form."""
        return self._prediction(self.gaussians.left_out(self._squared_distance(image))).score

    def _squared_distance(self, image: Tensor) -> Tensor:
        """Squared distances (positions, B) to the Gaussians of each image's positions, or of each tile's."""
        return self.gaussians.squared_distance(self._embed(image), self._tiles)

    def _prediction(self, squared: Tensor) -> Prediction:
        anomaly_map = self.to_map(squared.sqrt().mT.reshape(-1, *self.grid))
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def _embed(self, image: Tensor) -> Tensor:
        """Reduced features (positions, B, kept)."""
        features = self._features(image)
        if self.components is not None:
            features = self.components.project(features)
        return features.flatten(1, 2).transpose(0, 1)

    def _features(self, image: Tensor) -> Tensor:
        """The chosen channels (B, h, w, chosen) at the grid of the first level, in the order of the levels."""
        levels = self.backbone(image)
        features: Tensor = levels[0].new_empty(len(image), *self.grid, len(self.chosen))
        first = filled = 0
        for level in levels:
            # Channels last, as the network leaves them, chosen first and copied to the finest grid once: with channels
            # first, the products that follow take five times as long on a CPU.
            own = self.chosen[(self.chosen >= first) & (self.chosen < first + level.shape[1])] - first
            first += level.shape[1]
            level = level.permute(0, 2, 3, 1).index_select(3, own)
            rows, columns = level.shape[1:3]
            if self.interpolation != "nearest" or self.grid[0] % rows or self.grid[1] % columns:
                level = level.permute(0, 3, 1, 2)
                level = torch.nn.functional.interpolate(level, size=self.grid, mode=self.interpolation)
                level = level.permute(0, 2, 3, 1)
                rows, columns = self.grid
            each = (self.grid[0] // rows, self.grid[1] // columns)
            target = features[..., filled : filled + len(own)].view(
                len(image), rows, each[0], columns, each[1], len(own)
            )
            target.copy_(level[:, :, None, :, None])
            filled += len(own)
        return features
