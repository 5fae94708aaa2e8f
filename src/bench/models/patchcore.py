"""PatchCore: distance to the nearest patch of a coreset of all normal patches (Roth et al., CVPR 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.collectives import add_over_processes
from bench.config.number_ranges import Positive, Sigma
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.accumulators import OwnRows, Pass, State, Sum
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.coreset import choose_covering
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.neighbours import nearest
from bench.models.parts.patch_features import patch_features

_STARTS = 10
# On a CPU the 3 x 3 neighbourhoods of more images at a time leave its caches.
_IMAGES_AT_ONCE = 2
_BYTES = 4


class PatchCore(Detector):
    """Each patch's distance to the nearest patch of a bank that greedily covers the patches of all training images.

    The first of two passes keeps a random projection of every patch, from which the bank is chosen; the second keeps
    the chosen patches. The full patches are never all in memory. With `projection` null, or no smaller than `features`,
    there is one pass.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the backbone, as numbers (ResNet: 2, 3) or names of modules; patches lie on the first's grid.
        level_features: numbers that each level's 3 x 3 neighbourhood is pooled to (the authors' 1024).
        features: numbers that all levels' together are pooled to (the authors' 1024).
        share: share of all patches that the bank keeps (0.01, 0.1, 0.25 in the paper).
        projection: numbers that patches are projected to, to choose from; null chooses from the patches themselves.
        reweighting: neighbours of the nearest patch that decide how much an image score counts (b in equation 7; the
            paper does not say how many); null takes the largest distance as it is, like the authors' code.
        squared: whether scores and maps are of squared distances, as in the authors' code; the paper's are not squared.
        sigma: standard deviation in pixels of the blur of the anomaly map.
        memory_limit: gigabytes that the bank, and what it is chosen from, may take together.
    """

    bank: Tensor
    count: Tensor
    projector: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "wide_resnet50_2",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        level_features: int = 1024,
        features: int = 1024,
        share: float = 0.1,
        projection: int | None = 128,
        reweighting: int | None = None,
        squared: bool = False,
        sigma: Sigma = 4.0,
        memory_limit: Positive = 8.0,
    ) -> None:
        super().__init__(spec)
        _check(share, level_features, features, projection, reweighting)
        if squared and reweighting is not None:
            raise UsageError("--model.reweighting weighs distances that are not squared: set --model.squared false")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        self.grid = self.backbone.shapes[0][1:]
        self.patches = self.grid[0] * self.grid[1]
        self.level_features = level_features
        self.features = features
        self.share = share
        self.reweighting = reweighting
        self.squared = squared
        self.projected = projection is not None and projection < features
        self.memory = self._plan(projection if projection is not None and self.projected else features, memory_limit)
        self.seed = torch.initial_seed()
        # Uniform like the authors' linear layer; a generator of its own, as timm's draws differ between releases.
        generator = torch.Generator().manual_seed(self.seed)
        width = projection if projection is not None and self.projected else 0
        projector = (2 * torch.rand(features, width, generator=generator) - 1) / features**0.5
        self.register_buffer("projector", projector, persistent=False)
        self.register_buffer("bank", torch.zeros(self._size_of_bank(spec.train_images), features))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.to_map = SmoothUpsampling(self.grid, spec.size, sigma)
        self._rows = torch.empty(0)  # between two passes: (images, positions) rows of the bank, -1 for none

    def forward(self, image: Tensor) -> Prediction:
        """Map = distances, up-sampled and blurred; score = the largest distance before that, re-weighted if set."""
        patches = self.embed(image)
        bank = self.bank[: int(self.count)]
        distances, indices = (part.view(len(image), -1) for part in nearest(patches.flatten(0, 1), bank))
        if self.squared:  # before the blur, which ranks pixels otherwise then
            distances = distances.square()
        score, farthest = self.within(distances.view(-1, *self.grid)).flatten(1).max(dim=1)
        if self.reweighting is not None:
            each = torch.arange(len(image), device=image.device)
            score = score * self._weight(patches[each, farthest], indices[each, farthest], bank)
        return Prediction(score, self.to_map(distances.view(-1, *self.grid)))

    def embed(self, image: Tensor) -> Tensor:
        """Patches (B, positions, features): the 3 x 3 neighbourhoods of each level, pooled, at the first's grid."""
        parts = torch.split(image, _IMAGES_AT_ONCE) if image.device.type == "cpu" else [image]
        return torch.cat([self._embed(part) for part in parts])

    def passes(self) -> Sequence[Pass]:
        """One pass for the points that the bank is chosen from; if they are projections, a second for the bank."""
        width = self.projector.shape[1] if self.projected else self.features
        points = {"points": OwnRows(self.patches, width)}
        choice = Pass("patches", points, self.accumulate_points, self.finish_choice)
        if not self.projected:
            return [choice]
        bank = {"bank": Sum(*self.bank.shape, into=self.bank)}
        return [choice, Pass("bank", bank, self.accumulate_bank, self.finish_bank)]

    def accumulate_points(self, state: State, image: Tensor) -> None:
        """Keep all patches, or their projections."""
        patches = self.embed(image)
        state.points[state.own_indices] = patches @ self.projector if self.projected else patches

    def finish_choice(self, state: State) -> None:
        """Choose the bank; without a projection, fill it too."""
        points = state.take("points").flatten(0, 1)
        images, indices = state.images, state.all_own_indices
        positions = torch.arange(self.patches, device=points.device)
        ids = (indices[:, None] * self.patches + positions).flatten()
        count = self._size_of_bank(images)
        chosen = choose_covering(points, ids, count, self._start(points, ids, images * self.patches))
        rows = torch.full((images * self.patches,), -1, device=points.device)
        rows[chosen] = torch.arange(count, device=points.device)
        self.count.fill_(count)
        if self.projected:
            self._rows = rows.view(images, self.patches)
            return
        own = rows[ids]
        self.bank.zero_()
        self.bank[own[own >= 0]] = points[own >= 0]
        add_over_processes(self.bank)

    def accumulate_bank(self, state: State, image: Tensor) -> None:
        """Put the chosen patches into their rows of the bank; each comes from one process alone."""
        rows = self._rows[state.indices]
        state.bank[rows[rows >= 0]] = self.embed(image)[rows >= 0]

    def finish_bank(self, state: State) -> None:
        """Forget the choice: the bank is filled."""
        self._rows = torch.empty(0)

    def _start(self, points: Tensor, ids: Tensor, total: int) -> Tensor:
        """Mean distance (N,) to a few patches drawn at random, from which the authors' choice starts."""
        drawn = torch.randperm(total, generator=torch.Generator().manual_seed(self.seed))[:_STARTS].to(ids.device)
        starts = points.new_zeros(len(drawn), points.shape[1])
        index, start = (ids[:, None] == drawn).nonzero().T
        starts[start] = points[index]
        add_over_processes(starts)
        distance = points.new_zeros(len(points))
        for each in starts:
            for part, own in zip(torch.split(points, 2**14), torch.split(distance, 2**14), strict=True):
                own += (part - each).square().sum(dim=1).sqrt() / len(starts)
        return distance

    def _weight(self, patch: Tensor, index: Tensor, bank: Tensor) -> Tensor:
        """1 minus the softmax, over the nearest of the bank's patches to the one at `index`, of distances from `patch`.

        By `logsumexp`, because exponentials of such distances overflow.
        """
        assert self.reweighting is not None
        _, around = nearest(bank[index], bank, min(self.reweighting, len(bank)))
        distances = (patch[:, None] - bank[around]).square().sum(dim=2).sqrt()
        own = (patch - bank[index]).square().sum(dim=1).sqrt()
        return 1 - (own - distances.logsumexp(dim=1)).exp()

    def _embed(self, image: Tensor) -> Tensor:
        return patch_features(self.backbone(image), self.level_features, self.features)

    def _size_of_bank(self, images: int) -> int:
        return max(1, int(self.share * images * self.patches))

    def _plan(self, width: int, limit: float) -> str:
        """The memory that is needed at once, in words; a UsageError above `limit` gigabytes."""
        patches, rows = self.spec.train_images * self.patches, self._size_of_bank(self.spec.train_images)
        held, bank = patches * (width + 2) * _BYTES / 1e9, rows * self.features * _BYTES / 1e9
        words = f"a bank of {rows:,} patches ({bank:.2f} GB), chosen from {patches:,} ({held:.2f} GB)"
        if held + bank > limit:
            raise UsageError(
                f"{words} exceeds --model.memory_limit {limit:g}; "
                "lower --model.share, --model.features or --data.image_size, or raise the limit"
            )
        return words


def _check(share: float, level_features: int, features: int, projection: int | None, reweighting: int | None) -> None:
    if not 0 < share <= 1:
        raise UsageError(f"--model.share {share} does not lie in (0, 1]")
    least = {"level_features": level_features, "features": features, "projection": projection}
    for name, value in least.items():
        if value is not None and value < 1:
            raise UsageError(f"--model.{name} {value} is not positive")
    if reweighting is not None and reweighting < 2:
        raise UsageError(f"--model.reweighting {reweighting} is less than 2; null takes the score as it is")
