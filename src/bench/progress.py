"""The progress of a run, on stderr."""

from typing import Any

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


class ProgressBar(Callback):
    """One bar per phase on stderr: the steps done, the rate, the remaining time."""

    def __init__(self, unit: str = "steps") -> None:
        self.unit = unit
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, description: str, total: int | None) -> None:
        """Begin a phase of `total` steps."""
        self.stop()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
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
        """Advance by one step."""
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
        # A resumed run begins at an epoch. Not `global_step`: a method with several optimisers takes more steps.
        for _ in range(trainer.current_epoch * int(trainer.num_training_batches)):
            self.advance()

    def on_train_batch_end(self, *_: Any) -> None:
        self.advance()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None and self._task is not None:
            # Only the first process has a bar; Lightning would wait for the others to request the mean as well.
            loss = trainer.callback_metrics.get("train/loss") if trainer.world_size == 1 else None
            shown = f", loss {float(loss):.4g}" if loss is not None else ""
            self._progress.update(self._task, description=f"training, epoch {trainer.current_epoch + 1}{shown}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop()
