"""What happens beside training: seeds per epoch, statistics, a stop at a broken loss, what is logged and shown."""

from typing import Any

import lightning
import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from bench.errors import RunError
from bench.models.base import Detector
from bench.models.statistics import from_first_process


class EpochSeed(Callback):
    """Seed torch anew at each epoch, so that a resumed run draws what an undisturbed one would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Not when the epoch starts: a loader draws from torch when it begins, before that moment in a resumed run and
        # after it in an undisturbed one.
        if batch_idx == 0:
            draw = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank)).generate_state(1)
            torch.manual_seed(int(draw[0]))


class StatisticsPass(Callback):
    """At the start of the method's `statistics_epoch`, a pass over the training images as they are, in evaluation mode.

    Inside training, so that it sees what earlier epochs learned, and so that a resumed run, which finds its results in
    the checkpoint, repeats it only when it goes on with that very epoch.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Detector)
        if pl_module.statistics == "before" and trainer.current_epoch == pl_module.statistics_epoch:
            _agree_on_buffers(pl_module)
            _collect(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _agree_on_buffers(pl_module)


@torch.no_grad()
def _collect(trainer: Trainer, model: Detector) -> None:
    data = trainer.datamodule  # type: ignore[attr-defined] # set by Lightning's fit
    modes = {module: module.training for module in model.modules()}
    model.eval()
    another = True
    while another:
        for batch in data.ordered_train_loader(data.training_indices):
            # What Lightning does to the batches of its own loops; turns bytes into floats as well.
            batch = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
            with trainer.precision_plugin.forward_context():
                model.collect(batch.image)
        another = model.settle()
    for module, training in modes.items():
        module.training = training


@torch.no_grad()
def _agree_on_buffers(model: LightningModule) -> None:
    # Where BatchNorm is not synchronised, on CPUs, each process has statistics of its own until DDP's next forward.
    for buffer in model.buffers():
        buffer.copy_(from_first_process(buffer))


class FiniteLoss(Callback):
    """End the run when a loss is no number; looked at once an epoch, so that a GPU never waits."""

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
    """Log the rate at the start of each epoch: the largest, where groups of parameters differ."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        pl_module.log("train/learning_rate", max(rates), on_step=False, on_epoch=True, batch_size=1)


class ProgressBar(Callback):
    """One bar per phase on stderr: what is done, the rate, the time that remains."""

    def __init__(self, unit: str = "steps") -> None:
        self.unit = unit
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, description: str, total: int | None) -> None:
        """Begin a phase of `total` steps."""
        self.stop()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(description, total=total, rate="")

    def advance(self) -> None:
        """One step further."""
        if self._progress is None or self._task is None:
            return
        task = self._progress.tasks[0]
        self._progress.update(self._task, advance=1, rate=f"{task.speed:.1f} {self.unit}/s" if task.speed else "")

    def stop(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total = trainer.estimated_stepping_batches
        self.start("training", int(total) if total != float("inf") else None)
        # A resumed run begins with an epoch. Not `global_step`: a method with several optimisers takes more steps.
        for _ in range(trainer.current_epoch * int(trainer.num_training_batches)):
            self.advance()

    def on_train_batch_end(self, *_: Any) -> None:
        self.advance()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None and self._task is not None:
            loss = trainer.callback_metrics.get("train/loss")
            shown = f", loss {float(loss):.4g}" if loss is not None else ""
            self._progress.update(self._task, description=f"training, epoch {trainer.current_epoch + 1}{shown}")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start(getattr(pl_module, "purpose_text", "statistics"), int(sum(trainer.num_predict_batches)))

    def on_predict_batch_end(self, *_: Any) -> None:
        self.advance()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *_: Any) -> None:
        self.advance()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop()


def quieten_lightning() -> None:
    """Leave only Lightning's errors: its hints on devices and loaders say nothing about a result."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=rf"{lightning.__name__}.*")
