"""The Trainer of a run, and training by gradient."""

from pathlib import Path

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger

from bench.config.cell import Cell
from bench.data.datamodule import DefectData
from bench.memory import keep_freed_memory
from bench.models.base import Detector
from bench.models.parts.batchnorm import TrainedBatchNormSync
from bench.phases import is_watched
from bench.processes import cluster_plugins
from bench.runs.callbacks import EpochSeed, FiniteLoss, LearningRate, StatisticsPasses
from bench.runs.checkpoint import RESUME, ResumeCheckpoint
from bench.runs.environment import device_of, trainer_settings
from bench.runs.training_progress import TrainingProgress


def make_trainer(cell: Cell, folder: Path, logger: Logger | bool) -> Trainer:
    """The one Trainer of a run."""
    # Lightning's `deterministic` also makes torch fill all new memory with NaN: a fifteenth of a PaDiM run on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    settings = trainer_settings(cell.config.section("trainer"))
    patience = cell.config.settings["patience"]
    callbacks: list[Callback] = [EpochSeed(cell.config.settings["seed"]), StatisticsPasses(), FiniteLoss()]
    callbacks.append(ResumeCheckpoint(cell, folder))
    if patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=patience))
    if logger:
        callbacks.append(LearningRate())
    if is_watched():
        callbacks.append(TrainingProgress())
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
    """Train by gradient; `resume` starts from the last checkpoint, which holds statistics learned before an epoch."""
    keep_freed_memory()
    checkpoint = folder / RESUME
    again = str(checkpoint) if resume and checkpoint.is_file() else None
    trainer.fit(model, datamodule=data, ckpt_path=again, weights_only=True if again else None)
