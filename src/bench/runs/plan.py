"""Checks before a run begins: they refuse plans that cannot end in an honest metric, and what Lightning cannot do."""

from math import ceil
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from bench.config.settings import Config
from bench.config.tracks import TRACKS
from bench.data.datamodule import DefectData
from bench.errors import UsageError
from bench.models.base import Detector
from bench.models.parts.weight_files import refuse_identity_batchnorm
from bench.models.parts.weights import without_normalisation
from bench.processes import cluster_plugins
from bench.records.published import find_reference
from bench.runs.environment import device_of, trainer_settings
from bench.runs.threshold import too_few_for_threshold

_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def check_settings(config: Config, *, here: bool = True) -> None:
    """Refuse settings that no run supports, before any image is decoded; `here`: the run is on this machine."""
    check_preset(config)
    trainer = config.section("trainer")
    _check_limits(trainer)
    if trainer["precision"] not in _PRECISIONS:
        raise UsageError(
            f"--trainer.precision {trainer['precision']} is none that figures are right in; use {_listed(_PRECISIONS)}"
        )
    if trainer["strategy"] not in _STRATEGIES:
        raise UsageError(
            f"--trainer.strategy {trainer['strategy']} is none that a run is shared by; use {_listed(_STRATEGIES)}"
        )
    if trainer["accelerator"] not in _ACCELERATORS:
        raise UsageError(f"--trainer.accelerator {trainer['accelerator']} is unknown; use {_listed(_ACCELERATORS)}")
    cpu = trainer["accelerator"] == "cpu" or (here and device_of(trainer).type != "cuda")
    if trainer["precision"] == "16-mixed" and cpu:
        raise UsageError("--trainer.precision 16-mixed takes a CUDA GPU; use bf16-mixed, or 32-true")
    if config.settings["patience"] is not None and trainer["limit_val_batches"] in (0, 0.0):
        raise UsageError("--patience watches the validation loss: leave out --trainer.limit_val_batches 0")


def _check_limits(trainer: dict[str, Any]) -> None:
    """Refuse Lightning's limits where they would silently leave images out of a metric."""
    if trainer["limit_predict_batches"] is not None:
        raise UsageError(
            f"--trainer.limit_predict_batches {trainer['limit_predict_batches']}: statistics and thresholds are of all "
            "training images; leave it out, and make images smaller: --data.image_size"
        )
    if trainer["limit_test_batches"] is not None:
        raise UsageError(
            f"--trainer.limit_test_batches {trainer['limit_test_batches']}: a run tests each image once; leave it out, "
            "and make images smaller: --data.image_size"
        )
    if trainer["overfit_batches"]:
        raise UsageError(
            f"--trainer.overfit_batches {trainer['overfit_batches']} would deal images to processes in its own way; "
            "use --trainer.limit_train_batches"
        )
    for name, least in (
        ("accumulate_grad_batches", 1),
        ("check_val_every_n_epoch", 1),
        ("min_epochs", 0),
        ("gradient_clip_val", 0),
    ):
        if trainer[name] is not None and not trainer[name] >= least:
            raise UsageError(f"--trainer.{name} should be greater than or equal to {least}, not '{trainer[name]}'")
    if trainer["limit_train_batches"] in (0, 0.0):
        raise UsageError("--trainer.limit_train_batches 0 leaves nothing to learn from; use 1, or leave it out")


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def check_preset(config: Config) -> None:
    """Refuse unknown published references, a classifier without labelled defects, other methods with them."""
    if config.model.reference is not None:
        find_reference(config.model.reference)
    supervised = TRACKS[config.model.load_class().track].learns_from_defects  # type: ignore[attr-defined]
    fold = config.settings["data"]["fold"]
    if supervised and fold is None:
        raise UsageError(f"{config.model.name} learns from labelled defects: set --data.fold to a fold, or to all")
    if not supervised and fold is not None:
        raise UsageError(f"{config.model.name} learns from good images alone: leave out --data.fold {fold}")
    if not supervised and config.settings["data"]["sampling"] != "each_once":
        raise UsageError(f"{config.model.name} learns from one class: leave out --data.sampling")


def check_normalisation(config: Config) -> str | None:
    """Refuse to train BatchNorm that does nothing; what to say of a classifier that is fine-tuned without any."""
    settings = config.section("model")
    supervised = TRACKS[config.model.load_class().track].learns_from_defects  # type: ignore[attr-defined]
    if not supervised or not {"weights", "freeze_batchnorm", "freeze_backbone"} <= settings.keys():
        return None
    if settings["freeze_backbone"] and settings["freeze_batchnorm"]:
        return None
    if not without_normalisation(settings["weights"]):
        return None
    if not settings["freeze_batchnorm"]:
        raise refuse_identity_batchnorm(settings["weights"])
    rate = settings["learning_rate"] * settings["backbone_rate"]
    return (
        f"the BatchNorm of {settings['weights']} does nothing, and a network without normalisation hardly learns by "
        f"fine-tuning (here at a rate of {rate:g}): --model.freeze_backbone true trains the head alone, or take other "
        "weights"
    )


