"""How a method learns: by gradient, from statistics, and its threshold."""

from pathlib import Path

import numpy as np
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from bench.config.cell import Cell
from bench.console import say
from bench.data.datamodule import DefectData
from bench.evaluation.passes import Machine, learn_statistics, score_images
from bench.memory import keep_freed_memory
from bench.models.base import Detector
from bench.models.parts.batchnorm import TrainedBatchNormSync
from bench.processes import cluster_plugins
from bench.progress import ProgressBar
from bench.runs.callbacks import EpochSeed, FiniteLoss, LearningRate, StatisticsPasses
from bench.runs.checkpoint import RESUME, ResumeCheckpoint
from bench.runs.environment import device_of, trainer_settings

FOLDS = 5  # of refits for scores of images that a method without held-out ones has not seen


def make_trainer(cell: Cell, folder: Path, logger: Logger | bool, *, progress: bool) -> Trainer:
    """The one Trainer of a run."""
    # Lightning's `deterministic` has torch fill all new memory with NaN as well: a fifteenth of a PaDiM run on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    settings = trainer_settings(cell.config.section("trainer"))
    patience = cell.config.settings["patience"]
    callbacks: list[Callback] = [EpochSeed(cell.config.settings["seed"]), StatisticsPasses(), FiniteLoss()]
    callbacks.append(ResumeCheckpoint(cell, folder))
    if patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=patience))
    if logger:
        callbacks.append(LearningRate())
    if progress:
        callbacks.append(ProgressBar())
    # torch has no synchronised BatchNorm for CPUs.
    batchnorm = [TrainedBatchNormSync()] if device_of(settings).type == "cuda" else []
    return Trainer(
        **settings,
        logger=logger,
        callbacks=callbacks,
        plugins=[*cluster_plugins(), *batchnorm],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def train(trainer: Trainer, model: Detector, data: DefectData, folder: Path, *, resume: bool) -> None:
    """Learn by gradient, from the last checkpoint where it is to be resumed; statistics before an epoch are in it."""
    keep_freed_memory()
    checkpoint = folder / RESUME
    again = str(checkpoint) if resume and checkpoint.is_file() else None
    trainer.fit(model, datamodule=data, ckpt_path=again, weights_only=True if again else None)


def learn_and_choose_threshold(model: Detector, data: DefectData, machine: Machine, quantile: float) -> None:
    """Learn the statistics that come after training, or instead of it, and take the operating threshold.

    The threshold comes from normal images that the method did not learn from; classifiers need none.
    """
    if model.memory:
        say(model.memory)
    if model.track == "supervised":
        learn(model, data, data.training_indices, machine)
        return
    if data.validation_indices:
        learn(model, data, data.training_indices, machine)
        scores = score_images(model, data.ordered_train_loader(data.validation_indices), machine)
    elif model.supports_leave_one_out:
        learn(model, data, data.training_indices, machine)
        scores = score_images(model, data.ordered_train_loader(data.training_indices), machine, left_out=True)
    else:
        scores = score_out_of_fold(model, data, machine)
        learn(model, data, data.training_indices, machine)
    # The lowest score seen that enough normal images lie at or below; never one in between.
    model.threshold.fill_(float(np.quantile(scores, quantile, method="higher")))


def learn(model: Detector, data: DefectData, indices: list[int], machine: Machine) -> None:
    """Learn the statistics of these training images, and of no others."""
    passes = [each for each in model.passes() if each.epoch is None]
    learn_statistics(model, passes, lambda: data.ordered_train_loader(indices), len(indices), machine)


def score_out_of_fold(model: Detector, data: DefectData, machine: Machine) -> NDArray[np.float64]:
    """Scores of all training images, each by statistics of the images of the other folds."""
    order = np.random.default_rng(data.seed).permutation(data.training_indices)
    scores = []
    for fold in np.array_split(order, min(FOLDS, len(order))):
        left_out = sorted(fold.tolist())
        learn(model, data, sorted(set(data.training_indices) - set(left_out)), machine)
        scores.append(score_images(model, data.ordered_train_loader(left_out), machine))
    return np.concatenate(scores)
