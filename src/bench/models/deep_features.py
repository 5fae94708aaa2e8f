"""Score whole images by pooled features of a pretrained network: one-class SVM, nearest neighbours, Gaussians."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.accumulators import Pass, Rows, State
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.density import FEWEST_SAMPLES
from bench.models.parts.novelty import LevelGaussians, Neighbours, OneClass


class DeepFeatures(Detector):
    """Novelty of an image's features, averaged over all positions, against the training images'. There is no map.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the backbone, as numbers (ResNet: 1 to 4) or names of modules.
        scorer: `svm` and `neighbours` on features scaled to variance 1; `gaussian` adds the Mahalanobis distances to
            one Gaussian per level, of features as they are, shrunk by Ledoit and Wolf's rule.
        kernel: of the SVM.
        nu: share of normal images that the SVM may leave outside; of several, held-out normal images choose.
        neighbours: how many nearest images count.
    """

    features: Tensor
    count: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "resnet18",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [4],  # noqa: B006 - jsonargparse shows and copies the default
        scorer: Literal["svm", "neighbours", "gaussian"] = "svm",
        kernel: Literal["rbf", "linear"] = "rbf",
        nu: list[float] = [0.01, 0.05, 0.1],  # noqa: B006
        neighbours: int = 1,
    ) -> None:
        super().__init__(spec)
        if not nu or not all(0 < each <= 1 for each in nu):
            raise UsageError(f"--model.nu {nu} names no share, or one that does not lie in (0, 1]")
        if neighbours < 1:
            raise UsageError(f"--model.neighbours {neighbours} is not positive")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        total = sum(self.backbone.channels)
        self.register_buffer("features", torch.zeros(spec.train_images, total))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.scorer: OneClass | Neighbours | LevelGaussians
        if scorer == "svm":
            self.scorer = OneClass(spec.train_images, total, kernel == "rbf", nu)
        elif scorer == "neighbours":
            self.scorer = Neighbours(total, neighbours)
        else:
            self.scorer = LevelGaussians(self.backbone.channels)

    def forward(self, image: Tensor) -> Prediction:
        """Score = minus the SVM's decision function, or a distance."""
        return Prediction(self.scorer(self._pooled(image), self._known()))

    def passes(self) -> Sequence[Pass]:
        """One: the features of all images, in their order."""
        return [Pass("features", {"features": Rows(into=self.features)}, self.accumulate, self.finish)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Keep the features of training images."""
        state.features[state.indices] = self._pooled(image)

    def finish(self, state: State) -> None:
        """Fit the scorer to the features of all images."""
        self.count.fill_(state.images)
        self.scorer.fit(self._known())

    @property
    def fewest_images(self) -> int:
        """The number of neighbours; 3 for a shrunk Gaussian; 1 for an SVM, or 2 to choose its nu."""
        if isinstance(self.scorer, LevelGaussians):
            return FEWEST_SAMPLES
        if isinstance(self.scorer, Neighbours):
            return self.scorer.count
        return 1 if len(self.scorer.choices) == 1 else 2  # one is held out to choose by

    @property
    def supports_leave_one_out(self) -> bool:
        """By a refit on the stored features without the image; Gaussians of a thousand channels take too long."""
        return not isinstance(self.scorer, LevelGaussians)

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Exact, except that the SVM keeps the nu that was chosen from all images."""
        known, scores = self._known(), []
        for own in self._pooled(image):
            # The image itself, or an identical copy.
            index = int((known - own).square().sum(dim=1).argmin())
            others = torch.cat([known[:index], known[index + 1 :]])
            scorer = self._unfitted()
            scorer.fit(others)
            scores.append(scorer(own[None], others))
        return torch.cat(scores)

    def _unfitted(self) -> OneClass | Neighbours:
        total = self.features.shape[1]
        if isinstance(self.scorer, OneClass):
            chosen = [float(self.scorer.nu)]
            return OneClass(len(self.features), total, self.scorer.rbf, chosen).to(self.device)
        assert isinstance(self.scorer, Neighbours)
        return Neighbours(total, self.scorer.count).to(self.device)

    def _pooled(self, image: Tensor) -> Tensor:
        return torch.cat([level.float().mean(dim=(2, 3)) for level in self.backbone(image)], dim=1)

    def _known(self) -> Tensor:
        return self.features[: int(self.count)]