def check_plan(model: Detector, data: DefectData, config: Config) -> None:
    """Refuse plans that cannot end in an honest threshold, and what Lightning or this machine cannot do."""
    try:
        settings = trainer_settings(config.section("trainer"))
        trainer = Trainer(**settings, plugins=cluster_plugins(), logger=False, enable_checkpointing=False)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UsageError(f"--trainer: {str(error).splitlines()[0]}") from error
    check_device(model, trainer.strategy.root_device, config.model.name)
    patience = config.settings["patience"]
    if model.is_trained() and not TRACKS[model.track].learns_from_defects and not data.validation_indices:
        setting = "set --data.validation_share above 0" if data.shots is None else "raise --data.shots"
        raise UsageError(f"a method that trains takes its threshold from held-out images: {setting}")
    if patience is not None and not (model.is_trained() and data.validation_indices):
        raise UsageError("--patience watches the validation loss of a method that trains; this one has none")
    if model.is_trained() and 0 in (trainer.max_epochs, trainer.max_steps):
        none = "max_epochs" if trainer.max_epochs == 0 else "max_steps"
        raise UsageError(f"{config.model.name} learns by training: --trainer.{none} 0 leaves it as it was drawn")
    if not model.is_trained() and any(each.epoch is not None for each in model.passes()):
        raise UsageError(f"{config.model.name} does not train: its passes() must not name an epoch")
    first = max([model.preparing_epochs, *(each.epoch or 0 for each in model.passes())])
    if first or any(each.epoch is not None for each in model.passes()):
        _check_phases(first, trainer.max_epochs, patience)
    if not model.automatic_optimization:
        _check_own_steps(trainer, patience)
    _check_images(model, data, config.model.name)
    _check_processes(trainer.world_size, model, data)
    if model.is_trained():
        _check_batches(trainer, data)


def check_device(model: Detector, device: torch.device, name: str, option: str = "--trainer.accelerator") -> None:
    """Refuse Apple's GPUs, which have no double precision, for a model with buffers in double precision."""
    if device.type == "mps" and any(buffer.dtype == torch.float64 for buffer in model.buffers()):
        raise UsageError(f"{name} holds double precision, which Apple's GPUs lack; use {option} cpu")


def _check_images(model: Detector, data: DefectData, name: str) -> None:
    """Refuse too few images to learn from, by the method's own count, at any moment of the run."""
    images, fewest = len(data.training_indices), model.fewest_images
    held_out, more = len(data.validation_indices), "add images" if data.shots is None else "raise --data.shots"
    if images < fewest and (held_out or data.shots is not None or TRACKS[model.track].learns_from_defects):
        advice = more if images + held_out < fewest else "lower --data.validation_share"
        here = "here is 1" if images == 1 else f"here are {images}"
        raise UsageError(f"{name} learns from {fewest} images at least, {here}; {advice}")
    if data.shots is None and (missing := too_few_for_threshold(model, data)):
        raise UsageError(f"the threshold of {name} {missing}; {more}")


def _check_processes(processes: int, model: Detector, data: DefectData) -> None:
    """Refuse more processes than images to learn from, and uneven shares of a training step."""
    shared = {"training images": len(data.training_indices)}
    if model.is_trained() and data.validation_indices:
        shared["held-out images"] = len(data.validation_indices)
    if model.is_trained() and data.samples_per_epoch is not None:
        shared["images of an epoch"] = data.samples_per_epoch
    what, count = min(shared.items(), key=lambda pair: pair[1])
    if count < processes:
        raise UsageError(f"{processes} processes cannot share {count} {what}; use fewer: --trainer.devices {count}")
    if model.is_trained() and data.batch_size % processes:
        raise UsageError(f"--data.batch_size {data.batch_size} cannot be split over {processes} processes evenly")


def _check_batches(trainer: Trainer, data: DefectData) -> None:
    """Refuse a share of the batches that is less than one batch: Lightning would stop when training begins."""
    images = data.samples_per_epoch or len(data.learned_indices(data.training_indices))
    own = ceil(len(data.learned_indices(data.validation_indices)) / trainer.world_size)
    counts = {
        "limit_train_batches": ceil(images / data.batch_size),
        "limit_val_batches": ceil(own / max(1, data.batch_size // trainer.world_size)),
    }
    for name, count in counts.items():
        limit = getattr(trainer, name)
        if isinstance(limit, float) and limit and count and int(count * limit) == 0:
            raise UsageError(f"--trainer.{name} {limit} of {count} batches is less than one; use 1 batch")


def _check_phases(first: int, epochs: int | None, patience: int | None) -> None:
    """Refuse too few epochs, and patience, for a method that the epochs before `first` only prepare."""
    if epochs is not None and 0 <= epochs <= first:
        raise UsageError(
            f"{first} epochs of preparation leave none of --trainer.max_epochs {epochs} for the method itself; raise "
            "it, or lower a --model.pretrain_epochs"
        )
    if patience is not None and first:
        raise UsageError("--patience watches one validation loss; after pre-training this method has another")


def _check_own_steps(trainer: Trainer, patience: int | None) -> None:
    """Refuse what Lightning cannot do for a method that takes its own steps, with more than one optimiser."""
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1 or trainer.max_steps != -1:
        raise UsageError(
            "this method takes its own steps, several a batch: leave out --trainer.gradient_clip_val, "
            "--trainer.accumulate_grad_batches and --trainer.max_steps"
        )
    if patience is not None:
        raise UsageError("--patience waits for a loss to fall; those of networks that compete do not: leave it out")
