"""Ctrl-C and SIGTERM while Lightning runs: both mean that the run was interrupted."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException


@contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Raise KeyboardInterrupt: Lightning turns Ctrl-C into exit status 1, and SIGTERM into an exception of its own."""
    trainer.callbacks.append(_OwnSignal())  # type: ignore[attr-defined] # a list
    try:
        yield
    except SIGTERMException as error:
        raise KeyboardInterrupt("terminated") from error
    except SystemExit as error:
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt("interrupted") from error


class _OwnSignal(Callback):
    """Handle SIGTERM as before the training.

    Lightning's own handler notifies the other processes from within the signal's handler, in the middle of any other
    communication between them: both sides wait for ever.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)
