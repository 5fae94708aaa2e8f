"""CutPaste's network: a backbone, average pooling, an MLP head (Li et al., CVPR 2021, section 4)."""

from itertools import pairwise
from typing import Any

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn

from bench.errors import UsageError, unknown
from bench.models.parts.precision import network_precision
from bench.models.parts.weights import input_statistics, load_weights

_HIDDEN, _PROJECTION = 512, 128


class PretextNetwork(nn.Module):
    """Tells normal images from pasted ones; its pooled features describe an image.

    Args:
        backbone: any convolutional timm architecture.
        weights: a file, a tag of timm's, or 'none' to train from scratch.
        level: index in timm's `feature_info` of the features that describe an image; null takes the head's own.
        classes: of the pretext task; class 0 is normal.
        head_layers: hidden layers of the head.
        freeze_batchnorm: whether BatchNorm of the backbone keeps the weights' statistics, scales and offsets.
        side: of the square input in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, weights: str, level: int | None, classes: int, head_layers: int, freeze_batchnorm: bool,
        side: int,
    ) -> None:  # fmt: skip
        super().__init__()
        if backbone not in timm.list_models():
            raise unknown("backbone", backbone, timm.list_models(), hint="timm.list_models() names them all")
        network: Any = timm.create_model(backbone)
        load_weights(network, backbone, weights)
        network.reset_classifier(0)
        mean, std = input_statistics(backbone, weights)
        # In the checkpoint, because weights of another tag have another normalisation.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        freeze: Any = freeze_batch_norm_2d
        self.backbone: Any = freeze(network) if freeze_batchnorm else network
        if level is not None and not 0 <= level < len(network.feature_info):
            raise UsageError(f"--model.level {level} is none of {backbone}'s 0 to {len(network.feature_info) - 1}")
        self.level = level
        self.eval()
        with torch.inference_mode():
            probe = torch.zeros(1, 3, side, side)
            if network.forward_features(probe).ndim != 4:
                raise UsageError(f"{backbone} is no convolutional network; name one such as resnet18")
            top, embedding = self(probe)
        self.grid = (top.shape[2], top.shape[3])
        self.width = embedding.shape[1]
        self.head = _head(top.shape[1], head_layers, classes)
        self.train()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Last features (B, C, h, w) and the description (B, width) of (B, 1 or 3, side, side) images in [0, 1].

        Both are in single precision, whatever the network computes in.
        """
        image = (image - self.mean) / self.std
        with network_precision(image.device):
            if self.level is None:
                top = described = self.backbone.forward_features(image)
            else:
                top, levels = self.backbone.forward_intermediates(image, indices=[self.level])
                described = levels[0]
        return top.float(), pool(described.float())

    def explain(self, top: Tensor) -> Tensor:
        """Grad-CAM (B, h, w) of the pasted classes' joint logit (Selvaraju et al., ICCV 2017, equations 1 and 2).

        After average pooling each position has the same gradient: only the head need be differentiated.
        """
        with torch.inference_mode(False), torch.enable_grad():
            pooled = pool(top).detach().clone().requires_grad_()
            joint = self.head(pooled)[:, 1:].logsumexp(dim=1)
            (gradient,) = torch.autograd.grad(joint.sum(), pooled)
        return torch.einsum("bc,bchw->bhw", gradient, top).relu() / (top.shape[2] * top.shape[3])


def pool(features: Tensor) -> Tensor:
    """Average (B, C) over all positions."""
    return features.mean(dim=(2, 3))


def _head(inputs: int, layers: int, classes: int) -> nn.Sequential:
    sizes = [inputs] + [_HIDDEN] * layers + [_PROJECTION]
    modules: list[nn.Module] = []
    for before, after in pairwise(sizes):
        modules += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(_PROJECTION, classes))
