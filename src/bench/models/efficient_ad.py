"""EfficientAD: a student that fails beyond normal images (Batzner, Heckler, König, WACV 2024, arXiv 2303.14535)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from bench.config.number_ranges import BelowOne, NonNegative
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.accumulators import Accumulator, First, Pass, Rows, State, Sum
from bench.models.base import Detector, Prediction
from bench.models.parts.efficient_ad_loss import hardest, jitter
from bench.models.parts.efficient_ad_network import (
    BORDER,
    FEATURES,
    Autoencoder,
    Describer,
    PatchDescription,
    Size,
    check_side,
    load_teacher,
    positions_per_side,
)
from bench.models.parts.image_folder import ImageFolder
from bench.models.parts.maps import SmoothUpsampling

_LOW, _HIGH = 0.9, 0.995  # quantiles of normal maps that become 0 and .1
_LATE, _LATE_RATE = 0.95, 0.1  # the share of the steps from which the learning rate is lower, and its factor


class EfficientAD(Detector):
    """A student learns a teacher's descriptions of normal images, and an autoencoder's, which sees images as a whole.

    The teacher is a small network that a large one was distilled into: `bench teacher` writes its file of weights.

    Args:
        spec: what the data are like.
        size: networks `small` (EfficientAD-S) or `medium` (EfficientAD-M).
        weights: the teacher's: a file, or 'none' for a random one.
        penalty: `natural` images keep the student from describing more than normal ones (needs `image_folder`); `none`
            leaves that out.
        image_folder: folder of natural images, such as ImageNet's; looked for in all folders below it too.
        hard_quantile: only squared differences above this quantile count in the student's loss.
        dropout: in the autoencoder's decoder, while it learns.
        learning_rate: of Adam, for 95 % of the steps; a tenth after them.
        weight_decay: L2 penalty of Adam.
    """

    channel_mean: Tensor
    channel_deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        size: Size = "small",
        weights: str = "pdn_small.safetensors",
        penalty: Literal["natural", "none"] = "natural",
        image_folder: str | None = None,
        hard_quantile: BelowOne = 0.999,
        dropout: BelowOne = 0.2,
        learning_rate: NonNegative = 1e-4,
        weight_decay: NonNegative = 1e-5,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("EfficientAD learns from whole images: set --data.texture_patch null")
        check_side(spec.size)
        _check_penalty(penalty, image_folder)
        self.teacher = PatchDescription(size, FEATURES).requires_grad_(False)
        load_teacher(self.teacher, weights)
        self.student = PatchDescription(size, 2 * FEATURES)
        self.autoencoder = Autoencoder(spec.size, FEATURES, dropout)
        self.describe = Describer()
        self.positions = positions_per_side(spec.size)
        self.register_buffer("channel_mean", torch.zeros(FEATURES, 1, 1))
        self.register_buffer("channel_deviation", torch.ones(FEATURES, 1, 1))
        self.register_buffer("low", torch.zeros(2))
        self.register_buffer("high", torch.full((2,), 0.1))
        quarter = spec.size // 4
        self.to_map = SmoothUpsampling((quarter, quarter), spec.size, 0.0)
        self.natural = ImageFolder(image_folder, spec.size, crop=2) if image_folder and penalty == "natural" else None
        self.hard_quantile = hard_quantile
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def forward(self, image: Tensor) -> Prediction:
        """Map = mean of both maps, each with its quantiles of normal images at 0 and .1; score = its maximum."""
        anomaly_map = self.map_of(image)
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def map_of(self, image: Tensor) -> Tensor:
        """Maps (B, size, size); the border, which no position describes, gets 0."""
        low, high = self.low.view(-1, 1, 1), self.high.view(-1, 1, 1)
        normalised = 0.1 * (self.maps_of(image) - low) / (high - low)
        enlarged: Tensor = self.to_map(torch.nn.functional.pad(normalised.mean(dim=1), (BORDER,) * 4))
        return enlarged

    def maps_of(self, image: Tensor) -> Tensor:
        """Maps (B, 2, h, w): differences of student and teacher, and of student and autoencoder, as they are."""
        student = self.describe(self.student, image)
        local = student[:, :FEATURES] - self.taught(image)
        whole = student[:, FEATURES:] - self.describe(self.autoencoder, image)
        return torch.stack([each.square().mean(dim=1) for each in (local, whole)], dim=1)

    def taught(self, image: Tensor) -> Tensor:
        """The teacher's descriptions (B, 384, h, w), each channel normalised over the training images."""
        described: Tensor = self.describe(self.teacher, image)
        return (described - self.channel_mean) / self.channel_deviation

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The student's hard differences and penalty, the autoencoder's error, the student's from the autoencoder."""
        natural = None
        if self.natural is not None:
            natural = self.natural.draw(len(batch.image)).to(batch.image.device, non_blocking=True)
        return self.terms(batch.image, jitter(batch.image), natural)

    def terms(self, image: Tensor, changed: Tensor, natural: Tensor | None) -> dict[str, Tensor]:
        """The terms of the loss of images, the same with other colours, and natural ones (equations 2 to 6)."""
        hard = hardest(
            (self.taught(image) - self.describe(self.student, image)[:, :FEATURES]).square(), self.hard_quantile
        )
        whole = self.describe(self.autoencoder, changed)
        found = {
            "hard": hard,
            "autoencoder": (self.taught(changed) - whole).square().mean(),
            "agreement": (whole - self.describe(self.student, changed)[:, FEATURES:]).square().mean(),
        }
        if natural is not None:
            found["penalty"] = self.describe(self.student, natural)[:, :FEATURES].square().mean()
        return {"loss": torch.stack(list(found.values())).sum(), **found}

    def passes(self) -> Sequence[Pass]:
        """First the teacher's channels over the training images, last the quantiles of both maps over held-out ones."""
        channels: dict[str, Accumulator] = {"shift": First(FEATURES), "count": Sum()}
        channels |= {"total": Sum(FEATURES), "squares": Sum(FEATURES)}
        maps = {"maps": Rows(2, self.positions, self.positions)}
        return [
            Pass("the teacher's channels", channels, self.accumulate_channels, self.finish_channels, epoch=0),
            Pass("quantiles of normal maps", maps, self.accumulate_maps, self.finish_maps, held_out=True),
        ]

    def accumulate_channels(self, state: State, image: Tensor) -> None:
        """Add the teacher's descriptions of training images."""
        described = self.describe(self.teacher, image).flatten(2).mT.flatten(0, 1)
        wide = described.to(state.total.dtype) - state.first("shift", lambda: described.mean(dim=0))
        state.count += len(wide)
        state.total += wide.sum(dim=0)
        state.squares += wide.square().sum(dim=0)

    def finish_channels(self, state: State) -> None:
        """Fix mean and standard deviation of each channel; one that never changes is not divided."""
        mean = state.total / state.count
        deviation = (state.squares / state.count - mean.square()).clamp_min(0).sqrt()
        self.channel_mean.copy_((mean + state.shift).view(-1, 1, 1))
        self.channel_deviation.copy_(deviation.where(deviation > 0, 1).view(-1, 1, 1))

    def accumulate_maps(self, state: State, image: Tensor) -> None:
        """Keep both maps of held-out images."""
        state.maps[state.indices] = self.maps_of(image)

    def finish_maps(self, state: State) -> None:
        """Fix the quantiles of each map, over all positions of all images."""
        values = state.maps.transpose(0, 1).flatten(1).double().cpu().numpy()
        low, high = np.quantile(values, [_LOW, _HIGH], axis=1)
        self.low.copy_(torch.from_numpy(low))
        self.high.copy_(torch.from_numpy(np.where(high > low, high, low + 1)))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam on student and autoencoder, with a lower rate for the last steps."""
        learned = [*self.student.parameters(), *self.autoencoder.parameters()]
        optimizer = torch.optim.Adam(learned, self.learning_rate, weight_decay=self.weight_decay)
        late = int(_LATE * int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < late else _LATE_RATE)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _check_penalty(penalty: str, folder: str | None) -> None:
    if penalty == "natural" and folder is None:
        raise UsageError(
            "EfficientAD's penalty takes natural images: name their folder, --model.image_folder FOLDER, or leave the "
            "penalty out, --model.penalty none"
        )
    if penalty == "none" and folder is not None:
        raise UsageError("--model.penalty none uses no images: leave out --model.image_folder")
