"""CutPaste: a network learns to detect moved patches (Li et al., CVPR 2021, arXiv 2104.04015)."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from bench.config.number_ranges import Count, NonNegative, Whole
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.accumulators import Pass, State
from bench.models.base import Detector, Prediction
from bench.models.parts.cutpaste_drawing import Rectangles, draw_patches, draw_scars, paste, random_windows
from bench.models.parts.cutpaste_network import PretextNetwork, pool
from bench.models.parts.density import FEWEST_SAMPLES, ShrunkGaussian
from bench.models.parts.maps import ReceptiveFieldUpsampling, SmoothUpsampling
from bench.models.parts.schedules import cosine
from bench.models.parts.statistics import PositionGaussians

_CLASSES = {"binary": ("patch",), "scar": ("scar",), "three_way": ("patch", "scar")}
_MOMENTUM = 0.9
_WINDOWS_AT_ONCE = 256


class CutPaste(Detector):
    """Learn to detect pasted patches; images whose features are unlikely among those of normal ones are anomalous.

    The paper leaves open: the depth of the head, for which its authors' code of the year before has eight layers of
    512; how a fine-tuned network's learning rate falls (here one cosine cycle for the head alone, one for all
    layers); which logit Grad-CAM explains (here that of all pasted classes together).

    Args:
        spec: what the data are like.
        task: classes beside normal: large patches (`binary`), thin turned ones (`scar`), or both (`three_way`).
        backbone: any convolutional timm architecture.
        weights: weights of the backbone: a file, a tag of timm's, or 'none' to train from scratch.
        level: level of the backbone that the Gaussian uses (EfficientNet-B4: 4 is the paper's level 7); null: the top.
        head_layers: layers of 512 in the head, before those of 128 and of the classes.
        freeze_batchnorm: whether the backbone's BatchNorm stays as the weights have it (appendix A.4).
        freeze_backbone_epochs: epochs of the head alone, before all layers learn (appendix A.4).
        patch: side in pixels of the windows that are learned and scored (section 2.4); null takes whole images.
        stride: pixels between the windows that are scored.
        even_borders: whether the map of windows is evened out at the border, which few windows cover; FCDD's is not.
        density: one Gaussian of all windows (`shared`), one `per_location`, or `auto`, by whether objects are aligned.
        regularisation: added to the diagonal of each covariance `per_location`; `shared` is shrunk by Ledoit and Wolf.
        jitter: largest change of a pasted patch's colours.
        learning_rate: of SGD, at the start of its cosine cycle.
        fine_tuning_rate: the same for the epochs after those of a frozen backbone.
        weight_decay: L2 penalty of SGD.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        task: Literal["binary", "scar", "three_way"] = "three_way",
        backbone: str = "resnet18",
        weights: str = "none",
        level: int | None = None,
        head_layers: Whole = 8,
        freeze_batchnorm: bool = False,
        freeze_backbone_epochs: Whole = 0,
        patch: Count | None = None,
        stride: int = 4,
        even_borders: bool = True,
        density: Literal["shared", "per_location", "auto"] = "auto",
        regularisation: NonNegative = 0.01,
        jitter: NonNegative = 0.1,
        learning_rate: NonNegative = 0.03,
        fine_tuning_rate: NonNegative = 1e-4,
        weight_decay: NonNegative = 3e-5,
    ) -> None:
        super().__init__(spec)
        self.side = spec.size if patch is None else patch
        self.classes = _CLASSES[task]
        self.network = PretextNetwork(
            backbone, weights, level, len(self.classes) + 1, head_layers, freeze_batchnorm, self.side
        )
        self.to_map: SmoothUpsampling | ReceptiveFieldUpsampling
        if patch is None:
            self.to_map, self.per_side = SmoothUpsampling(self.network.grid, spec.size, 0.0), 1
        else:
            self.to_map = ReceptiveFieldUpsampling(spec.size, patch, stride, even_borders=even_borders)
            self.per_side = self.to_map.per_side
        if density == "per_location" and spec.tiles is not None:
            raise UsageError("--model.density per_location is of whole images; with --data.tile use shared")
        self.per_location = density == "per_location" or (density == "auto" and patch is not None and spec.aligned)
        locations, width = self.per_side**2, self.network.width
        self.gaussians = (
            PositionGaussians(locations, width, regularisation) if self.per_location else ShrunkGaussian(width)
        )
        self.patch, self.stride, self.jitter = patch, stride, jitter
        self.freeze_backbone_epochs = freeze_backbone_epochs
        self.learning_rate, self.fine_tuning_rate = learning_rate, fine_tuning_rate
        self.weight_decay = weight_decay
        self.frozen_steps = 0
        # Else DDP would send the Gaussians, up to gigabytes, to all processes before each step.
        self._ddp_params_and_buffers_to_ignore = [n for n, _ in self.named_buffers() if n.startswith("gaussians.")]

    def forward(self, image: Tensor) -> Prediction:
        """Score = -log density up to a constant (equation 2), maximum over windows; map = Grad-CAM or windows."""
        if self.patch is None:
            top, embedding = self.network(image)
            return Prediction(self._surprise(embedding[:, None])[:, 0], self.to_map(self.network.explain(top)))
        surprise = self._surprise(self._embed_windows(image))
        starts = [index * self.stride for index in range(self.per_side)]
        score = self.windows_within(surprise, list(product(starts, starts)), self.patch).amax(dim=1)
        return Prediction(score, self.to_map(surprise.reshape(-1, self.per_side, self.per_side)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy over equal parts of all classes, made of the same images (equations 1 and 3)."""
        image = batch.image if self.patch is None else random_windows(batch.image, self.patch)
        inputs = [image, *(paste(image, self._draw(kind, len(image)), self.jitter) for kind in self.classes)]
        target = torch.arange(len(inputs), device=image.device).repeat_interleave(len(image))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            top, _ = self.network(torch.cat(inputs))
        logits = self.network.head(pool(top))
        loss = torch.nn.functional.cross_entropy(logits, target)
        if self.frozen:  # DDP waits for a gradient of every parameter
            loss = loss + 0 * sum(parameter.sum() for parameter in self.network.backbone.parameters())
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == target).float().mean()}

    @property
    def frozen(self) -> bool:
        """Whether only the head learns at this step."""
        return self.global_step < self.frozen_steps

    def passes(self) -> Sequence[Pass]:
        """One pass, for the Gaussians of the trained features."""
        return [Pass("Gaussians", self.gaussians.accumulators(), self.accumulate, self.gaussians.finish)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Add training images, without augmentation, to the Gaussians."""
        embedding = self.network(image)[1][:, None] if self.patch is None else self._embed_windows(image)
        self.gaussians.accumulate(state, embedding.transpose(0, 1) if self.per_location else embedding.flatten(0, 1))

    @property
    def fewest_images(self) -> int:
        """An image is one sample of each position's Gaussian, or as many samples of the shared one as positions."""
        return 2 if self.per_location else -(-FEWEST_SAMPLES // self.per_side**2)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the Gaussians, up to gigabytes, after each epoch: they are learned only after training."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if not name.startswith("gaussians.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill in what was left out, as the constructor built it."""
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}

    def on_train_batch_start(self, *_: Any) -> None:
        """Keep a frozen backbone in evaluation mode: its batch statistics stay as well."""
        self.network.backbone.train(not self.frozen)

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Remove a frozen backbone's gradients: SGD then neither decays its weights nor begins their momentum."""
        if self.frozen:
            for parameter in self.network.backbone.parameters():
                parameter.grad = None

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """SGD with one cosine cycle, counted in updates (appendix A.1)."""
        optimizer = torch.optim.SGD(
            self.network.parameters(), self.learning_rate, _MOMENTUM, weight_decay=self.weight_decay
        )
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        frozen = self.frozen_steps = min(total, self.freeze_backbone_epochs * per_epoch)
        later = self.fine_tuning_rate / self.learning_rate if frozen else 1.0

        def share(step: int) -> float:
            return cosine(step, frozen) if step < frozen else later * cosine(step - frozen, total - frozen)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _draw(self, kind: str, count: int) -> Rectangles:
        if kind == "patch":
            return draw_patches(count, self.side)
        # The paper's sizes are in pixels of 256 x 256 images, and its windows have 32 or more.
        return draw_scars(count, self.side, min(self.spec.size / 256, self.side / 32))

    def _surprise(self, embedding: Tensor) -> Tensor:
        """-log density up to a constant (B, positions) of features (B, positions, width)."""
        if self.per_location:
            return self.gaussians.squared_distance(embedding.transpose(0, 1)).mT / 2
        return self.gaussians.squared_distance(embedding) / 2

    def _embed_windows(self, image: Tensor) -> Tensor:
        """Features (B, windows, width) of all windows, a few at a time."""
        embedded = []
        for one in image:
            windows = one.unfold(1, self.side, self.stride).unfold(2, self.side, self.stride)
            windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)
            embedded.append(torch.cat([self.network(part)[1] for part in torch.split(windows, _WINDOWS_AT_ONCE)]))
        return torch.stack(embedded)
