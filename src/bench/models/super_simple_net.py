"""SuperSimpleNet and SimpleNet: tell normal features from noisy ones (arXiv 2408.03143, arXiv 2303.15140)."""

from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from bench.config.number_ranges import Count, NonNegative, Positive, Sigma
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.perlin import random_regions
from bench.models.parts.precision import full_precision
from bench.models.parts.remembered import RememberedFeatures
from bench.models.parts.simplenet_network import (
    Adaptor,
    ClassificationHead,
    PatchFeatures,
    SegmentationHead,
    UpscaledFeatures,
    focal,
    truncated_l1,
)

_ADAPTORS_DECAY = 0.01  # AdamW's default, which both papers' code leaves as it is


class SuperSimpleNet(Detector):
    """Learn to find Gaussian noise in features of a frozen network; what looks like it in an image is anomalous.

    SimpleNet is the same with `patch_features` 1536, `perlin_threshold` and `classification_channels` null, `use_focal`
    false, `gamma` 1, `weight_decay` 0 and `l2_penalty` 1e-5 (`conf/model/simplenet.yaml`).

    Only the backbone computes in half precision: noise of a hundredth of a feature would be rounded away there.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the backbone, as numbers (ResNet: 2, 3) or names of modules.
        patch_features: numbers of each patch, pooled as PatchCore has them (SimpleNet); null takes all channels, at
            twice the resolution of the first level.
        noise: standard deviation of the noise that training adds to features.
        perlin_threshold: training adds noise where Perlin noise is above it; null: everywhere, in a copy of each batch.
        hidden: units of the segmentation head.
        classification_channels: channels of the classification head's convolution; null: none, an image's score is the
            largest of its positions (SimpleNet).
        adapt_classification: whether the classification head sees adapted features (ICPR 2024) or the network's own
            (the journal version, arXiv 2508.19060).
        stop_gradient: whether the classification head leaves the segmentation head alone.
        use_focal: whether positions and images also learn by the focal loss.
        margin: distance from 0 that the truncated L1 loss asks of each position.
        sigma: standard deviation in pixels of the Gaussian that smooths the map.
        learning_rate: of both heads.
        adaptor_rate: learning rate of the adaptor.
        gamma: factor of the learning rates after 80 and again after 90 % of training; 1: none.
        weight_decay: decoupled weight decay of both heads (AdamW).
        l2_penalty: L2 penalty of the heads' weights, part of the loss (as torch's Adam has it).
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "wide_resnet50_2",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        patch_features: Count | None = None,
        noise: Positive = 0.015,
        perlin_threshold: float | None = 0.2,
        hidden: Count = 1024,
        classification_channels: Count | None = 128,
        adapt_classification: bool = True,
        stop_gradient: bool = True,
        use_focal: bool = True,
        margin: NonNegative = 0.5,
        sigma: Sigma = 4.0,
        learning_rate: NonNegative = 2e-4,
        adaptor_rate: NonNegative = 1e-4,
        gamma: Positive = 0.4,
        weight_decay: NonNegative = 1e-5,
        l2_penalty: NonNegative = 0.0,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("SuperSimpleNet learns from whole images: set --data.texture_patch null")
        if perlin_threshold is not None and not -1 < perlin_threshold < 1:
            raise UsageError(
                f"--model.perlin_threshold {perlin_threshold} does not lie in (-1, 1), as Perlin noise does"
            )
        if classification_channels is not None and not use_focal:
            raise UsageError("the classification head learns by the focal loss: set --model.use_focal true")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        shapes = self.backbone.shapes
        self.embed = UpscaledFeatures(shapes) if patch_features is None else PatchFeatures(shapes, patch_features)
        channels, side = self.embed.channels, self.embed.side
        self.adaptor = Adaptor(channels)
        self.segmentation = SegmentationHead(channels, hidden)
        self.classification = None
        if classification_channels is not None:
            self.classification = ClassificationHead(channels, classification_channels)
        # The blur of each paper's code: torchvision's with a kernel cut at three deviations, or scipy's.
        self.to_map = SmoothUpsampling(
            (side, side),
            spec.size,
            sigma,
            truncate=3.0 if patch_features is None else 4.0,
            border="mirror" if patch_features is None else "reflect",
        )
        self.noise, self.perlin_threshold = noise, perlin_threshold
        self.adapt_classification, self.stop_gradient = adapt_classification, stop_gradient
        self.use_focal, self.margin = use_focal, margin
        self.learning_rate, self.adaptor_rate, self.gamma = learning_rate, adaptor_rate, gamma
        self.weight_decay, self.l2_penalty = weight_decay, l2_penalty
        self.remembered = RememberedFeatures(self.backbone)

    def forward(self, image: Tensor) -> Prediction:
        """Map = the segmentation head's anomalies, up-sampled and blurred; score = the logit of a defect.

        Without a classification head the score is the largest of the anomalies before that.
        """
        levels = self.backbone(image)
        with full_precision(image.device):
            anomalies, logits = self.judge_features(self.embed(levels))
            score = self.within(anomalies).amax(dim=(1, 2)) if logits is None else logits
            return Prediction(score, self.to_map(anomalies))

    def judge_features(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Anomalies (B, h, w) of the positions of features (B, channels, h, w), and logits (B,) of a defect."""
        adapted = self.adaptor(features)
        anomalies, logits = self.judge(adapted, adapted if self.adapt_classification else features)
        return anomalies[:, 0], logits

    def judge(self, adapted: Tensor, seen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Anomalies (B, 1, h, w) of adapted features, and logits (B,) of a defect from what the second head sees."""
        anomalies: Tensor = self.segmentation(adapted)
        if self.classification is None:
            return anomalies, None
        return anomalies, self.classification(seen, anomalies.detach() if self.stop_gradient else anomalies)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Truncated L1 of positions; with `use_focal`, focal losses of positions and images (section 3.4)."""
        levels = self.remembered(batch)
        with full_precision(batch.image.device):
            terms = self.terms(self.embed(levels))
            loss = torch.stack(list(terms.values())).sum()
            if self.training and self.l2_penalty:
                loss = loss + self.l2_penalty / 2 * sum(each.square().sum() for each in self.segmentation.parameters())
        return {"loss": loss, **terms}

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        """The terms of the loss of normal features (B, channels, h, w), each in two copies with noise of its own."""
        mask = self.regions(2 * len(features), features.device)
        features = torch.cat([features, features])
        adapted = self.adaptor(features)
        noise = self.noise * torch.randn_like(adapted) * mask
        seen = adapted + noise if self.adapt_classification else features + noise
        anomalies, logits = self.judge(adapted + noise, seen)
        terms = {"truncated_l1": truncated_l1(anomalies, mask, self.margin)}
        if self.use_focal:
            terms["segmentation"] = focal(anomalies, mask)
        if logits is not None:
            terms["classification"] = focal(logits, mask.amax(dim=(1, 2, 3)))
        return terms

    def regions(self, count: int, device: torch.device) -> Tensor:
        """The positions (N, 1, h, w) that get noise: random regions, or all of the second half of the images."""
        side = self.embed.side
        if self.perlin_threshold is not None:
            return random_regions(count, side, self.perlin_threshold, device)
        mask = torch.zeros(count, 1, side, side, device=device)
        mask[count // 2 :] = 1
        return mask

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, with a lower rate and another decay for the adaptor; the rates fall twice."""
        adaptor = {"params": self.adaptor.parameters(), "lr": self.adaptor_rate, "weight_decay": _ADAPTORS_DECAY}
        heads = (head for head in (self.segmentation, self.classification) if head is not None)
        groups: list[dict[str, Any]] = [adaptor, *({"params": head.parameters()} for head in heads)]
        optimizer = torch.optim.AdamW(groups, self.learning_rate, weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)
        falls = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda update: self.gamma ** ((10 * update >= 8 * total) + (10 * update >= 9 * total))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falls, "interval": "step"}}

    def on_train_end(self) -> None:
        """Free the remembered features: only training repeats images."""
        self.remembered.forget()
