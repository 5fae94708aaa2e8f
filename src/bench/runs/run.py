"""A run from its settings to its record, step by step."""

import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lightning import Trainer

from bench.config.cell import Cell
from bench.config.fit_command import fit_command
from bench.config.settings import Config
from bench.console import is_main_process
from bench.data.datamodule import DefectData
from bench.data.remarks import describe_shapes
from bench.errors import CrashError, RunError, UsageError, first_line
from bench.evaluation.evaluation import Tested, evaluate
from bench.memory import forget_peak
from bench.models.base import Detector
from bench.models.parts.weights import identify_weights
from bench.records.predictions import write_predictions
from bench.records.record import CHECKPOINT, DataRecord, Record, Status
from bench.runs.callbacks import quieten_lightning
from bench.runs.checkpoint import RESUME
from bench.runs.environment import describe_environment, device_of
from bench.runs.fitting import Part, build_model, fit_part, located, part_trainer, parts_of, start_machine
from bench.runs.interruption import interruptible
from bench.runs.join_processes import agreed, join, lost_another, own_voice, same_as_first
from bench.runs.measure_cost import measure_cost
from bench.runs.plan import check_plan, check_settings
from bench.runs.run_folder import TRACEBACK, make_folders, read_finished
from bench.runs.supervisor import share
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
    parts: list[Part]
    started: str


@dataclass(frozen=True)
class _Fitted:
    """All parts of a run after their tests, on the first process."""

    model: Detector  # of the last part
    trainer: Trainer
    tested: list[Tested]
    mistakes: list[Mistake]


def fit(config: Config, options: Options) -> tuple[Record, Path, bool]:
    """Run one cell; return its record, its folder, and whether the run was finished already."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    quieten_lightning()
    forget_peak()
    count = join(config.section("trainer"))
    with agreed():
        begun = _begin(config, options, started)
        with writing_to(begun.folder):
            done = None if options.force else read_finished(begun.folder)
    if same_as_first(done is not None):
        if done is None:  # the record is on a disk that this process does not share
            raise SystemExit(0)
        return done, begun.folder, True
    with agreed():
        model = _check(begun, options)
        make_folders(begun.parts, begun.folder, begun.cell, resume=options.resume is not None)
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
    return _Begun(data, cell, folder, parts_of(data, folder), started)


def _check(begun: _Begun, options: Options) -> Detector:
    """Refuse runs that cannot succeed; return the model of the first part."""
    if is_main_process():
        choose_mode(options.wandb)
    model = build_model(begun.cell.config, begun.parts[0].data.spec)
    for part in begun.parts:
        check_plan(model, part.data, begun.cell.config)
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
    with own_voice():
        return share(fit_share, arguments, count=count, nodes=nodes, told=correct)


def fit_share(config: Config, options: Options, started: str) -> Record:
    """The work of each process that shares a run; the checks have been made before."""
    quieten_lightning()
    forget_peak()
    begun = _begin(config, options, started)
    return _fit_here(begun, build_model(config, begun.parts[0].data.spec), options)


def _fit_here(begun: _Begun, model: Detector, options: Options) -> Record:
    """Learn and test in this process, alone or with others; the first one writes the record."""
    folder = begun.folder
    with writing_to(folder):
        tracker = _track(begun, model, options)
        draft = record = _draft(begun, options).changed(wandb=tracker.describe())
        try:
            tested = _fit_parts(begun, model, tracker, options)
            if tested is not None:  # only the first process, which has the results of all
                record = _conclude(begun, draft, tested, tracker)
        except BaseException as error:
            reason = "another process of the run has ended" if lost_another(error) else first_line(error)
            record = draft.changed(status=_status_after(error), error=reason)
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
            for part in begun.parts:
                (part.folder / RESUME).unlink(missing_ok=True)  # the finished model lies beside it
    return record


def _status_after(error: BaseException) -> Status:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _draft(begun: _Begun, options: Options) -> Record:
    """The record of a run that has begun, without metrics."""
    draft, data = new_record(begun.cell, begun.data, begun.started), begun.data
    found = {
        "classes": data.class_counts,
        "validation_images": len(begun.parts[0].data.validation_indices),
        "masks_without_pixels": data.split.masks_without_pixels,
    }
    return draft.changed(data=draft.data.model_copy(update=found))


def _track(begun: _Begun, model: Detector, options: Options) -> Tracker:
    """The run's W&B run, on the first process."""
    mode = choose_mode(options.wandb) if is_main_process() else "disabled"
    images = options.wandb_images == "on" or (options.wandb_images == "auto" and begun.data.is_synthetic)
    uploads = Uploads(images, options.wandb_checkpoint, options.tell_offline)
    return Tracker(begun.cell, begun.folder, mode, track=model.track, group=options.group, uploads=uploads)


def _fit_parts(begun: _Begun, model: Detector, tracker: Tracker, options: Options) -> _Fitted | None:
    """Fit and test each part; None on all processes but the first.

    A classifier's worst mistakes are explained after each part, because the next part has another model.
    """
    tested, mistakes = [], []
    for number, part in enumerate(begun.parts):
        if number:
            model = build_model(begun.cell.config, part.data.spec)
        trainer = part_trainer(part, begun.cell, tracker, progress=options.progress)
        with interruptible(trainer):
            machine = start_machine(trainer, progress=options.progress)
            found = fit_part(model, part, begun.cell, trainer, machine, resume=options.resume is not None)
        if found is None:
            continue
        tested.append(found)
        if model.track == "supervised":
            mistakes += worst_mistakes(model, part.data, found.scored)
            tracker.draw_images(model, part.data, found.scored)
    return _Fitted(model, trainer, tested, mistakes) if tested else None


def _conclude(begun: _Begun, draft: Record, fitted: _Fitted, tracker: Tracker) -> Record:
    """The record of a finished run from all its parts; writes its predictions, pictures and charts as well."""
    model, data = fitted.model, begun.parts[0].data
    evaluation = evaluate(fitted.tested)
    digest = write_predictions(begun.folder, evaluation.predictions)
    cost = measure_cost(model, fitted.tested, begun.parts[-1].folder / CHECKPOINT, fitted.trainer)
    if model.track == "supervised":
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
    data: DefectData = config.data.load_class()(
        config.category, settings["seed"], settings["protocol"], **config.section("data")
    )
    check_settings(config)
    data.prepare_data()
    return data, Cell(located(config, data), data.whole.digest, identify_weights(settings["model"].get("weights")))


def new_record(cell: Cell, data: DefectData, started: str) -> Record:
    """The record of a run that has begun, from its settings and files; its status is `failed` until the run ends."""
    config = cell.config
    return Record(
        status="failed",
        model=config.model.name,
        track=config.model.load_class().track,  # type: ignore[attr-defined] # a Detector: its settings were parsed
        dataset=config.dataset,
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
            digest=cell.data_digest,
            counts=data.whole.counts,
            validation_images=0,
            differences=data.differences,
            without_masks=data.whole.without_masks,
            conversions=data.whole.conversions,
            shapes=describe_shapes(data.whole, data.geometry),
        ),
        weights=cell.weights,
        environment=describe_environment(device_of(config.section("trainer"))),
        started=started,
        command=fit_command(config),
    )
