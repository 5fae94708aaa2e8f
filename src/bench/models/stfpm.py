"""STFPM: a student that learns a teacher's features of normal images (Wang et al., BMVC 2021, arXiv 2103.04257)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.config.number_ranges import BelowOne, NonNegative
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.remembered import RememberedFeatures


class STFPM(Detector):
    """Train a student of a frozen teacher's architecture to have its features, on normal images; elsewhere they differ.

    Args:
        spec: what the data are like.
        backbone: any convolutional timm architecture; the teacher's and the student's.
        weights: weights of the teacher: a file, a tag of timm's, or 'none' for random ones. The student's are random.
        levels: levels that are compared, as numbers (ResNet: 1, 2, 3) or names of modules.
        learning_rate: of SGD, for the loss of the authors' code, which is twice the paper's.
        momentum: of SGD.
        weight_decay: L2 penalty of SGD.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "resnet18",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [1, 2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        learning_rate: NonNegative = 0.4,
        momentum: BelowOne = 0.9,
        weight_decay: NonNegative = 1e-4,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("STFPM learns from whole images: set --data.texture_patch null")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        self.student = Backbone(backbone, levels, "none", spec.size, trained=True)
        _fill_zero_scales(self.student)
        self.student.mean.copy_(self.backbone.mean)
        self.student.std.copy_(self.backbone.std)
        self.to_map = nn.ModuleList(SmoothUpsampling(shape[1:], spec.size, 0.0) for shape in self.backbone.shapes)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.remembered = RememberedFeatures(self.backbone)

    def forward(self, image: Tensor) -> Prediction:
        """Map = the product of the levels' distances, each enlarged bilinearly; score = its maximum."""
        anomaly_map = self.map_of(image)
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def map_of(self, image: Tensor) -> Tensor:
        """Maps (B, size, size) of images."""
        levels = distances(self.backbone(image), self.student(image))
        return torch.stack([enlarge(level) for enlarge, level in zip(self.to_map, levels, strict=True)]).prod(dim=0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared distances, averaged over positions and images, summed over levels.

        That is twice the paper's loss, as in the authors' code, to which the learning rate belongs.
        """
        levels = distances(self.remembered(batch), self.student(batch.image))
        return {"loss": 2 * torch.stack([level.mean() for level in levels]).sum()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD on the student."""
        return torch.optim.SGD(
            self.student.parameters(), self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def on_train_end(self) -> None:
        """Free the remembered features: only training repeats images."""
        self.remembered.forget()


def distances(teacher: list[Tensor], student: list[Tensor]) -> list[Tensor]:
    """Half the squared distance (B, h, w) at each position between features (B, C, h, w) scaled to length 1.

    That is one minus their cosine, without its cancellation where they are alike: it is 0 where they are equal.
    """
    pairs = zip(teacher, student, strict=True)
    return [(normalize(one, dim=1) - normalize(other, dim=1)).square().sum(dim=1) / 2 for one, other in pairs]


def _fill_zero_scales(network: nn.Module) -> None:
    """Let BatchNorm begin with scales of 1, as torchvision's networks do.

    timm's ResNets begin with 0 in the last BatchNorm of each block, so that a block at first passes its input on.
    """
    for module in network.modules():
        scale: Any = getattr(module, "weight", None)
        if isinstance(module, nn.BatchNorm2d) and scale is not None and not scale.any():
            nn.init.ones_(scale)
