"""Callbacks of training: seeds per epoch, statistics, a stop at a loss that is not finite, logs."""

from typing import Any

import lightning
import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bench.collectives import agree_on_buffers
from bench.errors import RunError
from bench.evaluation.passes import Machine, learn_statistics
from bench.models.base import Detector


class EpochSeed(Callback):
    """Seed torch at each epoch, so that a resumed run draws the same numbers as an uninterrupted one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Not when the epoch starts: a loader draws from torch when it begins, before that moment in a resumed run and
        # after it in an uninterrupted one.
        if batch_idx == 0:
            draw = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank)).generate_state(1)
            torch.manual_seed(int(draw[0]))


class StatisticsPasses(Callback):
    """Run a method's passes before the epochs that they name, over the training images as they are.

    The passes run inside training, so that they see what earlier epochs learned. A resumed run finds their results in
    the checkpoint, and repeats a pass only if it resumes with the epoch that the pass names.
    """

    def __init__(self) -> None:
        self._reached = -1  # the last epoch that has begun

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Detector)
        self._reached = trainer.current_epoch
        passes = [each for each in pl_module.passes() if each.epoch == trainer.current_epoch]
        if not passes:
            return
        agree_on_buffers(pl_module)
        data = trainer.datamodule  # type: ignore[attr-defined] # set by Lightning's fit
        indices = data.training_indices
        count = len(data.learned_indices(indices))
        modes = {module: module.training for module in pl_module.modules()}
        pl_module.eval()
        machine = Machine(trainer.strategy.root_device)
        learn_statistics(pl_module, passes, lambda: data.learning_loader(indices), count, machine)
        for module, training in modes.items():
            module.training = training

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Detector)
        reached = max(self._reached, trainer.current_epoch - 1)
        for each in pl_module.passes():
            if each.epoch is not None and each.epoch > reached:
                raise RunError(
                    f"training ended before epoch {each.epoch}, when '{each.name}' is learned; let it last longer: "
                    "--trainer.max_epochs, --trainer.max_steps"
                )
        agree_on_buffers(pl_module)


class FiniteLoss(Callback):
    """End the run when a loss is not finite; checked once an epoch, so that a GPU never waits."""

    def __init__(self) -> None:
        self._first_bad: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        step = torch.where(torch.isfinite(loss.detach()), -1, trainer.global_step)
        self._first_bad = step if self._first_bad is None else torch.where(self._first_bad >= 0, self._first_bad, step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._first_bad is not None and int(self._first_bad) >= 0:
            raise RunError(f"the loss is no finite number since step {int(self._first_bad)}; lower the learning rate")


class LearningRate(Callback):
    """Log the learning rate at the start of each epoch: the largest, where groups of parameters differ."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        pl_module.log("train/learning_rate", max(rates), on_step=False, on_epoch=True, batch_size=1)


def quieten_lightning() -> None:
    """Silence Lightning except for errors: its hints on devices and loaders concern no result."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=rf"{lightning.__name__}.*")
