"""AnomalyDINO: cosine distance to the nearest patch of a few normal images (Damm et al., WACV 2025)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.config.number_ranges import Count, Positive, PositiveShare, Sigma
from bench.console import say
from bench.data.datamodule import DataSpec
from bench.errors import UsageError, counted
from bench.models.accumulators import Accumulator, Pass, Rows, State
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.foreground import holds_object, object_patches, without_holes
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.neighbours import nearest
from bench.models.parts.reduced_maps import mean_of_highest
from bench.models.parts.rotations import turned

_BYTES = 4


class AnomalyDINO(Detector):
    """Each patch's cosine distance to the nearest of all patches of the training images (equations 1 to 4).

    The score is the mean of the largest distances. Patches of the background can be left out: their distance is zero.

    Args:
        spec: what the data are like.
        backbone: a vision transformer, or any other architecture of timm's.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        level: the block whose patch tokens are compared, from 0, after the network's own last norm.
        rotations: views of each training image, evenly turned; 8 are the paper's, by 45 degrees; 1 is the image alone.
        foreground: which patches of a tested image count: `never` leaves none out, `always` those outside the object,
            and `auto` does so if most training images have a mask that may be an object's: it fills more than .35 of
            the middle and no more than half of the image.
        foreground_threshold: distance from the mean of an image's patches, along their first principal component,
            beyond which a patch is the object's.
        top_share: share of the patches whose mean distance is the score; at least one counts.
        sigma: standard deviation in pixels of the blur of the anomaly map.
        memory_limit: gigabytes that the bank may take.
    """

    bank: Tensor
    votes: Tensor
    count: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "vit_small_patch14_dinov2",
        weights: str = "lvd142m",
        level: int = 11,
        rotations: Count = 1,
        foreground: Literal["auto", "always", "never"] = "auto",
        foreground_threshold: Positive = 10.0,
        top_share: PositiveShare = 0.01,
        sigma: Sigma = 4.0,
        memory_limit: Positive = 8.0,
    ) -> None:
        super().__init__(spec)
        self.backbone = Backbone(backbone, [level], weights, spec.size)
        channels, *grid = self.backbone.shapes[0]
        self.grid = (grid[0], grid[1])
        self.patches = grid[0] * grid[1]
        self.rotations, self.foreground, self.top_share = rotations, foreground, top_share
        self.foreground_threshold = foreground_threshold
        rows = spec.train_images * rotations * self.patches
        self.memory = f"a bank of {rows:,} patches ({rows * channels * _BYTES / 1e9:.2f} GB)"
        if rows * channels * _BYTES / 1e9 > memory_limit:
            raise UsageError(
                f"{self.memory} exceeds --model.memory_limit {memory_limit:g}; "
                "lower --model.rotations, --data.shots or --data.image_size, or raise the limit"
            )
        self.register_buffer("bank", torch.zeros(spec.train_images, rotations * self.patches, channels))
        self.register_buffer("votes", torch.zeros(spec.train_images))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.to_map = SmoothUpsampling(self.grid, spec.size, sigma)

    def forward(self, image: Tensor) -> Prediction:
        """Map = distances, up-sampled and blurred; score = the mean of the largest of them before that."""
        features = self._features(image)
        patches = _vectors(features)
        found, _ = nearest(patches.flatten(0, 1), self.bank[: int(self.count)].flatten(0, 1))
        distances = self._of_objects(features, found.view(-1, *self.grid), [self.leaves_out()] * len(image))
        return Prediction(self._score(distances), self.to_map(distances))

    def passes(self) -> Sequence[Pass]:
        """One: the patches of all images, in their order."""
        rows: dict[str, Accumulator] = {"bank": Rows(into=self.bank), "votes": Rows(into=self.votes)}
        return [Pass("patches", rows, self.accumulate, self.finish)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Keep the patches of training images and of their turned views, and whether their masks may be objects'."""
        views = [self._features(view) for view in turned(image, self.rotations)]
        state.bank[state.indices] = torch.cat([_vectors(view) for view in views], dim=1)
        if self.foreground == "auto":
            masks = object_patches(views[0], self.foreground_threshold)
            state.votes[state.indices] = holds_object(masks).to(state.votes.dtype)

    def finish(self, state: State) -> None:
        """Store how many images the filled bank holds, and say whether the background is left out."""
        self.count.fill_(state.images)
        if self.foreground == "auto":
            decision = "is left out" if self.leaves_out() else "counts"
            kind = "image" if self.spec.tiles is None else "tile"
            masks = f"{int(state.votes.sum())} of {counted(state.images, kind)}"
            say(f"bench: the background {decision}: in {masks} the mask may be an object's (--model.foreground)")

    def leaves_out(self, index: int | None = None) -> bool:
        """Whether patches of the background are left out, if training image `index` had no vote."""
        if self.foreground != "auto":
            return self.foreground == "always"
        votes = self.votes[: int(self.count)]
        of_one = 0.0 if index is None else float(votes[index])
        return 2 * (float(votes.sum()) - of_one) > len(votes) - (index is not None)

    @property
    def supports_leave_one_out(self) -> bool:
        """Always: an image's own patches are a row of the bank."""
        return True

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Exact: by the bank without the image itself, or an identical copy, and without its vote."""
        features, bank = self._features(image), self.bank[: int(self.count)]
        distances, leaves_out = [], []
        for own in _vectors(features):
            # Cosines of a copy add up to the number of patches, others to less.
            index = int((bank.flatten(1)[:, : own.numel()] @ own.flatten()).argmax())
            others = [part.flatten(0, 1) for part in (bank[:index], bank[index + 1 :]) if len(part)]
            distances.append(torch.stack([nearest(own, part)[0] for part in others]).amin(dim=0))
            leaves_out.append(self.leaves_out(index))
        found = torch.stack(distances).view(-1, *self.grid)
        return self._score(self._of_objects(features, found, leaves_out))

    def _of_objects(self, features: Tensor, distances: Tensor, leaves_out: Sequence[bool]) -> Tensor:
        """Cosine distances (B, h, w), zero in the background of those images where it is left out.

        An image in which no patch is told apart keeps all: it would have no distance at all.
        """
        cosine = distances.square() / 2  # of vectors of length one
        for place in (place for place, out in enumerate(leaves_out) if out):
            mask = without_holes(object_patches(features[place, None], self.foreground_threshold))[0]
            cosine[place] = torch.where(mask | ~mask.any(), cosine[place], 0.0)
        return cosine

    def _score(self, distances: Tensor) -> Tensor:
        """The mean (B,) of the largest of those distances (B, h, w) that count."""
        return mean_of_highest(self.within(distances), self.top_share)

    def _features(self, image: Tensor) -> Tensor:
        level: Tensor = self.backbone(image)[0]
        return level.float()


def _vectors(features: Tensor) -> Tensor:
    """Patches (B, positions, channels) of length one of features (B, channels, h, w)."""
    return normalize(features.flatten(2).mT, dim=2)
