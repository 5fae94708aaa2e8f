"""A run from its settings to its record, step by step."""

import shlex
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lightning import Trainer

from bench.config.cell import Cell
from bench.config.fit_command import fit_command
from bench.config.settings import Config
from bench.config.tracks import TRACKS
from bench.console import is_main_process, is_quiet, say
from bench.data.cache import FEATURES
from bench.data.datamodule import DefectData
from bench.data.layout import Sample
from bench.data.products import make_data
from bench.data.region_of_interest import region_digest
from bench.data.remarks import describe_shapes
from bench.errors import CrashError, RunError, UsageError, first_line
from bench.evaluation.evaluation import TestedFold, evaluate
from bench.memory import forget_peak
from bench.models.base import Detector
from bench.models.parts.feature_cache import cached_features
from bench.models.parts.image_folder import SETTING as IMAGES
from bench.models.parts.image_folder import identify_images
from bench.models.parts.weights import identify_weights
from bench.phases import in_fold, left_to_others, on_device, phase
from bench.records.predictions import write_predictions
from bench.records.record import CHECKPOINT, DataRecord, Record, Status
from bench.runs.callbacks import quieten_lightning
from bench.runs.checkpoint import RESUME
from bench.runs.environment import describe_environment, device_of
from bench.runs.fitting import (
    FoldFit,
    build_model,
    fit_fold,
    fold_fits,
    fold_trainer,
    located,
    start_machine,
    where_it_goes_on,
)
from bench.runs.interruption import interruptible
from bench.runs.join_processes import agreed, join, lost_another, own_voice, same_as_first
from bench.runs.measure_cost import measure_cost
from bench.runs.plan import check_normalisation, check_plan, check_settings
from bench.runs.run_folder import TRACEBACK, make_folders, read_finished
from bench.runs.supervisor import share
from bench.runs.telling import announce_data, telling
from bench.tracking.run import Tracker, Uploads
from bench.tracking.service import Images, choose_mode, settle_mode
from bench.views.misclassified import Mistake, draw_mistakes, worst_mistakes
from bench.views.pictures import draw_confusion, draw_extremes
from bench.writing import write_atomically, writing_to


@dataclass(frozen=True)
class Options:
    """Options that change no metric: where the run lies, how it is watched, whether it begins anew."""

    runs: Path = Path("runs")
    force: bool = False
    resume: Path | None = None
    wandb: str | None = None
    group: str | None = None
    wandb_images: Images = "auto"  # test images go to W&B: auto = synthetic ones only
    wandb_checkpoint: bool = False
    tell_offline: bool = True  # print how to send the run; a sweep prints it once
    progress: bool = False


@dataclass(frozen=True)
class _Begun:
    """The state of a run before it learns from its first image."""

    data: DefectData
    cell: Cell
    folder: Path
    folds: list[FoldFit]
    started: str


@dataclass(frozen=True)
class _Fitted:
    """All folds of a run after their tests, on the first process."""

    model: Detector  # of the last fold
    trainer: Trainer
    tested: list[TestedFold]
    mistakes: list[Mistake]


def fit(config: Config, options: Options) -> tuple[Record, Path, bool]:
    """Run one cell; return its record, its folder, and whether the run was finished already."""
    with telling(_title(config), progress=options.progress):
        return _fit(config, options)


def _fit(config: Config, options: Options) -> tuple[Record, Path, bool]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    quieten_lightning()
    forget_peak()
    count = join(config.section("trainer"))
    with agreed():
        if (remark := check_normalisation(config)) and options.tell_offline:
            say(f"bench: {remark}")
        begun = _begin(config, options, started)
        with writing_to(begun.folder):
            done = None if options.force else read_finished(begun.folder)
    if same_as_first(done is not None):
        if done is None:  # the record is on a disk that this process does not share
            raise SystemExit(0)
        return done, begun.folder, True
    with agreed():
        model = _check(begun, options)
        make_folders(begun.folds, begun.folder, begun.cell, resume=options.resume is not None)
    if options.progress:
        announce_data(_title(config), begun.folds[0].data, len(begun.folds), _devices(begun.cell, count), begun.folder)
    _tell_where(begun, model, options)
    if is_main_process():
        options = replace(options, wandb=settle_mode(options.wandb, tell=options.tell_offline))
    if count > 1:
        del model  # each process builds its own
        return _fit_together(begun, options, count), begun.folder, False
    with own_voice():
        return _fit_here(begun, model, options), begun.folder, False


