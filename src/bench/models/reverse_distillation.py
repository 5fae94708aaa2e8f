"""Reverse distillation: a decoder restores a teacher's features from a small embedding (Deng and Li, CVPR 2022)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from bench.config.number_ranges import BelowOne, NonNegative, Sigma
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.maps import SmoothUpsampling
from bench.models.parts.precision import network_precision
from bench.models.parts.remembered import RememberedFeatures
from bench.models.parts.reverse_distillation_network import BlockShape, Decoder, OneClassEmbedding, check_shapes

_SECOND_BETA = 0.999


class ReverseDistillation(Detector):
    """Restore a frozen teacher's features from an embedding of them, on normal images; elsewhere that fails.

    arXiv 2201.10703. For ResNets embedding and decoder are the authors'; for others they have ResNet-18's blocks.

    Args:
        spec: what the data are like.
        backbone: any convolutional timm architecture, the teacher.
        weights: weights of the teacher: a file, a tag of timm's, or 'none' for random ones.
        levels: levels that are restored, as numbers (ResNet: 1, 2, 3) or names of modules, finest first.
        cosine: whether the loss takes one cosine of all of a level's numbers (`image`, the authors' code), or the mean
            of the cosines at all positions (`position`, the paper's equation 2).
        sigma: standard deviation in pixels of the blur of the anomaly map.
        learning_rate: of Adam.
        first_beta: of Adam.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "wide_resnet50_2",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [1, 2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        cosine: Literal["image", "position"] = "image",
        sigma: Sigma = 4.0,
        learning_rate: NonNegative = 5e-3,
        first_beta: BelowOne = 0.5,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("reverse distillation learns from whole images: set --data.texture_patch null")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        shapes = self.backbone.shapes
        check_shapes(shapes, spec.size)
        blocks = BlockShape.of(backbone, len(shapes))
        self.embedding = OneClassEmbedding(shapes, blocks).to(memory_format=torch.channels_last)
        self.decoder = Decoder(shapes, blocks).to(memory_format=torch.channels_last)
        self.to_map = nn.ModuleList(
            SmoothUpsampling(shape[1:], spec.size, sigma, align_corners=True) for shape in shapes
        )
        self.cosine = cosine
        self.learning_rate = learning_rate
        self.first_beta = first_beta
        self.remembered = RememberedFeatures(self.backbone)

    def forward(self, image: Tensor) -> Prediction:
        """Map = the sum over levels of one minus the cosine, up-sampled and blurred; score = its maximum."""
        anomaly_map = self.map_of(image)
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def map_of(self, image: Tensor) -> Tensor:
        """Maps (B, size, size) of images."""
        features = self.backbone(image)
        pairs = zip(self.to_map, features, self.restore(features), strict=True)
        return torch.stack([enlarge(1 - cosine_similarity(one, other, dim=1)) for enlarge, one, other in pairs]).sum(0)

    def restore(self, features: list[Tensor]) -> list[Tensor]:
        """The teacher's features (B, C, h, w) of each level, from what the embedding keeps; in single precision."""
        with network_precision(features[0].device):
            levels = self.decoder(self.embedding(features))
        return [level.float() for level in levels]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """One minus the cosine of features and restored ones, summed over levels, averaged over images."""
        if self.training and len(batch.image) == 1 and self.backbone.shapes[-1][1] == 2:
            raise UsageError(
                "a batch of one image, of which the embedding is one position, has no variance for BatchNorm: "
                "choose a larger --data.image_size or another --data.batch_size"
            )
        features = self.remembered(batch)
        cosines = [self._cosine(one, other) for one, other in zip(features, self.restore(features), strict=True)]
        return {"loss": (1 - torch.stack(cosines)).sum()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on embedding and decoder; the teacher is frozen."""
        learned = [*self.decoder.parameters(), *self.embedding.parameters()]
        return torch.optim.Adam(learned, self.learning_rate, betas=(self.first_beta, _SECOND_BETA))

    def on_train_end(self) -> None:
        """Free the remembered features: only training repeats images."""
        self.remembered.forget()

    def _cosine(self, one: Tensor, other: Tensor) -> Tensor:
        """The mean cosine of features (B, C, h, w)."""
        if self.cosine == "image":
            one, other = one.flatten(1), other.flatten(1)
        return cosine_similarity(one, other, dim=1).mean()
