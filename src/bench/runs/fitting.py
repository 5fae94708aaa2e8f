"""One fit of a run and its test: the whole run, or one fold of several."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning import Trainer, seed_everything

from bench.config.cell import Cell
from bench.config.settings import Config
from bench.console import is_main_process
from bench.data.datamodule import DataSpec, DefectData
from bench.errors import UsageError, first_line
from bench.evaluation.evaluation import ProductThresholds, TestedFold
from bench.evaluation.passes import Machine, saturated_overlap, test_images
from bench.models.base import Detector
from bench.models.parts.feature_cache import saved_seconds
from bench.models.parts.precision import autocast_dtype
from bench.phases import phase
from bench.records.normal_scores import write_normal_scores
from bench.records.record import CHECKPOINT
from bench.runs.checkpoint import RESUME, epochs_done, fit_seconds, load_checkpoint, save_checkpoint
from bench.runs.environment import use_full_precision
from bench.runs.normal_scores import described
from bench.runs.threshold import learn_and_choose_threshold, product_thresholds
from bench.runs.training import make_trainer, train
from bench.tracking.run import Tracker


@dataclass(frozen=True)
class FoldFit:
    """The data of one fit and its test, of a fold or of a run without folds, and the folder of the checkpoint."""

    data: DefectData
    folder: Path
    name: str  # 'fold 2', or '' where there is only one

    @property
    def fitted(self) -> bool:
        """Whether an earlier, interrupted run has finished this fold's fit; always False for a run's only fold."""
        return bool(self.name) and (self.folder / CHECKPOINT).is_file()


def located(config: Config, data: DefectData) -> Config:
    """The settings with the folders where data and regions lie, for the record; synthetic data are made anywhere."""
    if data.region is not None:
        config = config.lying_at(str(Path(data.region).absolute()), "region")
    return config if data.is_synthetic else config.lying_at(str(data.find_root().absolute()))


def fold_fits(data: DefectData, folder: Path) -> list[FoldFit]:
    """The folds of a run in its folder."""
    folds = data.each_fold()
    if len(folds) == 1:
        return [FoldFit(data, folder, "")]
    return [FoldFit(each, folder / f"fold-{each.fold}", f"fold {each.fold}") for each in folds]


def where_it_goes_on(folds: Sequence[FoldFit], model: Detector, epochs: int | None) -> str:
    """Where an interrupted run goes on: after which epoch, in which fold, and what of it is done again."""
    kept = [fold for fold in folds if fold.fitted]
    following = next((fold for fold in folds if not fold.fitted), None)
    done = epochs_done(following.folder / RESUME) if following else 0
    if following is None:
        where = "every fold has learned, and is tested again"
    elif not model.is_trained():
        again = "statistics and threshold are computed again"
        where = f"goes on with {following.name}: its {again}" if following.name else f"begins anew: {again}"
    else:
        of = f" of {epochs}" if epochs is not None and epochs > 0 else ""
        at = f"after epoch {done}{of}" if done else "from its first epoch, for none was saved"
        if done and done == epochs:
            at += ": training has ended, threshold and test are to do"
        where = f"goes on {f'with {following.name}, ' if following.name else ''}{at}"
    if kept and following is not None:
        names = f"{kept[0].name} is" if len(kept) == 1 else f"{len(kept)} of {len(folds)} folds are"
        where += f"; {names} kept as learned, and tested again"
    return where


def build_model(config: Config, spec: DataSpec, weights: str | None = None) -> Detector:
    """Seed everything, then construct the method; `weights` replaces its backbone's, as a checkpoint brings its own."""
    use_full_precision()  # here, because every process that computes builds its method
    seed_everything(config.settings["seed"], workers=True, verbose=False)
    settings = config.section("model")
    if weights is not None and "weights" in settings:
        settings["weights"] = weights
    try:
        with phase("building the method"):  # its weights may have to be downloaded
            model: Detector = config.model.load_class()(spec, **settings)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{config.model.name} cannot be built with these settings: {first_line(error)}") from error
    model.autocast = autocast_dtype(config.settings["trainer"]["precision"])
    return model


def fit_fold(
    model: Detector, fold: FoldFit, cell: Cell, trainer: Trainer, machine: Machine, *, resume: bool
) -> TestedFold | None:
    """Learn, choose the threshold, save, test; return the fold's test on the first process, None on the others."""
    data, folder = fold.data, fold.folder
    fitted = resume and fold.fitted
    earlier = fit_seconds(folder / (CHECKPOINT if fitted else RESUME)) if resume else 0.0
    start, saved_before = time.perf_counter(), saved_seconds()
    if fitted:
        load_checkpoint(model, folder / CHECKPOINT, cell.fingerprint)
    elif model.is_trained():
        train(trainer, model, data, folder, resume=resume)
    model.to(machine.device).eval()  # Lightning leaves it on the CPU; from here on it stays where it is
    normal = None
    if not fitted:
        normal = learn_and_choose_threshold(model, data, machine, cell.config.settings["threshold_quantile"])
        if is_main_process():
            spent = time.perf_counter() - start + saved_seconds() - saved_before
            save_checkpoint(model, cell, folder, earlier + spent)
    # With the time that others spent on the features read from the cache: without them the method would have spent it.
    fit_end, saved = time.perf_counter(), saved_seconds()
    kept = None if normal is None else normal[1]
    segmentation = None if kept is None else kept.segmentation_threshold
    thresholds = product_thresholds(data, kept, cell.config.settings["threshold_quantile"])
    found = test_fold(model, fold, machine, thresholds, segmentation)
    test_seconds = time.perf_counter() - fit_end + saved_seconds() - saved
    if normal is not None and is_main_process():
        write_normal_scores(folder, described(data, *normal))
    fit_spent = earlier + fit_end - start + saved - saved_before
    return found and found._replace(
        fit_seconds=fit_spent, test_seconds=test_seconds, saved_seconds=saved_seconds() - saved_before
    )


def test_fold(
    model: Detector,
    fold: FoldFit,
    machine: Machine,
    thresholds: Mapping[str, ProductThresholds] | None = None,
    segmentation_threshold: float | None = None,
) -> TestedFold | None:
    """Score each test image of a fold once; None on all processes but the first.

    `thresholds` are those of the products, where the model is for several; that of pixels gives SegF1.
    """
    model.to(machine.device).eval()
    data = fold.data
    owners = [sample.product for sample in data.category.test] if data.products is not None else []
    saturated = saturated_overlap(data)
    images = len(data.category.test)
    of_pixels = {"": segmentation_threshold} | {name: each.pixel for name, each in (thresholds or {}).items()}
    found = test_images(model, data.test_dataloader(), images, machine, owners, saturated, of_pixels)
    if found is None:
        return None
    threshold = float(model.threshold)
    return TestedFold(data, found[0], None if math.isnan(threshold) else threshold, found[1], thresholds)


def start_machine(trainer: Trainer) -> Machine:
    """Join the processes of the run, where it has several, before anything is computed; return this one's device."""
    trainer.strategy.setup_environment()
    return Machine(trainer.strategy.root_device)


def fold_trainer(fold: FoldFit, cell: Cell, tracker: Tracker | None) -> Trainer:
    """The Trainer of a fold; its curves in W&B carry the fold's name."""
    logger = tracker.logger(fold.name.replace(" ", "-")) if tracker else False
    return make_trainer(cell, fold.folder, logger)
