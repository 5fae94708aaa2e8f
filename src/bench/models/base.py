"""What every method is: a Lightning module that scores images, and is tested in one way only."""

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, Literal, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.memory import release_free_memory
from bench.metrics.pixel import PixelMetrics, PixelResult


class Prediction(NamedTuple):
    """Scores are raw and unbounded; larger = more anomalous."""

    score: Tensor  # (B,)
    map: Tensor | None = None  # (B, H, W), the same meaning per pixel; None if the method cannot localise
    logits: Tensor | None = None  # (B, classes), supervised classifiers only


class Pass(Enum):
    """What a pass over images in prediction mode is for."""

    SCORE = "score"
    COLLECT = "collect"
    LEFT_OUT = "left out"


class ScoredImages(NamedTuple):
    """(N,) places in the split, (N,) scores and, each empty where a method has none, logits and extents of the maps."""

    indices: Tensor
    score: Tensor
    logits: Tensor  # (N, classes) of classifiers
    extent: Tensor  # (N, 2) median and maximum of each image's anomaly map


class Scores(Metric):
    """Score and logits of each image, gathered from all processes, in the order of the split."""

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    indices: list[Tensor]
    score: list[Tensor]
    logits: list[Tensor]
    extent: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ScoredImages._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, indices: Tensor, score: Tensor, logits: Tensor | None = None, maps: Tensor | None = None) -> None:
        """Keep (B,) scores, (B, classes) logits and the extents of (B, H, W) maps of the images at `indices`."""
        self.indices.append(indices)
        self.score.append(score.float())
        self.logits.append(logits.float() if logits is not None else score.new_zeros(len(score), 0))
        self.extent.append(extent_of(maps) if maps is not None else score.new_zeros(len(score), 0))

    def compute(self) -> ScoredImages:
        """All images, in the order of the split."""
        indices, order = torch.sort(dim_zero_cat(self.indices))
        values = (dim_zero_cat(state)[order].cpu() for state in (self.score, self.logits, self.extent))
        return ScoredImages(indices.cpu(), *values)


class Detector(LightningModule):
    """The base of all methods.

    A method says how it scores (`forward`), and how it learns: by gradient (`loss` and `configure_optimizers`), from
    statistics of the training images (`collect`, `settle`), or both. Buffers have their final shape when it is built.

    Statistics `before` are gathered inside training, at the start of its epoch `statistics_epoch`; `after`, when
    training has ended, or instead of it.
    """

    track: ClassVar[Literal["one-class", "supervised"]] = "one-class"
    statistics: ClassVar[Literal["none", "before", "after"]] = "none"
    statistics_epoch: int = 0
    threshold: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        self.purpose = Pass.SCORE
        self.register_buffer("threshold", torch.tensor(float("nan"), dtype=torch.float64))
        self.scores = Scores()
        self.pixels = PixelMetrics()
        self.another_pass = False
        self.gathered: ScoredImages | None = None
        self.localised: PixelResult | None = None

    def forward(self, image: Tensor) -> Prediction:
        """Score (B, channels, size, size) images in [0, 1]."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the training loss by name; `loss` is the one that is minimised."""
        raise NotImplementedError

    def collect(self, image: Tensor) -> None:
        """Add training images to the statistics."""
        raise NotImplementedError

    def settle(self) -> bool:
        """Turn what all processes collected into buffers and forget it; true if another pass is needed."""
        raise NotImplementedError

    @property
    def scores_left_out(self) -> bool:
        """Whether `left_out_score` works: then no refit is needed to score training images fairly."""
        return False

    def left_out_score(self, image: Tensor) -> Tensor:
        """Score (B,) training images as if each alone had been left out of the statistics."""
        raise NotImplementedError

    @property
    def preparing_epochs(self) -> int:
        """How many of the first epochs only prepare the method, with a loss of their own."""
        return self.statistics_epoch if self.statistics == "before" else 0

    @property
    def trains(self) -> bool:
        """Whether the method learns by gradient."""
        cls = type(self)
        return cls.loss is not Detector.loss or cls.training_step is not Detector.training_step

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Log the terms of the loss and return the one to minimise."""
        return self._log_loss("train", batch)

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Log the loss of held-out normal images."""
        self._log_loss("validation", batch)

    def predict_step(self, batch: Batch, _batch_index: int) -> None:
        """Collect statistics or scores, whatever the pass is for."""
        if self.purpose is Pass.COLLECT:
            self.collect(batch.image)
        elif self.purpose is Pass.LEFT_OUT:
            self.scores.update(batch.indices, self.left_out_score(batch.image))
        else:
            self.scores.update(batch.indices, self(batch.image).score)

    def on_predict_epoch_end(self) -> None:
        """Settle on the device and in every process, before Lightning takes the model off it."""
        if self.purpose is Pass.COLLECT:
            release_free_memory()
            self.another_pass = self.settle()
        else:
            self.gathered = self.scores.compute()
            self.scores.reset()

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        release_free_memory()
        self.scores.reset()
        self.pixels.reset()

    def test_step(self, batch: Batch, _batch_index: int) -> None:
        """Score a batch; the same for every method."""
        prediction: Prediction = self(batch.image)
        self.scores.update(batch.indices, prediction.score, prediction.logits, prediction.map)
        if prediction.map is None or batch.mask is None or batch.defect_type is None:
            return
        for anomaly_map, mask, defect_type in zip(prediction.map, batch.mask, batch.defect_type, strict=True):
            fitted = resize_map(anomaly_map, mask.shape)
            self.pixels.update(fitted[None], mask[None], defect_type[None])

    def on_test_epoch_end(self) -> None:
        """Gather from all processes and compute."""
        release_free_memory()
        self.gathered = self.scores.compute()
        self.localised = self.pixels.compute() if self.pixels.update_called else None
        self.scores.reset()
        self.pixels.reset()

    def on_after_batch_transfer(self, batch: Batch, _dataloader_index: int) -> Batch:
        """Turn bytes into [0, 1] on the device, where it costs least."""
        return batch._replace(image=as_floats(batch.image))

    def log_terms(self, stage: str, terms: Mapping[str, Tensor], images: int) -> None:
        """Log terms of a loss as means over the epoch and all processes."""
        named = {f"{stage}/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=images, sync_dist=True)

    def _log_loss(self, stage: str, batch: Batch) -> Tensor:
        terms = self.loss(batch)
        self.log_terms(stage, terms, len(batch.image))
        return terms["loss"]


def as_floats(image: Tensor) -> Tensor:
    """Bytes as floats in [0, 1]."""
    return image.float().div_(255)


def extent_of(maps: Tensor) -> Tensor:
    """Median and maximum (B, 2) of each anomaly map (B, H, W)."""
    values = maps.detach().float().flatten(1).cpu()  # torch warns of a median on GPUs: not reproducible
    return torch.stack([values.median(dim=1).values, values.amax(dim=1)], dim=1).to(maps.device)


def resize_map(anomaly_map: Tensor, shape: torch.Size) -> Tensor:
    """Bring an anomaly map (H, W) to the size of a mask, bilinearly; unchanged where it fits."""
    if anomaly_map.shape == shape:
        return anomaly_map
    return torch.nn.functional.interpolate(
        anomaly_map[None, None], size=tuple(shape), mode="bilinear", align_corners=False
    )[0, 0]
