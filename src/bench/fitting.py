"""One fit of a run and its test: all of a run, or one fold of several."""

import time
from dataclasses import dataclass
from pathlib import Path

from lightning import Trainer, seed_everything

from bench.cell import Cell
from bench.checkpoint import CHECKPOINT, RESUME, fit_seconds, load_checkpoint, save_checkpoint
from bench.config import Config
from bench.console import is_main_process
from bench.cost import Stopwatch
from bench.data.datamodule import DataSpec, MVTecAD
from bench.errors import RunError, UsageError, first_line
from bench.models.base import Detector, ScoredImages
from bench.tracking.run import Tracker
from bench.training import learn, make_trainer, set_threshold


@dataclass(frozen=True)
class Part:
    """What is fitted and tested at once, and the folder of its checkpoint."""

    data: MVTecAD
    folder: Path
    name: str  # 'fold 2', or '' where there is only one

    @property
    def fitted(self) -> bool:
        """Whether an earlier, interrupted run has done its training; of a run's only part it never has."""
        return bool(self.name) and (self.folder / CHECKPOINT).is_file()


def parts_of(data: MVTecAD, folder: Path) -> list[Part]:
    """The parts of a run in its folder."""
    parts = data.parts()
    if len(parts) == 1:
        return [Part(data, folder, "")]
    return [Part(part, folder / f"fold-{part.fold}", f"fold {part.fold}") for part in parts]


def build_model(config: Config, spec: DataSpec, weights: str | None = None) -> Detector:
    """Seed everything, then construct the method; `weights` replaces its backbone's, as a checkpoint brings its own."""
    seed_everything(config.settings["seed"], workers=True, verbose=False)
    settings = config.section("model")
    if weights is not None and "weights" in settings:
        settings["weights"] = weights
    try:
        model = config.model.load_class()(spec, **settings)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{config.model.name} cannot be built with these settings: {first_line(error)}") from error
    if not isinstance(model, Detector):
        raise UsageError(f"class_path '{config.model.class_path}' is no bench.models.base.Detector")
    return model


def fit_part(
    model: Detector, part: Part, cell: Cell, trainer: Trainer, watch: Stopwatch, *, resume: bool
) -> ScoredImages:
    """Learn, set the threshold, save, test; what each image of the part was scored."""
    data, folder = part.data, part.folder
    fitted = resume and part.fitted
    earlier = fit_seconds(folder / (CHECKPOINT if fitted else RESUME)) if resume else 0.0
    start = time.perf_counter()
    if fitted:
        load_checkpoint(model, folder / CHECKPOINT, cell.fingerprint)
    else:
        learn(trainer, model, data, folder, resume=resume)
        set_threshold(trainer, model, data, cell.config.settings["threshold_quantile"])
        if is_main_process():
            save_checkpoint(model, cell, folder, earlier + time.perf_counter() - start)
    watch.add("fit", earlier + time.perf_counter() - start)
    with watch.phase("test"):
        return test_part(model, part, trainer)


def test_part(model: Detector, part: Part, trainer: Trainer) -> ScoredImages:
    """Score each test image of a part once."""
    trainer.test(model, part.data.test_dataloader(), verbose=False)
    gathered, count = model.gathered, len(part.data.category.test)
    assert gathered is not None
    if gathered.indices.tolist() != list(range(count)):
        raise RunError(f"the test scored {len(gathered.indices)} images instead of each of {count} once")
    return gathered


def part_trainer(part: Part, cell: Cell, tracker: Tracker | None, *, progress: bool) -> Trainer:
    """The Trainer of a part; its curves in W&B bear the part's name."""
    logger = tracker.logger(part.name.replace(" ", "-")) if tracker else False
    return make_trainer(cell, part.folder, logger, progress=progress and is_main_process())
