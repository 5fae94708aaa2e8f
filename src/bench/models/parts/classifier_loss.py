"""Cross entropy for classes of very different sizes: weights, focus, adjusted logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import UsageError


class ClassificationLoss(nn.Module):
    """Cross entropy with any of three remedies for a long tail; without them plain cross entropy.

    Args:
        counts: training images of each class.
        effective_number_beta: class weights (1 - beta) / (1 - beta^n) that sum to the number of classes (Cui et al.,
            CVPR 2019, equation 3); null weighs all classes alike.
        focal_gamma: the loss of an image times (1 - p)^gamma, p its true class's probability (Lin et al., ICCV 2017,
            equation 4).
        logit_adjustment: tau, by which tau * log(prior) is added to the logits while learning (Menon et al., ICLR 2021,
            equation 10).
        label_smoothing: share of each target that is spread over all classes.
    """

    weights: Tensor
    offsets: Tensor

    def __init__(
        self,
        counts: Sequence[int],
        *,
        effective_number_beta: float | None = None,
        focal_gamma: float = 0.0,
        logit_adjustment: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if effective_number_beta is not None and not 0 <= effective_number_beta < 1:
            raise UsageError(f"effective_number_beta {effective_number_beta} does not lie in [0, 1)")
        if focal_gamma < 0 or not 0 <= label_smoothing < 1:
            raise UsageError("--model.focal_gamma is at least 0, --model.label_smoothing lies in [0, 1)")
        self.focal_gamma, self.label_smoothing = focal_gamma, label_smoothing
        sizes = torch.tensor(counts, dtype=torch.float64)
        uniform = torch.ones(len(counts))
        weights = uniform if effective_number_beta is None else class_weights(counts, effective_number_beta)
        priors = (sizes.clamp_min(1) / sizes.clamp_min(1).sum()).log()
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("offsets", (logit_adjustment * priors).float(), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean over (B, K) logits of images with (B,) true classes."""
        adjusted = logits.float() + self.offsets
        each = nn.functional.cross_entropy(adjusted, target, reduction="none", label_smoothing=self.label_smoothing)
        if self.focal_gamma:
            log_chosen = adjusted.log_softmax(dim=1).gather(1, target[:, None])[:, 0]
            # 1 - p without its rounding error, and never 0, where powers below 1 have no gradient.
            each = (-torch.expm1(log_chosen)).clamp_min(1e-8) ** self.focal_gamma * each
        return (self.weights[target] * each).mean()


def class_weights(counts: Sequence[int], beta: float) -> Tensor:
    """Weights (K,) by the effective number of images; a class without images has weight 0."""
    sizes = torch.tensor(counts, dtype=torch.float64)
    weights = torch.where(sizes > 0, (1 - beta) / (1 - beta ** sizes.clamp_min(1)), 0.0)
    return (weights * len(counts) / weights.sum()).float()
