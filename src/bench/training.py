"""The passes of a run over the training images: statistics, gradient descent, held-out scores."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger

from bench.callbacks import EpochSeed, FiniteLoss, LearningRate, ProgressBar, StatisticsPass
from bench.cell import Cell
from bench.checkpoint import RESUME, ResumeCheckpoint
from bench.config import Config
from bench.data.datamodule import MVTecAD
from bench.errors import UsageError
from bench.memory import keep_freed_memory
from bench.models.base import Detector, Pass

_FOLDS = 5


def make_trainer(cell: Cell, folder: Path, logger: Logger | bool, *, progress: bool) -> Trainer:
    """The one Trainer of a run."""
    # Lightning's `deterministic` has torch fill all new memory with NaN as well: a fifteenth of a PaDiM run on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    settings = cell.config.section("trainer")
    patience = cell.config.settings["patience"]
    callbacks: list[Callback] = [EpochSeed(cell.config.settings["seed"]), StatisticsPass(), FiniteLoss()]
    callbacks.append(ResumeCheckpoint(cell, folder))
    if patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=patience))
    if logger:
        callbacks.append(LearningRate())
    if progress:
        callbacks.append(ProgressBar())
    return Trainer(
        **settings,
        logger=logger,
        callbacks=callbacks,
        plugins=_plugins(settings),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        # torch has no synchronised BatchNorm for CPUs.
        sync_batchnorm=torch.cuda.is_available() and settings.get("accelerator") != "cpu",
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def _plugins(settings: Mapping[str, Any]) -> list[Any] | None:
    """Inside a SLURM job Lightning would take the job's tasks for its own processes."""
    return [LightningEnvironment()] if settings.get("num_nodes", 1) == 1 else None


def check_track(config: Config) -> None:
    """Refuse a classifier without labelled defects, and the other methods with them."""
    supervised = config.model.load_class().track == "supervised"  # type: ignore[attr-defined]
    fold = config.settings["data"]["fold"]
    if supervised and fold is None:
        raise UsageError(f"{config.model.name} learns from labelled defects: set --data.fold to a fold, or to all")
    if not supervised and fold is not None:
        raise UsageError(f"{config.model.name} learns from good images alone: leave out --data.fold {fold}")
    if not supervised and config.settings["data"]["sampling"] != "each_once":
        raise UsageError(f"{config.model.name} learns from one class: leave out --data.sampling")


def check_plan(model: Detector, data: MVTecAD, config: Config) -> None:
    """Refuse plans that cannot end in an honest threshold, and what Lightning or this machine cannot do."""
    try:
        settings = config.section("trainer")
        trainer = Trainer(**settings, plugins=_plugins(settings), logger=False, enable_checkpointing=False)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UsageError(f"--trainer: {str(error).splitlines()[0]}") from error
    _check_nodes(trainer)
    patience = config.settings["patience"]
    if model.trains and model.track == "one-class" and not data.validation_indices:
        raise UsageError(
            "a method that trains takes its threshold from held-out images: set --data.validation_share above 0"
        )
    if patience is not None and not (model.trains and data.validation_indices):
        raise UsageError("--patience watches the validation loss of a method that trains; this one has none")
    if model.statistics == "before" or model.preparing_epochs:
        _check_phases(model.preparing_epochs, trainer.max_epochs, patience)
    if not model.automatic_optimization:
        _check_own_steps(trainer, patience)


def _check_nodes(trainer: Trainer) -> None:
    """Without a cluster that starts them, Lightning would wait for the other nodes for half an hour."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ:
        raise UsageError(
            f"--trainer.num_nodes {trainer.num_nodes} needs a process on each node: start the command with srun or "
            "torchrun, or on each node with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
        )


def _check_phases(first: int, epochs: int | None, patience: int | None) -> None:
    """What comes before epoch `first` only prepares the method."""
    if epochs is not None and 0 <= epochs <= first:
        raise UsageError(
            f"{first} epochs of pre-training leave none of --trainer.max_epochs {epochs} for the method itself; "
            "raise it, or lower --model.pretrain_epochs"
        )
    if patience is not None and first:
        raise UsageError("--patience watches one validation loss; after pre-training this method has another")


def _check_own_steps(trainer: Trainer, patience: int | None) -> None:
    """What Lightning cannot do for a method that takes its own steps, with more than one optimiser."""
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1 or trainer.max_steps != -1:
        raise UsageError(
            "this method takes its own steps, several a batch: leave out --trainer.gradient_clip_val, "
            "--trainer.accumulate_grad_batches and --trainer.max_steps"
        )
    if patience is not None:
        raise UsageError("--patience waits for a loss to fall; those of networks that compete do not: leave it out")


def learn(trainer: Trainer, model: Detector, data: MVTecAD, folder: Path, *, resume: bool) -> None:
    """Training, in which statistics `before` are gathered, then statistics `after`: whichever the method has."""
    if model.trains:
        keep_freed_memory()
        checkpoint = folder / RESUME
        again = str(checkpoint) if resume and checkpoint.is_file() else None
        trainer.fit(model, datamodule=data, ckpt_path=again, weights_only=True if again else None)
    if model.statistics == "after":
        collect(trainer, model, data, data.training_indices)


def collect(trainer: Trainer, model: Detector, data: MVTecAD, indices: list[int]) -> None:
    """One statistics pass, or as many as the method needs."""
    model.purpose = Pass.COLLECT
    model.another_pass = True
    while model.another_pass:
        trainer.predict(model, data.ordered_train_loader(indices), return_predictions=False)


def set_threshold(trainer: Trainer, model: Detector, data: MVTecAD, quantile: float) -> None:
    """Take the operating threshold from normal images that the method did not learn from; classifiers need none."""
    if model.track == "supervised":
        return
    if data.validation_indices:
        scores = score(trainer, model, data, data.validation_indices)
    elif model.scores_left_out:
        scores = score(trainer, model, data, data.training_indices, purpose=Pass.LEFT_OUT)
    else:
        scores = score_out_of_fold(trainer, model, data)
    # The lowest score seen that enough normal images lie at or below; never one in between.
    model.threshold.fill_(float(np.quantile(scores, quantile, method="higher")))


def score_out_of_fold(trainer: Trainer, model: Detector, data: MVTecAD) -> np.ndarray:
    """Scores of all training images, each by statistics of the other four fifths; then learn from all again."""
    order = np.random.default_rng(data.seed).permutation(data.training_indices)
    folds = [sorted(fold.tolist()) for fold in np.array_split(order, min(_FOLDS, len(order)))]
    scores = []
    for fold in folds:
        collect(trainer, model, data, sorted(set(data.training_indices) - set(fold)))
        scores.append(score(trainer, model, data, fold))
    collect(trainer, model, data, data.training_indices)
    return np.concatenate(scores)


def score(
    trainer: Trainer, model: Detector, data: MVTecAD, indices: list[int], purpose: Pass = Pass.SCORE
) -> np.ndarray:
    """Scores of images of train/good."""
    model.purpose = purpose
    trainer.predict(model, data.ordered_train_loader(indices), return_predictions=False)
    assert model.gathered is not None
    return model.gathered[1].double().numpy()
