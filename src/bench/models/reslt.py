"""ResLT: residual branches for classes of fewer images (Cui et al., TPAMI 2022, arXiv 2101.10633)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.classifier import Classifier, known_types, share_right, twice_if_single
from bench.models.parts.classifier_network import ClassifierBackbone


class ResLT(Classifier):
    """Branches on the last map that share one classifier: the first learns all classes, each next one fewer.

    Logits are the sum of the branches' (section 3.2, equation 2). The fusion loss is the cross entropy of the sum, the
    branch loss that of each branch over the images of its classes alone; loss = (1 - beta) fusion + beta branch
    (equation 5). The authors' weights for images of rarer classes are left out: other settings give them.

    Args:
        spec: what the data are like.
        beta: share of the branch loss; the paper tunes it (CIFAR100-LT: .995 to .72).
        tail_below: bounds of training images, falling, as [100, 20]: the second branch learns classes with fewer images
            than the first bound, the third those with fewer than the second. null: good images are the head, all
            defects the tail.
        classifier: the other settings, those of `Classifier`; the branches are its head here.
    """

    masks: Tensor

    def __init__(
        self, spec: DataSpec, *, beta: float = 0.9, tail_below: list[int] | None = None, **classifier: Any
    ) -> None:
        super().__init__(spec, **classifier)
        if not 0 <= beta <= 1:
            raise UsageError(f"--model.beta {beta} does not lie in [0, 1]")
        if classifier.get("head", "linear") != "linear" or classifier.get("dropout"):
            raise UsageError("the branches are ResLT's head: set --model.head linear and --model.dropout 0")
        channels = self.backbone.map_channels
        if channels is None:
            raise UsageError("ResLT branches off the last map of a backbone, and this one has none: name another")
        self.beta = beta
        self.register_buffer("masks", branch_masks(spec.class_counts, tail_below), persistent=False)
        self.head = ResidualBranches(channels, len(self.masks), len(spec.classes))
        freeze_beyond_map(self.backbone, spec.size)

    def classify(self, features: Tensor, last: Tensor | None) -> Tensor:
        """The sum of all branches."""
        logits: Tensor = self.head(last).sum(dim=0)
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Fusion and branch loss (equations 3 to 5)."""
        image, target = twice_if_single(batch) if self.training else (batch.image, known_types(batch))
        branches = self.head(self.observe(image)[1])
        fused = branches.sum(dim=0)
        fusion = self.objective(fused, target)
        branch = branch_loss(branches, target, self.masks)
        loss = (1 - self.beta) * fusion + self.beta * branch
        return {"loss": loss, "fusion": fusion, "branch": branch, "accuracy": share_right(fused, target)}


class ResidualBranches(nn.Module):
    """A 1 x 1 convolution for each branch on the last map, pooled; then one classifier for all."""

    def __init__(self, channels: int, branches: int, classes: int) -> None:
        super().__init__()
        self.branches = branches
        wide = channels * branches
        self.split = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, last: Tensor) -> Tensor:
        """Logits (branches, B, classes) of a map (B, channels, h, w)."""
        pooled = self.split(last).mean(dim=(2, 3)).unflatten(1, (self.branches, -1))
        logits: Tensor = self.classifier(pooled.transpose(0, 1))
        return logits


def freeze_beyond_map(backbone: ClassifierBackbone, size: int) -> None:
    """Freeze a backbone's layers after its last map, such as VGG's two hidden layers: their output is not used here.

    DDP waits for the gradient of each parameter that is not frozen.
    """
    learned = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    if not learned:
        return
    was_training = backbone.training
    backbone.eval()
    with torch.enable_grad():
        last = backbone.with_map(torch.zeros(1, 3, size, size))[1]
        assert last is not None
        gradients = torch.autograd.grad(last.sum(), learned, allow_unused=True)
    backbone.train(was_training)
    for parameter, gradient in zip(learned, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def branch_masks(counts: Sequence[int], tail_below: Sequence[int] | None) -> Tensor:
    """Masks (branches, K) of the classes that each branch learns; a UsageError if a branch would learn none."""
    sizes = torch.tensor(counts)
    if tail_below is None:
        defects = torch.ones(len(counts), dtype=torch.bool)
        defects[0] = False
        return torch.stack([torch.ones_like(defects), defects])
    if list(tail_below) != sorted(set(tail_below), reverse=True) or not tail_below:
        raise UsageError(f"--model.tail_below {list(tail_below)} does not fall, as [100, 20] does")
    masks = torch.stack([torch.ones(len(counts), dtype=torch.bool), *(sizes < bound for bound in tail_below)])
    if not masks.any(dim=1).all():
        raise UsageError(f"--model.tail_below {list(tail_below)}: no class has so few of {sorted(counts)} images")
    if masks[1].all():
        raise UsageError(f"--model.tail_below {list(tail_below)}: all of {sorted(counts)} images are of the tail")
    return masks


def branch_loss(branches: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Mean cross entropy of each branch's images: logits (branches, B, K), classes (B,), masks as above.

    Over all pairs of a branch and an image of its classes, as in the authors' code; the paper's equation 4 is a sum.
    """
    seen = masks[:, target].float()  # (branches, B)
    each = torch.stack([nn.functional.cross_entropy(logits.float(), target, reduction="none") for logits in branches])
    return (each * seen).sum() / seen.sum()
