"""The whole life of a run, from top to bottom."""

import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bench.callbacks import quieten_lightning
from bench.cell import Cell
from bench.checkpoint import CHECKPOINT, RESUME, load_checkpoint
from bench.config import Config
from bench.console import is_main_process
from bench.cost import Stopwatch, measure_cost
from bench.data.datamodule import MVTecAD
from bench.environment import describe_environment
from bench.errors import RunError, UsageError, first_line
from bench.evaluation import Evaluation, Tested, evaluate
from bench.fitting import Part, build_model, fit_part, part_trainer, parts_of, test_part
from bench.memory import forget_peak
from bench.mistakes import Mistakes
from bench.models.base import Detector
from bench.models.weights import identify_weights
from bench.pictures import draw_confusion, draw_extremes
from bench.record import DataRecord, Record, write_atomically
from bench.run_folder import TRACEBACK, make_folders, read_finished, writing_to
from bench.tracking.run import Extent, Tracker
from bench.tracking.service import Images, choose_mode
from bench.training import check_plan, check_track


@dataclass(frozen=True)
class Options:
    """What changes no figure: where the run lies, how it is watched, whether it begins anew."""

    runs: Path = Path("runs")
    force: bool = False
    resume: Path | None = None
    wandb: str | None = None
    group: str | None = None
    wandb_images: Images = "auto"  # test images go to W&B: auto = those of our own making
    wandb_checkpoint: bool = False
    tell_offline: bool = True  # how to send the run; a sweep tells it once
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
            if done := read_finished(folder):
                return done, folder, True
    mode = choose_mode(options.wandb)
    parts = parts_of(data, folder)
    model = build_model(config, parts[0].data.spec)
    check_plan(model, parts[0].data, config)
    make_folders(parts, folder, cell, resume=options.resume is not None)

    with writing_to(folder):
        own_mode = mode if is_main_process() else "disabled"
        extent = _extent(options, data)
        tracker = Tracker(cell, folder, own_mode, track=model.track, group=options.group, extent=extent)
        record = new_record(cell, data, started, options.command)
        record.wandb = tracker.describe()
        record.data.classes = data.class_counts
        record.data.validation_images = len(parts[0].data.validation_indices)
        record.data.masks_without_pixels = data.split.masks_without_pixels
        try:
            _fit_all(parts, model, record, cell, tracker, options, folder)
        except BaseException as error:
            record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record.error = first_line(error)
            if isinstance(error, KeyboardInterrupt | UsageError | RunError | OSError):
                raise
            write_atomically(folder / TRACEBACK, traceback.format_exc())
            raise RunError(f"the run failed: {record.error}; see {folder / TRACEBACK}") from error
        finally:
            if is_main_process():
                record.write(folder)
                tracker.finish(record)
        if is_main_process():
            for part in parts:
                (part.folder / RESUME).unlink(missing_ok=True)  # the finished model lies beside it
    return record, folder, False


def _extent(options: Options, data: MVTecAD) -> Extent:
    images = options.wandb_images == "on" or (options.wandb_images == "auto" and data.made_up)
    return Extent(images, options.wandb_checkpoint, options.tell_offline)


def _fit_all(
    parts: list[Part],
    model: Detector,
    record: Record,
    cell: Cell,
    tracker: Tracker,
    options: Options,
    folder: Path,
) -> None:
    """Fit and test each part, then fill in the record from all of them."""
    watch, tested, mistakes = Stopwatch(), [], Mistakes()
    for number, part in enumerate(parts):
        if number:
            model = build_model(cell.config, part.data.spec)
        trainer = part_trainer(part, cell, tracker, progress=options.progress)
        with _interruptible(trainer):
            scored = fit_part(model, part, cell, trainer, watch, resume=options.resume is not None)
        tested.append(Tested.of(model, part.data, scored))
        if is_main_process() and model.track == "supervised":
            mistakes.look(model, part.data, scored)
            tracker.look(model, part.data, scored)
    if not is_main_process():
        return
    evaluation = evaluate(tested)
    evaluation.write(record, folder)
    record.cost = measure_cost(model, parts[-1].data, watch, parts[-1].folder / CHECKPOINT, trainer)
    if model.track == "supervised":
        draw_confusion(evaluation, folder)
        mistakes.draw(folder)
    else:
        draw_extremes(model, parts[0].data, evaluation, folder)
        tracker.look(model, parts[0].data, scored, evaluation.map_range)
    tracker.log_test(evaluation)
    record.status = "finished"


def test_again(config: Config, folder: Path, *, progress: bool = False) -> tuple[Evaluation, Record]:
    """Test the checkpoints of a finished run again; the new figures beside the run's own record."""
    quieten_lightning()
    record = Record.read(folder)
    data, cell = prepare(config)
    if data.whole.digest != record.data.digest:
        raise UsageError(f"these are not the images that {folder} was tested on; set --data.root to the folder of then")
    tested = []
    for part in parts_of(data, folder):
        model = build_model(config, part.data.spec, weights="none")
        load_checkpoint(model, part.folder / CHECKPOINT, record.fingerprint)
        trainer = part_trainer(part, cell, None, progress=progress)
        with _interruptible(trainer):
            scored = test_part(model, part, trainer)
        tested.append(Tested.of(model, part.data, scored))
    return evaluate(tested), record


def prepare(config: Config) -> tuple[MVTecAD, Cell]:
    """Decode the data once and fix the cell; every mistake in the data is found here, before anything is written."""
    settings = config.settings
    data: MVTecAD = config.data.load_class()(
        config.category, settings["seed"], settings["protocol"], **config.section("data")
    )
    check_track(config)
    data.prepare_data()
    return data, Cell(config, data.whole.digest, identify_weights(settings["model"].get("weights")))


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


def new_record(cell: Cell, data: MVTecAD, started: str, command: str) -> Record:
    """The record of a run that has begun, as far as its settings and its files decide it: failed until it is more."""
    config = cell.config
    return Record(
        status="failed",
        model=config.model.name,
        track=config.model.load_class().track,  # type: ignore[attr-defined] # a Detector: its settings were parsed
        dataset=config.data.name,
        official=data.official,
        category=config.category,
        seed=config.settings["seed"],
        fold=config.settings["data"]["fold"],
        fingerprint=cell.fingerprint,
        config=config.as_dict(),
        overrides=config.overrides,
        reference=config.model.reference,
        differs=config.model.differs,
        data=DataRecord(
            digest=cell.data_digest, counts=data.whole.counts, validation_images=0, differences=data.differences
        ),
        weights=cell.weights,
        environment=describe_environment(),
        started=started,
        command=command,
    )
