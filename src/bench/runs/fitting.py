"""One fit of a run and its test: the whole run, or one fold of several."""

import time
from dataclasses import dataclass
from pathlib import Path

from lightning import Trainer, seed_everything

from bench.config.cell import Cell
from bench.config.settings import Config
from bench.console import is_main_process
from bench.data.datamodule import DataSpec, DefectData
from bench.errors import UsageError, first_line
from bench.evaluation.evaluation import Tested
from bench.evaluation.passes import Machine, test_images
from bench.models.base import Detector
from bench.models.parts.precision import autocast_dtype
from bench.progress import ProgressBar
from bench.records.record import CHECKPOINT
from bench.runs.checkpoint import RESUME, fit_seconds, load_checkpoint, save_checkpoint
from bench.runs.environment import use_full_precision
from bench.runs.threshold import learn_and_choose_threshold
from bench.runs.training import make_trainer, train
from bench.tracking.run import Tracker


@dataclass(frozen=True)
class Part:
    """The data of one fit and its test, and the folder of the checkpoint."""

    data: DefectData
    folder: Path
    name: str  # 'fold 2', or '' where there is only one

    @property
    def fitted(self) -> bool:
        """Whether an earlier, interrupted run has finished this part's fit; always False for a run's only part."""
        return bool(self.name) and (self.folder / CHECKPOINT).is_file()


def located(config: Config, data: DefectData) -> Config:
    """The settings with the folder where the data lie, for the record; synthetic data are made anywhere."""
    return config if data.is_synthetic else config.lying_at(str(data.find_root().absolute()))


def parts_of(data: DefectData, folder: Path) -> list[Part]:
    """The parts of a run in its folder."""
    parts = data.parts()
    if len(parts) == 1:
        return [Part(data, folder, "")]
    return [Part(part, folder / f"fold-{part.fold}", f"fold {part.fold}") for part in parts]


def build_model(config: Config, spec: DataSpec, weights: str | None = None) -> Detector:
    """Seed everything, then construct the method; `weights` replaces its backbone's, as a checkpoint brings its own."""
    use_full_precision()  # here, because every process that computes builds its method
    seed_everything(config.settings["seed"], workers=True, verbose=False)
    settings = config.section("model")
    if weights is not None and "weights" in settings:
        settings["weights"] = weights
    try:
        model: Detector = config.model.load_class()(spec, **settings)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{config.model.name} cannot be built with these settings: {first_line(error)}") from error
    model.autocast = autocast_dtype(config.settings["trainer"]["precision"])
    return model


def fit_part(
    model: Detector, part: Part, cell: Cell, trainer: Trainer, machine: Machine, *, resume: bool
) -> Tested | None:
    """Learn, choose the threshold, save, test; return the part's test on the first process, None on the others."""
    data, folder = part.data, part.folder
    fitted = resume and part.fitted
    earlier = fit_seconds(folder / (CHECKPOINT if fitted else RESUME)) if resume else 0.0
    start = time.perf_counter()
    if fitted:
        load_checkpoint(model, folder / CHECKPOINT, cell.fingerprint)
    elif model.is_trained():
        train(trainer, model, data, folder, resume=resume)
    model.to(machine.device).eval()  # Lightning leaves it on the CPU; from here on it stays where it is
    if not fitted:
        learn_and_choose_threshold(model, data, machine, cell.config.settings["threshold_quantile"])
        if is_main_process():
            save_checkpoint(model, cell, folder, earlier + time.perf_counter() - start)
    fit_end = time.perf_counter()
    found = test_part(model, part, machine)
    test_seconds = time.perf_counter() - fit_end
    return found and found._replace(fit_seconds=earlier + fit_end - start, test_seconds=test_seconds)


def test_part(model: Detector, part: Part, machine: Machine) -> Tested | None:
    """Score each test image of a part once; None on all processes but the first."""
    model.to(machine.device).eval()
    data = part.data
    found = test_images(model, data.test_dataloader(), len(data.category.test), machine)
    if found is None:
        return None
    return Tested(data, found[0], None if model.track == "supervised" else float(model.threshold), found[1])


def start_machine(trainer: Trainer, *, progress: bool) -> Machine:
    """Join the processes of the run, where it has several, before anything is computed; return this one's device."""
    trainer.strategy.setup_environment()
    return Machine(trainer.strategy.root_device, ProgressBar("batches") if progress and is_main_process() else None)


def part_trainer(part: Part, cell: Cell, tracker: Tracker | None, *, progress: bool) -> Trainer:
    """The Trainer of a part; its curves in W&B carry the part's name."""
    logger = tracker.logger(part.name.replace(" ", "-")) if tracker else False
    return make_trainer(cell, part.folder, logger, progress=progress and is_main_process())
