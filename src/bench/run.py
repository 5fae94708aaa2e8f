"""The whole life of a run, from top to bottom."""

import errno
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lightning import Trainer, seed_everything
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.callbacks import quieten_lightning
from bench.cell import Cell
from bench.checkpoint import CHECKPOINT, RESUME, check_stamp, load_checkpoint, save_checkpoint
from bench.config import Config
from bench.console import is_main_process, say
from bench.cost import Stopwatch, measure_cost
from bench.data.datamodule import MVTecAD
from bench.environment import describe_environment
from bench.errors import RunError, UsageError
from bench.evaluation import Evaluation, evaluate
from bench.memory import forget_peak
from bench.models.base import Detector
from bench.models.weights import identify_weights
from bench.pictures import draw_extremes
from bench.record import RECORD, DataRecord, Record, write_atomically, write_predictions
from bench.tracking import Tracker, choose_mode
from bench.training import check_plan, learn, make_trainer, set_threshold

SETTINGS = "config.yaml"
TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class Options:
    """What changes no figure: where the run lies, how it is watched, whether it begins anew."""

    runs: Path = Path("runs")
    force: bool = False
    resume: Path | None = None
    wandb: str | None = None
    group: str | None = None
    progress: bool = False
    command: str = field(default_factory=lambda: shlex.join(["bench", *sys.argv[1:]]))  # what the record says it was


def fit(config: Config, options: Options) -> tuple[Record, Path, bool]:
    """Run one cell; its record, its folder, and whether it was already there."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    quieten_lightning()
    forget_peak()
    data, cell = prepare(config)
    folder = options.resume or cell.folder(options.runs)
    if folder.resolve().name != cell.fingerprint:
        raise UsageError(f"{folder} is no run of these settings and data; leave out what differs, or --resume")
    if is_main_process() and not options.force:
        with writing_to(folder):
            if done := _finished(folder):
                return done, folder, True
    mode = choose_mode(options.wandb)
    seed_everything(config.settings["seed"], workers=True, verbose=False)
    model = build_model(config, data)
    check_plan(model, data, config)
    _make_folder(folder, config, cell, resume=options.resume is not None)

    with writing_to(folder):
        own_mode = mode if is_main_process() else "disabled"
        tracker = Tracker(cell, folder, own_mode, track=model.track, group=options.group)
        trainer = make_trainer(cell, folder, tracker.logger, progress=options.progress and is_main_process())
        watch, record = Stopwatch(), _new_record(cell, data, model, started, tracker, options.command)
        try:
            with _interruptible(trainer):
                with watch.phase("fit"):
                    learn(trainer, model, data, folder, resume=options.resume is not None)
                    set_threshold(trainer, model, data, config.settings["threshold_quantile"])
                if is_main_process():
                    checkpoint = save_checkpoint(model, cell, folder)
                with watch.phase("test"):
                    trainer.test(model, data.test_dataloader(), verbose=False)
                if is_main_process():
                    evaluation = evaluate(model, data)
                    _keep_outcome(record, evaluation, folder)
                    record.cost = measure_cost(model, data, watch, checkpoint, trainer)
                    draw_extremes(model, data, evaluation, folder)
                    record.status = "finished"
        except BaseException as error:
            record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record.error = _first_line(error)
            if isinstance(error, KeyboardInterrupt | UsageError | RunError | OSError):
                raise
            write_atomically(folder / TRACEBACK, traceback.format_exc())
            raise RunError(f"the run failed: {record.error}; see {folder / TRACEBACK}") from error
        finally:
            if is_main_process():
                record.write(folder)
                tracker.finish(record)
        if is_main_process():
            (folder / RESUME).unlink(missing_ok=True)  # the finished model lies beside it
    return record, folder, False


def test_again(config: Config, folder: Path, *, progress: bool = False) -> tuple[Evaluation, Record]:
    """Test the checkpoint of a finished run again; the new figures beside the run's own record."""
    quieten_lightning()
    record = Record.read(folder)
    data, cell = prepare(config)
    if data.category.digest != record.data.digest:
        raise UsageError(f"these are not the images that {folder} was tested on; set --data.root to the folder of then")
    model = build_model(config, data, weights="none")
    load_checkpoint(model, folder / CHECKPOINT, record.fingerprint)
    trainer = make_trainer(cell, folder, False, progress=progress and is_main_process())
    with _interruptible(trainer):
        trainer.test(model, data.test_dataloader(), verbose=False)
    return evaluate(model, data), record