def _begin(config: Config, options: Options, started: str) -> _Begun:
    data, cell = prepare(config)
    folder = options.resume or cell.folder(options.runs)
    if folder.resolve().name != cell.fingerprint:
        advice = "is no run of these settings and data; leave out what differs, or --resume"
        with suppress(UsageError):  # the folder may hold no valid record
            if Record.read(folder).fingerprint == cell.fingerprint:
                advice = f"was renamed, and a run's folder bears its fingerprint; name it {cell.fingerprint} again"
        raise UsageError(f"{folder} {advice}")
    return _Begun(data, cell, folder, fold_fits(data, folder), started)


def _check(begun: _Begun, options: Options) -> Detector:
    """Refuse runs that cannot succeed; return the model of the first fold."""
    if is_main_process():
        choose_mode(options.wandb)
    model = build_model(begun.cell.config, begun.folds[0].data.spec)
    for fold in begun.folds:
        check_plan(model, fold.data, begun.cell.config)
    return model


def _fit_together(begun: _Begun, options: Options, count: int) -> Record:
    """Have several processes of this machine do the run, and make sure that the record says how it ended."""
    draft, nodes = _draft(begun, options), begun.cell.config.section("trainer").get("num_nodes", 1)

    def correct(error: BaseException, reason: str, details: str) -> None:
        if not is_main_process():
            return
        record = draft
        with suppress(UsageError):  # no record, or one of another version
            if (written := Record.read(begun.folder)).started == draft.started:
                record = written
        if record.status == "finished":
            return
        with writing_to(begun.folder):
            (begun.folder / TRACEBACK).unlink(missing_ok=True)
            if details:
                write_atomically(begun.folder / TRACEBACK, details)
            record.changed(status=_status_after(error), error=reason).write(begun.folder)

    arguments = (begun.cell.config, options, begun.started)
    with own_voice(), left_to_others():
        return share(fit_share, arguments, count=count, nodes=nodes, told=correct)


def fit_share(config: Config, options: Options, started: str) -> Record:
    """The work of each process that shares a run; the checks have been made before."""
    quieten_lightning()
    forget_peak()
    with telling(_title(config), progress=options.progress):
        begun = _begin(config, options, started)
        return _fit_here(begun, build_model(config, begun.folds[0].data.spec), options)


def _fit_here(begun: _Begun, model: Detector, options: Options) -> Record:
    """Learn and test in this process, alone or with others; the first one writes the record."""
    folder = begun.folder
    with writing_to(folder):
        tracker = _track(begun, options)
        draft = record = _draft(begun, options).changed(wandb=tracker.describe())
        try:
            with cached_features(begun.data.cache.parent / FEATURES, begun.data.feature_cache):
                tested = _fit_folds(begun, model, tracker, options)
            if tested is not None:  # only the first process, which has the results of all
                record = _conclude(begun, draft, tested, tracker)
        except BaseException as error:
            reason = "another process of the run has ended" if lost_another(error) else first_line(error)
            record = draft.changed(status=_status_after(error), error=reason)
            if isinstance(error, KeyboardInterrupt):
                _tell_resume(begun, options)
            if isinstance(error, KeyboardInterrupt | UsageError | RunError | OSError):
                raise
            if is_main_process():
                write_atomically(folder / TRACEBACK, traceback.format_exc())
            raise CrashError(f"the run failed: {reason}; see {folder / TRACEBACK}") from error
        finally:
            if is_main_process():
                record.write(folder)
                tracker.finish(record)
        if is_main_process():
            for fold in begun.folds:
                (fold.folder / RESUME).unlink(missing_ok=True)  # the finished model lies beside it
    return record


def _title(config: Config) -> str:
    return f"{config.model.name} on {config.category}"


def _devices(cell: Cell, count: int) -> str:
    device = device_of(cell.config.section("trainer")).type
    return device if count == 1 else f"{count} processes on {device}"


def _tell_where(begun: _Begun, model: Detector, options: Options) -> None:
    """Say where a run that is resumed goes on; `make_folders` has said it where nothing is there to go on from."""
    if options.resume is not None and is_main_process() and not is_quiet():
        where = where_it_goes_on(begun.folds, model, begun.cell.config.section("trainer")["max_epochs"])
        say(f"{_title(begun.cell.config)} {where}")


def _tell_resume(begun: _Begun, options: Options) -> None:
    """Print the command that goes on with an interrupted run; a sweep goes on with its cells by itself."""
    left = any((fold.folder / name).is_file() for fold in begun.folds for name in (RESUME, CHECKPOINT))
    if left and options.tell_offline and not is_quiet():
        say(f"bench: go on with it: {shlex.join(['bench', 'fit', '--resume', str(begun.folder)])}")


def _status_after(error: BaseException) -> Status:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _draft(begun: _Begun, options: Options) -> Record:
    """The record of a run that has begun, without metrics."""
    draft, data = new_record(begun.cell, begun.data, begun.started), begun.data
    found = {
        "classes": data.class_counts,
        "validation_images": len(begun.folds[0].data.validation_indices),
        "masks_without_pixels": data.split.masks_without_pixels,
    }
    return draft.changed(data=draft.data.model_copy(update=found))


