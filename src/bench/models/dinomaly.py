"""Dinomaly: a transformer's features, loosely reconstructed through a noisy bottleneck (Guo et al., CVPR 2025)."""

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import layer_norm

from bench.config.number_ranges import BelowOne, Count, NonNegative, Positive, PositiveShare, Whole
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.dinomaly_loss import cosine_distance, easy_share_at, hard_mining_loss
from bench.models.parts.dinomaly_network import Reconstruction, heads_of
from bench.models.parts.reduced_maps import ReducedUpsampling, mean_of_highest
from bench.models.parts.remembered import RememberedFeatures
from bench.models.parts.schedules import warm_cosine
from bench.models.parts.stable_adamw import StableAdamW
from bench.models.parts.token_groups import TokenGroups

_SIGMA = 4.0  # of the blur of the reduced map, cut to 5 pixels by the authors


class Dinomaly(Detector):
    """A decoder learns to reconstruct a frozen transformer's tokens of normal images; what it cannot is anomalous.

    Args:
        spec: what the data are like.
        backbone: a ViT or DeiT of timm's.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: the encoder's blocks that are reconstructed, from 0.
        groups: groups of equally many levels, and of the decoder's blocks, whose means are compared (section 3.4).
        depth: blocks of the decoder, a multiple of the groups.
        dropout: share of the bottleneck's numbers that a training step drops (the paper: .2; larger for other data).
        recentre: reconstruct patch tokens minus the class token, normalised, as code of Dinomaly2 has it.
        easy_share: share of tokens whose gradient is made smaller, once `easy_updates` have passed.
        easy_factor: what their gradient is multiplied by.
        easy_updates: updates in which that share rises from 0.
        learning_rate: of StableAdamW, after `warm_up` updates.
        final_learning_rate: at the last update.
        warm_up: updates in which the learning rate rises from 0.
        weight_decay: decoupled.
        epsilon: of StableAdamW (the authors' code: 1e-10 for one model for all products, 1e-8 for one per product).
        reduced: side in pixels of the map that the score is taken of; null: that of the images.
        top_share: share of that map's pixels, the highest ones, whose mean is the score.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "vit_base_patch14_reg4_dinov2",
        weights: str = "lvd142m",
        levels: list[int] = [2, 3, 4, 5, 6, 7, 8, 9],  # noqa: B006 - jsonargparse shows and copies the default
        groups: Count = 2,
        depth: Count = 8,
        dropout: BelowOne = 0.2,
        recentre: bool = False,
        easy_share: BelowOne = 0.9,
        easy_factor: NonNegative = 0.1,
        easy_updates: Whole = 1000,
        learning_rate: NonNegative = 2e-3,
        final_learning_rate: NonNegative = 2e-4,
        warm_up: Whole = 100,
        weight_decay: NonNegative = 1e-4,
        epsilon: Positive = 1e-10,
        reduced: Count | None = 256,
        top_share: PositiveShare = 0.01,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("Dinomaly learns from whole images: set --data.texture_patch null")
        if not levels or len(levels) % groups or depth % groups:
            raise UsageError(f"--model.groups {groups} does not divide --model.depth {depth} and {len(levels)} levels")
        each = len(levels) // groups
        encoded = [levels[first : first + each] for first in range(0, len(levels), each)]
        self.encoder = TokenGroups(backbone, encoded, weights, spec.size)
        if recentre and not self.encoder.has_class_token:
            raise UsageError(f"{backbone} has no class token: set --model.recentre false")
        width = self.encoder.width
        self.reconstruction = Reconstruction(width, heads_of(width), depth, groups, dropout)
        self.to_map = ReducedUpsampling(self.encoder.grid, spec.size, reduced or spec.size, _SIGMA)
        self.recentre = recentre
        self.easy_share = easy_share
        self.easy_factor = easy_factor
        self.easy_updates = easy_updates
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.warm_up = warm_up
        self.weight_decay = weight_decay
        self.epsilon = epsilon
        self.top_share = top_share
        self.remembered = RememberedFeatures(self.encoder)

    def forward(self, image: Tensor) -> Prediction:
        """Map = mean over groups of 1 - cosine, enlarged, reduced and blurred; score = mean of its highest pixels."""
        reduced = self.reduced_map(self.encoder(image))
        return Prediction(mean_of_highest(self.within(reduced), self.top_share), self.to_map.enlarge(reduced))

    def reduced_map(self, features: list[Tensor]) -> Tensor:
        """Maps (B, reduced, reduced) of the encoder's tokens of each group."""
        pairs = zip(*self._compared(features), strict=True)
        distance = torch.stack([cosine_distance(encoded, decoded) for encoded, decoded in pairs]).mean(dim=0)
        return self.to_map(distance.view(-1, *self.encoder.grid))  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Global cosine distance of both groups, with hard mining by the gradient."""
        encoded, decoded = self._compared(self.remembered(batch))
        share = easy_share_at(self.global_step, self.easy_share, self.easy_updates)
        return {"loss": hard_mining_loss(encoded, decoded, share, self.easy_factor)}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """StableAdamW with AMSGrad on bottleneck and decoder, a warm-up and a cosine, counted in updates."""
        optimizer = StableAdamW(
            self.reconstruction.parameters(), self.learning_rate, eps=self.epsilon,
            weight_decay=self.weight_decay, amsgrad=True,
        )  # fmt: skip
        total = int(self.trainer.estimated_stepping_batches)
        warm_up = min(self.warm_up, total)
        least = self.final_learning_rate / self.learning_rate if self.learning_rate else 1.0
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, total, warm_up, least))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_end(self) -> None:
        """Free the remembered features: only training repeats images."""
        self.remembered.forget()

    def _compared(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Patch tokens (B, N, width) of each group, and their reconstructions.

        The groups being equally large, the mean of their means is that of all levels, which the bottleneck takes. It
        and the decoder see class token and registers as well.
        """
        decoded = self.reconstruction(torch.stack(features).mean(dim=0))
        first = self.encoder.prefix
        targets = [tokens[:, first:] for tokens in features]
        if self.recentre:
            differences = [tokens[:, first:] - tokens[:, :1] for tokens in features]
            targets = [layer_norm(each, each.shape[-1:], eps=1e-8) for each in differences]
        return targets, [tokens[:, first:] for tokens in decoded]
