"""Supervised classifiers of defect types: a pretrained network, a head, fine-tuning."""

import math
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from bench.config.number_ranges import BelowOne, Count, NonNegative
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.classifier_loss import ClassificationLoss
from bench.models.parts.classifier_network import ClassifierBackbone
from bench.models.parts.schedules import cosine

_MOMENTUM = 0.9


class Classifier(Detector):
    """Tell good images and each type of defect apart.

    Args:
        spec: what the data are like.
        library: whose network the backbone is.
        backbone: its name there, as `resnet18` or `mobilenet_v2`.
        weights: weights of the backbone: a file, a tag of the library's (torchvision: `IMAGENET1K_V1`), or 'none'.
        head: `linear`, `normalised` (BatchNorm without scale before it: features of a frozen backbone are learned from
            in a fraction of the steps), or `mlp` with one hidden layer of `hidden` units.
        hidden: units of the hidden layer.
        dropout: share of the features that are dropped before the last layer while learning.
        freeze_backbone: whether only the head learns.
        freeze_batchnorm: whether BatchNorm of the backbone keeps the weights' statistics, scales and offsets; for small
            batches.
        optimizer: `sgd` has momentum .9.
        learning_rate: of the head.
        backbone_rate: the backbone's learning rate as a multiple of the head's.
        weight_decay: L2 penalty (`adamw`: decoupled) of weights, not of biases nor of BatchNorm.
        schedule: how the rate falls to 0 (`cosine`), to a tenth every `step_epochs` (`step`), or not (`constant`).
        step_epochs: epochs between two steps.
        warmup_epochs: epochs in which the rate rises from 0.
        label_smoothing: share of each target that is spread over all classes.
        effective_number_beta: of class-balanced weights of the loss (Cui et al. 2019); null: all classes alike.
        focal_gamma: of the focal loss (Lin et al. 2017); 0: none.
        logit_adjustment: tau of the adjusted logits (Menon et al. 2021); 0: none.
        views: turns of an image, evenly around the circle, over which log-probabilities are averaged when it is scored;
            for objects that lie any way round. 1: the image as it is.
    """

    track: ClassVar[Literal["one-class", "supervised"]] = "supervised"

    def __init__(
        self,
        spec: DataSpec,
        *,
        library: Literal["torchvision", "timm"] = "torchvision",
        backbone: str = "resnet18",
        weights: str = "IMAGENET1K_V1",
        head: Literal["linear", "normalised", "mlp"] = "linear",
        hidden: Count = 256,
        dropout: float = 0.0,
        freeze_backbone: bool = False,
        freeze_batchnorm: bool = False,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        learning_rate: NonNegative = 0.001,
        backbone_rate: NonNegative = 0.1,
        weight_decay: NonNegative = 0.0,
        schedule: Literal["constant", "cosine", "step"] = "cosine",
        step_epochs: int = 20,
        warmup_epochs: int = 0,
        label_smoothing: float = 0.0,
        effective_number_beta: BelowOne | None = None,
        focal_gamma: NonNegative = 0.0,
        logit_adjustment: NonNegative = 0.0,
        views: int = 1,
    ) -> None:
        super().__init__(spec)
        if len(spec.classes) < 2:
            raise UsageError("a classifier needs labelled defects: set --data.fold to a fold or to all")
        if step_epochs < 1 or warmup_epochs < 0:
            raise UsageError("--model.step_epochs is at least 1, --model.warmup_epochs at least 0")
        if not 0 <= dropout < 1:
            raise UsageError(f"--model.dropout {dropout} does not lie in [0, 1)")
        if views < 1:
            raise UsageError(f"--model.views {views} is not positive; 1 scores the image as it is")
        self.views = views
        self.backbone = ClassifierBackbone(library, backbone, weights, spec.size, freeze_batchnorm=freeze_batchnorm)
        self.head: nn.Module = _head(head, self.backbone.width, hidden, dropout, len(spec.classes))
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False)
        self.objective = ClassificationLoss(
            spec.class_counts,
            effective_number_beta=effective_number_beta,
            focal_gamma=focal_gamma,
            logit_adjustment=logit_adjustment,
            label_smoothing=label_smoothing,
        )
        self.optimizer_name = optimizer
        self.learning_rate, self.backbone_rate, self.weight_decay = learning_rate, backbone_rate, weight_decay
        self.schedule, self.step_epochs, self.warmup_epochs = schedule, step_epochs, warmup_epochs

    def forward(self, image: Tensor) -> Prediction:
        """Score = log-odds of any defect against good."""
        logits = self.logits(image)
        if self.views > 1:
            turns = [turn(image, 360 * view / self.views) for view in range(1, self.views)]
            each = [logits, *(self.logits(turned) for turned in turns)]
            logits = torch.stack([one.log_softmax(dim=1) for one in each]).mean(dim=0)
        return Prediction(logits[:, 1:].logsumexp(dim=1) - logits[:, 0], None, logits)

    def logits(self, image: Tensor) -> Tensor:
        """(B, classes), good first."""
        return self.classify(*self.observe(image))

    def observe(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (B, width) and the last map (B, C, h, w); without gradient where the backbone is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            return self.backbone.with_map(image)

    def classify(self, features: Tensor, last: Tensor | None) -> Tensor:
        """Logits (B, classes) from the backbone's outputs."""
        logits: Tensor = self.head(features)
        return logits

    def explain(self, image: Tensor, classes: Tensor) -> Tensor | None:
        """Grad-CAM (B, h, w) of one class of each image (Selvaraju et al., ICCV 2017, equations 1 and 2).

        None if the backbone does not end in a map.
        """
        if not self.backbone.has_map:
            return None
        with torch.inference_mode(False), torch.enable_grad():
            # A fresh tensor: one made in inference mode has no gradient; the weights may be frozen.
            features, last = self.backbone.with_map(image.clone().requires_grad_())
            assert last is not None
            chosen = self.classify(features, last).gather(1, classes.clone()[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), last)
        return (gradient.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1).relu().detach()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy with its remedies, and the share of images that are classified correctly."""
        image, target = twice_if_single(batch) if self.training else (batch.image, known_types(batch))
        logits = self.logits(image)
        return {"loss": self.objective(logits, target), "accuracy": share_right(logits, target)}

    def on_train_batch_start(self, *_: Any) -> None:
        """Keep a frozen backbone in evaluation mode: its batch statistics stay as well."""
        if self.freeze_backbone:
            self.backbone.eval()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """One optimizer; the backbone's rate is a share of the head's, and only weights decay."""
        optimizer = self.build_optimizer(self.learning_rate)
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda update: self.share_of_rate(update, per_epoch, total)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def share_of_rate(self, update: int, per_epoch: int, total: int) -> float:
        """The share of the full rate at an update: a warm-up, then the schedule."""
        warm = min(total, self.warmup_epochs * per_epoch)
        if update < warm:
            return (update + 1) / warm
        if self.schedule == "cosine":
            return cosine(update - warm, total - warm)
        return 0.1 ** ((update - warm) // (self.step_epochs * per_epoch)) if self.schedule == "step" else 1.0

    def build_optimizer(self, rate: float) -> torch.optim.Optimizer:
        """The optimizer over everything that learns, in groups: backbone or head, decayed or not."""
        groups = []
        for name, share in (("backbone", self.backbone_rate), ("head", 1.0)):
            parameters = [p for p in self.get_submodule(name).parameters() if p.requires_grad]
            for decayed in (True, False):
                chosen = [p for p in parameters if (p.ndim > 1) == decayed]
                if chosen:
                    decay = self.weight_decay if decayed else 0.0
                    groups.append({"params": chosen, "lr": share * rate, "weight_decay": decay})
        if self.optimizer_name == "sgd":
            return torch.optim.SGD(groups, rate, _MOMENTUM)
        kind = torch.optim.Adam if self.optimizer_name == "adam" else torch.optim.AdamW
        return kind(groups, rate)


def turn(image: Tensor, degrees: float) -> Tensor:
    """Images (B, C, H, H) turned counterclockwise and shrunk to fit; their border pixels continue beyond them.

    As albumentations' SafeRotate, by which `--data.augmentation turned` turns training images.
    """
    angle = math.radians(degrees)
    cosine_, sine = math.cos(angle), math.sin(angle)
    larger = abs(cosine_) + abs(sine)
    rotation = image.new_tensor([[cosine_, -sine, 0.0], [sine, cosine_, 0.0]]) * larger
    grid = nn.functional.affine_grid(rotation.expand(image.shape[0], 2, 3), list(image.shape), align_corners=False)
    return nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def known_types(batch: Batch) -> Tensor:
    """The true classes (B,) of a batch of labelled images."""
    assert batch.defect_type is not None, "a classifier learns from labelled images only"
    return batch.defect_type


def twice_if_single(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images and classes; the single image of a last batch is doubled, or BatchNorm would have no variance."""
    image, target = batch.image, known_types(batch)
    return (image, target) if len(image) > 1 else (image.expand(2, -1, -1, -1), target.expand(2))


def share_right(logits: Tensor, target: Tensor) -> Tensor:
    """Share of images whose largest logit is that of their class."""
    return (logits.argmax(dim=1) == target).float().mean()


def _head(kind: str, width: int, hidden: int, dropout: float, classes: int) -> nn.Sequential:
    if kind == "linear":
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
    if kind == "normalised":
        return nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Dropout(dropout), nn.Linear(width, classes))
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))