def _track(begun: _Begun, options: Options) -> Tracker:
    """The run's W&B run, on the first process."""
    mode = choose_mode(options.wandb) if is_main_process() else "disabled"
    images = options.wandb_images == "on" or (options.wandb_images == "auto" and begun.data.is_synthetic)
    uploads = Uploads(images, options.wandb_checkpoint, options.tell_offline)
    return Tracker(begun.cell, begun.folder, mode, track=begun.cell.config.track, group=options.group, uploads=uploads)


def _fit_folds(begun: _Begun, model: Detector, tracker: Tracker, options: Options) -> _Fitted | None:
    """Fit and test each fold; None on all processes but the first.

    A classifier's worst mistakes are explained after each fold, because the next fold has another model.
    """
    tested, mistakes = [], []
    for number, fold in enumerate(begun.folds, 1):
        with in_fold(number, len(begun.folds)):
            if number > 1:
                model = build_model(begun.cell.config, fold.data.spec)
            trainer = fold_trainer(fold, begun.cell, tracker)
            with interruptible(trainer):
                machine = start_machine(trainer)
                on_device(machine.device.type)
                found = fit_fold(model, fold, begun.cell, trainer, machine, resume=options.resume is not None)
        if found is None:
            continue
        tested.append(found)
        if TRACKS[model.track].learns_from_defects:
            mistakes += worst_mistakes(model, fold.data, found.scored)
            tracker.draw_images(model, fold.data, found.scored)
    return _Fitted(model, trainer, tested, mistakes) if tested else None


def _conclude(begun: _Begun, draft: Record, fitted: _Fitted, tracker: Tracker) -> Record:
    """The record of a finished run from all its folds; writes its predictions, pictures and charts as well."""
    model, data = fitted.model, begun.folds[0].data
    with phase("metrics and their intervals"):
        evaluation = evaluate(fitted.tested)
    digest = write_predictions(begun.folder, evaluation.predictions)
    with phase("measuring cost"):
        cost = measure_cost(model, fitted.tested, begun.folds[-1].folder / CHECKPOINT, fitted.trainer)
    with phase("pictures"):
        if TRACKS[model.track].learns_from_defects:
            draw_confusion(evaluation, begun.folder)
            draw_mistakes(fitted.mistakes, begun.folder)
        else:
            draw_extremes(model, data, evaluation, begun.folder)
            tracker.draw_images(model, data, fitted.tested[0].scored, evaluation.map_range)
        tracker.log_test(evaluation)
    tested_on = draft.data.model_copy(update={"predictions_sha256": digest})
    return draft.changed(status="finished", data=tested_on, cost=cost, **evaluation.figures())


def prepare(config: Config) -> tuple[DefectData, Cell]:
    """Decode the data once and fix the cell; every mistake in the data is found here, before anything is written."""
    settings = config.settings
    data = make_data(config)
    check_settings(config)
    with phase("reading the images"):
        data.prepare_data()
    with phase("identifying the weights"):
        weights = identify_weights(settings["model"].get("weights"))
        weights |= identify_images(settings["model"].get(IMAGES))
    return data, Cell(located(config, data), data.full_category.digest, weights)


def _names(samples: Sequence[Sample] | None) -> list[str] | None:
    return None if samples is None else [sample.relative for sample in samples]


def new_record(cell: Cell, data: DefectData, started: str) -> Record:
    """The record of a run that has begun, from its settings and files; its status is `failed` until the run ends."""
    config = cell.config
    return Record(
        status="failed",
        model=config.model.name,
        track=config.track,  # type: ignore[arg-type] # the record checks it
        dataset=config.dataset,
        official=data.official,
        category=config.category,
        seed=config.settings["seed"],
        fold=config.settings["data"]["fold"],
        fingerprint=cell.fingerprint,
        config=config.as_dict(),
        overrides=config.overrides,
        reference=config.model.reference if data.products is None else None,  # papers tell of one for each product
        differs=config.model.differs if data.products is None else "",
        data=DataRecord(
            digest=cell.data_digest,
            counts=data.full_category.counts,
            validation_images=0,
            differences=data.differences,
            without_masks=data.full_category.without_masks,
            conversions=data.full_category.conversions,
            region=region_digest(data.full_category),
            shots=_names(data.chosen.shots) if data.fold is None else None,
            contamination=_names(data.chosen.contamination) if data.fold is None else None,
            held_out=sorted(data.full_category.held_out) or None,
            shapes=describe_shapes(data.full_category, data.geometry),
        ),
        weights=cell.weights,
        environment=describe_environment(device_of(config.section("trainer"))),
        started=started,
        command=fit_command(config),
    )
