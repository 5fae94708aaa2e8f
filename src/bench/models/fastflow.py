"""FastFlow: the likelihood of each position's features under a normalizing flow (Yu et al., arXiv 2111.07677)."""

import math

import torch
from torch import Tensor, nn

from bench.config.number_ranges import NonNegative, Positive
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.parts.backbones import Backbone
from bench.models.parts.fastflow_flow import Flow
from bench.models.parts.maps import LogUpsampling
from bench.models.parts.remembered import RememberedFeatures


class FastFlow(Detector):
    """A flow for each level of a frozen network, trained to map normal images' features to a normal distribution.

    Args:
        spec: what the data are like.
        backbone: any timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' for random ones.
        levels: levels of the backbone, as numbers (ResNet: 1, 2, 3; a transformer: blocks from 0) or names of modules.
        layer_norm: normalise each level over all its numbers first, with a trained scale and offset for each; for
            convolutional networks. For a transformer the network's own last norm is always applied.
        steps: coupling steps of each flow (the paper: 8 for ResNets, 20 for transformers).
        alternate_kernels: whether every second step's convolutions are 1 x 1; else all are 3 x 3 (ResNet-18).
        hidden_ratio: hidden channels per channel that a step's network gets (the paper: 1 for ResNets, else .16).
        clamp: bound of the logarithm of a coupling's scale.
        learning_rate: of Adam.
        weight_decay: L2 penalty of Adam.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        backbone: str = "resnet18",
        weights: str = "tv_in1k",
        levels: list[int] | list[str] = [1, 2, 3],  # noqa: B006 - jsonargparse shows and copies the default
        layer_norm: bool = True,
        steps: int = 8,
        alternate_kernels: bool = False,
        hidden_ratio: Positive = 1.0,
        clamp: Positive = 2.0,
        learning_rate: NonNegative = 1e-3,
        weight_decay: NonNegative = 1e-5,
    ) -> None:
        super().__init__(spec)
        if spec.patch is not None:
            raise UsageError("FastFlow learns from whole images: set --data.texture_patch null")
        if steps < 1 or hidden_ratio <= 0:
            raise UsageError("--model.steps and --model.hidden_ratio must be positive")
        self.backbone = Backbone(backbone, levels, weights, spec.size)
        shapes = self.backbone.shapes
        self.norms = nn.ModuleList(nn.LayerNorm(shape) if layer_norm else nn.Identity() for shape in shapes)
        self.flows = nn.ModuleList(
            Flow(channels, steps, alternate=alternate_kernels, hidden_ratio=hidden_ratio, clamp=clamp)
            for channels in self.backbone.channels
        )
        self.to_map = nn.ModuleList(LogUpsampling(shape[1:], spec.size) for shape in shapes)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.remembered = RememberedFeatures(self.backbone)

    def forward(self, image: Tensor) -> Prediction:
        """Map = -log of the mean over levels of exp(-z^2 / 2), z^2 averaged over channels; score = its maximum.

        The map of gathierry's and anomalib's implementations is minus that mean. The logarithm ranks pixels and images
        alike, is unbounded, and still separates values whose exponentials round to 0. The Jacobian counts only in
        training.
        """
        anomaly_map = self.map_of(self.backbone(image))
        return Prediction(self.within(anomaly_map).amax(dim=(1, 2)), anomaly_map)

    def map_of(self, features: list[Tensor]) -> Tensor:
        """Maps (B, size, size) of the backbone's features."""
        levels = [
            enlarge(-latent.square().mean(dim=1) / 2)
            for enlarge, (latent, _) in zip(self.to_map, self._latents(features), strict=True)
        ]
        return math.log(len(levels)) - torch.stack(levels).logsumexp(dim=0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Negative log-likelihood of the features, without its constant: summed over positions and levels."""
        latents = self._latents(self.remembered(batch))
        terms = [latent.square().sum(dim=(1, 2, 3)) / 2 - determinant for latent, determinant in latents]
        return {"loss": torch.stack(terms).sum(dim=0).mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the flows and the norms; the backbone is frozen."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(learned, self.learning_rate, weight_decay=self.weight_decay)

    def on_train_end(self) -> None:
        """Free the remembered features: only training repeats images."""
        self.remembered.forget()

    def _latents(self, levels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Latent values (B, C, h, w) of each level's features and the logarithms (B,) of the Jacobian's determinant."""
        parts = zip(self.flows, self.norms, levels, strict=True)
        return [flow(norm(features).float()) for flow, norm, features in parts]
