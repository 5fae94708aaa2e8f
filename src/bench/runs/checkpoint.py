"""Checkpoints hold tensors and plain values only; a checkpoint of another model is refused."""

import math
import pickle
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bench.config.cell import Cell
from bench.config.moved_classes import first_path
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.base import Detector
from bench.records.record import CHECKPOINT
from bench.writing import whole_file

RESUME = "last.ckpt"  # everything that training resumes from
_SECONDS = "fit_seconds"
_SHARE = 0.05  # of training's time that saving may take
_LOST_AT_MOST = 180.0  # seconds of training between two saves, however long these take


class WholeFiles(TorchCheckpointIO):
    """Write checkpoints whole: Lightning writes elsewhere and copies, so a kill or a full disk leaves half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        _write_whole(checkpoint, Path(path))


class ResumeCheckpoint(ModelCheckpoint):
    """Save everything that training resumes from, in one file, after an epoch.

    It saves after each epoch if that costs less than a twentieth of the time; else as often as this share allows, and
    after some minutes at the latest. Nothing is saved within an epoch: an interrupted run resumes from the end of one,
    and reaches the metrics of an uninterrupted run.
    """

    def __init__(self, cell: Cell, folder: Path) -> None:
        super().__init__(folder, Path(RESUME).stem, save_on_train_epoch_end=True, enable_version_counter=False)
        self.stamp = stamp(cell)
        self.begin = time.perf_counter()
        self._saved_at, self._took = -math.inf, 0.0  # when the last save ended, and how long it took

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.strategy.checkpoint_io = WholeFiles()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it is due, by the clock of the first process: all processes take part in saving."""
        start = time.perf_counter()
        wait = min(self._took / _SHARE, _LOST_AT_MOST)
        if not trainer.strategy.broadcast(start - self._saved_at >= wait):
            return
        super().on_train_epoch_end(trainer, pl_module)
        self._saved_at = time.perf_counter()
        self._took = self._saved_at - start

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["bench"] = {**self.stamp, _SECONDS: time.perf_counter() - self.begin}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.begin -= checkpoint["bench"].get(_SECONDS, 0.0)


def save_checkpoint(model: Detector, cell: Cell, folder: Path, seconds: float) -> Path:
    """Write the finished model, which took `seconds` to fit; `load_from_checkpoint` can read it as well."""
    content = {
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": model.state_dict(),
        "bench": {**stamp(cell), _SECONDS: seconds},
        # The constructor's knowledge of the data: the model can be built again where they are absent.
        "spec": _plain(model.spec),
    }
    _write_whole(content, folder / CHECKPOINT)
    return folder / CHECKPOINT


def _plain(spec: DataSpec) -> dict[str, Any]:
    """The specification without classes of our own, which no checkpoint is read with."""
    return spec._asdict() | {"tiles": None if spec.tiles is None else spec.tiles._asdict()}


def load_checkpoint(model: Detector, path: Path, fingerprint: str) -> None:
    """Fill `model` from a run's checkpoint; a UsageError where it is damaged, pickled or another run's."""
    content = read_checkpoint(path)
    if content["bench"].get("fingerprint") != fingerprint:
        raise UsageError(f"{path} is the checkpoint of another run than {fingerprint}; put back its own")
    _check_numbers(content["state_dict"], model.state_dict(), path)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UsageError(f"{path} is the checkpoint of another model: {reason}") from error


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint without running any code that it may hold."""
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about oddities of a damaged file
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UsageError(f"{path} holds pickled code, which is never run; it is no checkpoint of bench") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... for damaged files
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{path} is damaged or no checkpoint ({reason})") from error
    if not isinstance(content, Mapping) or not _is_well_formed(content):
        raise UsageError(f"{path} is no checkpoint of bench")
    return content


def _is_well_formed(content: Mapping[Any, Any]) -> bool:
    """Whether a checkpoint names its run, and holds tensors by name."""
    about, tensors = content.get("bench"), content.get("state_dict")
    if not isinstance(about, Mapping) or not isinstance(tensors, Mapping):
        return False
    seconds = about.get(_SECONDS, 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return False
    return all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items())


def _check_numbers(tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse NaN, except in a tensor where the method itself begins with NaN, such as a threshold that it lacks."""
    for name, tensor in tensors.items():
        if name in own and torch.isnan(tensor).any() and not torch.isnan(own[name]).any():
            raise UsageError(f"{path} is damaged: its {name} holds NaN; run the cell again")


def fit_seconds(path: Path) -> float:
    """The seconds that the fit had taken when the checkpoint was written; 0 where there is no checkpoint."""
    return float(read_checkpoint(path)["bench"].get(_SECONDS, 0.0)) if path.is_file() else 0.0


def epochs_done(path: Path) -> int:
    """The epochs of training that a checkpoint holds; 0 where there is no checkpoint."""
    return int(read_checkpoint(path)["epoch"]) + 1 if path.is_file() else 0


def check_stamp(path: Path, cell: Cell) -> None:
    """Refuse a checkpoint of another cell."""
    found, own = read_checkpoint(path)["bench"], stamp(cell)
    different = [key for key in own if found.get(key) != own[key]]
    if different:
        key = different[0]
        raise UsageError(f"{path} is of another run: its {key} is '{found.get(key)}', not '{own[key]}'")


def stamp(cell: Cell) -> dict[str, str]:
    """The class and the fingerprint by which a checkpoint names its run."""
    return {"class_path": first_path(cell.config.model.class_path), "fingerprint": cell.fingerprint}


def _write_whole(content: Mapping[str, Any], path: Path) -> None:
    with whole_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch hides a full disk, and a signal that comes while it writes, behind an error of its own.
            if isinstance(error.__context__, OSError | KeyboardInterrupt):
                raise error.__context__ from None
            raise