def prepare(config: Config) -> tuple[MVTecAD, Cell]:
    """Decode the data once and fix the cell; every mistake in the data is found here, before anything is written."""
    settings = config.settings
    data: MVTecAD = config.data.load_class()(
        config.category, settings["seed"], settings["protocol"], **config.section("data")
    )
    data.prepare_data()
    return data, Cell(config, data.category.digest, identify_weights(settings["model"].get("weights")))


def build_model(config: Config, data: MVTecAD, weights: str | None = None) -> Detector:
    """Construct the method; `weights` replaces its backbone's, for a checkpoint brings its own."""
    settings = config.section("model")
    if weights is not None and "weights" in settings:
        settings["weights"] = weights
    try:
        model = config.model.load_class()(data.spec, **settings)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"{config.model.name} cannot be built with these settings: {_first_line(error)}") from error
    if not isinstance(model, Detector):
        raise UsageError(f"class_path '{config.model.class_path}' is no bench.models.base.Detector")
    return model


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in one line when the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UsageError(f"the disk of {folder} is full; free some space or name another: --runs FOLDER") from error
        if error.errno in (
            errno.EACCES,
            errno.EROFS,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.EISDIR,
            errno.ENAMETOOLONG,
        ):
            raise UsageError(
                f"cannot write to {folder} ({error.strerror}); name another folder: --runs FOLDER"
            ) from error
        raise


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit with 1, and a SIGTERM into one of its own: both mean interrupted."""
    try:
        yield
    except SIGTERMException as error:
        raise KeyboardInterrupt("terminated") from error
    except SystemExit as error:
        if trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt("interrupted") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _finished(folder: Path) -> Record | None:
    if not (folder / RECORD).is_file():
        return None
    record = Record.read(folder)
    return record if record.status == "finished" else None


def _make_folder(folder: Path, config: Config, cell: Cell, *, resume: bool) -> None:
    if resume and (folder / RESUME).is_file():
        check_stamp(folder / RESUME, cell)
    elif resume:
        say("nothing to resume from: no epoch was finished; the run begins anew")
    if is_main_process():
        with writing_to(folder):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # below /proc, for one
                raise UsageError(f"cannot write to {folder}; name another folder: --runs FOLDER") from error
            (folder / TRACEBACK).unlink(missing_ok=True)
            write_atomically(folder / SETTINGS, config.to_yaml())


def _new_record(cell: Cell, data: MVTecAD, model: Detector, started: str, tracker: Tracker, command: str) -> Record:
    config = cell.config
    return Record(
        status="failed",
        model=config.model.name,
        track=model.track,
        dataset=config.data.name,
        official=data.official,
        category=config.category,
        seed=config.settings["seed"],
        fingerprint=cell.fingerprint,
        config=config.as_dict(),
        overrides=config.overrides,
        reference=config.model.reference,
        differs=config.model.differs,
        data=DataRecord(
            digest=cell.data_digest,
            counts=data.category.counts,
            validation_images=len(data.validation_indices),
            differences=data.differences,
            masks_without_pixels=data.masks_without_pixels,
        ),
        weights=cell.weights,
        environment=describe_environment(),
        started=started,
        command=command,
        wandb=tracker.describe(),
    )


def _keep_outcome(record: Record, evaluation: Evaluation, folder: Path) -> None:
    record.metrics = {**evaluation.metrics, "threshold": evaluation.threshold}
    record.metrics_by_defect = evaluation.metrics_by_defect
    record.data.predictions_sha256 = write_predictions(folder, evaluation.predictions)
