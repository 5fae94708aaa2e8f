"""Weight Balancing: tuned weight decay, then a classifier of rows of equal norm (Alshammari et al., CVPR 2022)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.config.number_ranges import BelowOne, NonNegative
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.classifier import Classifier, known_types, share_right, twice_if_single
from bench.models.parts.classifier_loss import ClassificationLoss
from bench.models.parts.schedules import cosine


class WeightBalancing(Classifier):
    """A classifier whose last epochs train its last layer alone, with weight decay and bounded norms.

    The first stage is a classifier with the weight decay that suits the data (section 4.2; a setting to be tuned).
    The second (section 4.3) freezes all but the last layer: class-balanced loss, weight decay, and after each step
    every row of its weights is scaled back to at most a threshold (MaxNorm, equation 7), which the authors' code
    takes from the rows after the first stage. That code scales back once after each epoch. Both stages use SGD:
    AdamW's decoupled decay differs. The class-balanced loss is cross entropy, as Cui et al. define it; the authors'
    code takes the binary cross entropy of softmax outputs, which is smaller.

    Args:
        spec: what the data are like.
        balancing_epochs: the last ones, of the second stage.
        balancing_rate: learning rate of the second stage, along a cosine.
        balancing_decay: weight decay of the last layer in the second stage.
        balancing_beta: of the class-balanced loss of the second stage.
        max_norm_share: threshold of MaxNorm, from the smallest (0) to the largest (1) norm of a row.
        max_norm_after: how often rows are scaled back: after each `step` (the paper) or `epoch` (its authors' code).
        classifier: settings of the first stage, those of `Classifier`.
    """

    max_norm: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        balancing_epochs: int = 10,
        balancing_rate: NonNegative = 0.01,
        balancing_decay: NonNegative = 0.1,
        balancing_beta: BelowOne = 0.9999,
        max_norm_share: float = 0.1,
        max_norm_after: Literal["step", "epoch"] = "step",
        **classifier: Any,
    ) -> None:
        super().__init__(spec, **classifier)
        if self.optimizer_name != "sgd":
            raise UsageError("weight balancing decays by SGD: set --model.optimizer sgd")
        if self.freeze_backbone:
            raise UsageError("weight balancing trains its backbone first: set --model.freeze_backbone false")
        if not 0 <= max_norm_share <= 1:
            raise UsageError(f"--model.max_norm_share {max_norm_share} does not lie in [0, 1]")
        self.balancing_epochs, self.balancing_rate = balancing_epochs, balancing_rate
        self.balancing_decay, self.max_norm_share = balancing_decay, max_norm_share
        self.max_norm_after = max_norm_after
        self.balanced = ClassificationLoss(spec.class_counts, effective_number_beta=balancing_beta)
        self.register_buffer("max_norm", torch.tensor(float("inf")))

    @property
    def last_layer(self) -> nn.Linear:
        """The layer that the second stage trains."""
        return [module for module in self.head.modules() if isinstance(module, nn.Linear)][-1]

    @property
    def first_balancing_epoch(self) -> int:
        """The first epoch of the second stage."""
        return (self.trainer.max_epochs or 0) - self.balancing_epochs

    @property
    def balancing(self) -> bool:
        """Whether the second stage has begun."""
        return self.trainer.current_epoch >= self.first_balancing_epoch

    def setup(self, stage: str) -> None:
        """Refuse a plan without a first stage."""
        if stage == "fit" and self.first_balancing_epoch < 1:
            raise UsageError(
                f"--trainer.max_epochs {self.trainer.max_epochs} leaves none before --model.balancing_epochs "
                f"{self.balancing_epochs}; raise the one or lower the other"
            )

    def on_train_epoch_start(self) -> None:
        """Begin the second stage: its threshold, its optimizer's settings, no momentum of the first."""
        if not self.balancing:
            return
        optimizer: Any = self.optimizers()
        if self.trainer.current_epoch == self.first_balancing_epoch:
            norms = self.last_layer.weight.detach().norm(dim=1)
            self.max_norm.copy_(norms.min() + self.max_norm_share * (norms.max() - norms.min()))
            optimizer.state.clear()
        last = {id(parameter) for parameter in self.last_layer.parameters()}
        for group in optimizer.param_groups:
            if any(id(parameter) in last for parameter in group["params"]):  # as their code: biases too
                group["weight_decay"] = self.balancing_decay

    def on_train_batch_start(self, *_: Any) -> None:
        """Keep the backbone in evaluation mode in the second stage: its batch statistics stay as well."""
        if self.balancing:
            self.backbone.eval()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The first stage's loss, then the class-balanced one, whose gradient ends at the last layer."""
        if not self.balancing:
            return super().loss(batch)
        image, target = twice_if_single(batch) if self.training else (batch.image, known_types(batch))
        logits = self.logits(image)
        loss = self.balanced(logits, target)
        if torch.is_grad_enabled():  # DDP waits for a gradient of every parameter
            loss = loss + 0 * sum(parameter.sum() for parameter in self.backbone.parameters())
        return {"loss": loss, "accuracy": share_right(logits, target)}

    def observe(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and map; without gradient in the second stage."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.training and self.balancing)):
            return self.backbone.with_map(image)

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Remove all gradients but the last layer's: SGD then changes nothing else, by decay or momentum either."""
        if self.balancing:
            last = {id(parameter) for parameter in self.last_layer.parameters()}
            for parameter in self.parameters():
                if id(parameter) not in last:
                    parameter.grad = None

    def on_train_batch_end(self, *_: Any) -> None:
        """Bound the norms after a step."""
        if self.balancing and self.max_norm_after == "step":
            self.bound_norms()

    def on_train_epoch_end(self) -> None:
        """Bound the norms after an epoch."""
        if self.balancing and self.max_norm_after == "epoch":
            self.bound_norms()

    @torch.no_grad()
    def bound_norms(self) -> None:
        """MaxNorm by projection: rows above the threshold are scaled back to it; biases are free."""
        weight = self.last_layer.weight
        norms = weight.norm(dim=1, keepdim=True)
        # To slightly below the threshold, or rounding could leave a row just above it.
        weight.mul_((self.max_norm * (1 - 1e-6) / norms.clamp_min(1e-12)).clamp_max(1.0))

    def share_of_rate(self, update: int, per_epoch: int, total: int) -> float:
        """The first stage's schedule over its own updates, then a cosine of the second stage's rate."""
        first = self.first_balancing_epoch * per_epoch
        if update < first:
            return super().share_of_rate(update, per_epoch, first)
        return self.balancing_rate / self.learning_rate * cosine(update - first, total - first)
