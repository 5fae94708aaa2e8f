"""The progress of training by gradient: steps, epochs, losses."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from bench.phases import Phase, changed, phase


class TrainingProgress(Callback):
    """Count the steps of training and tell each epoch that ends, with its losses."""

    def __init__(self) -> None:
        self._context: Any = None
        self._phase: Phase | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches, epochs, steps = trainer.num_training_batches, trainer.max_epochs, trainer.max_steps
        totals = [int(epochs * batches)] if epochs is not None and epochs > 0 and batches != float("inf") else []
        if steps > 0 and pl_module.automatic_optimization:  # else a batch has as many steps as there are optimisers
            totals.append(steps * trainer.accumulate_grad_batches)
        self._context = phase("training", min(totals, default=None), "steps")
        self._phase = self._context.__enter__()
        self._phase.epochs = epochs if totals and min(totals) == totals[0] and epochs and epochs > 0 else None
        # A resumed run begins at an epoch. Not `global_step`: a method with several optimisers takes more steps.
        self._phase.skip(trainer.current_epoch * int(batches) if batches != float("inf") else 0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._phase is None:
            return
        self._phase.epoch = trainer.current_epoch + 1
        if self._phase.about:
            self._phase.about += f" after epoch {trainer.current_epoch}"

    def on_train_batch_end(self, *_: Any) -> None:
        if self._phase is not None:
            self._phase.advance()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._phase is None:
            return
        self._phase.about = "done"
        # Lightning would wait for the other processes to ask for the mean as well, and only this one tells.
        if trainer.world_size == 1:
            found = {name: trainer.callback_metrics.get(f"{part}/loss") for name, part in _LOSSES.items()}
            losses = [f"{name} {float(value):.4g}" for name, value in found.items() if value is not None]
            self._phase.about = ", ".join(losses) or "done"
        changed()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._phase = None


_LOSSES = {"loss": "train", "validation loss": "validation"}
