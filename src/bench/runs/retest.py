"""The test of a finished run, repeated from its checkpoints."""

from pathlib import Path

from bench.config.cell import Cell
from bench.config.settings import Config
from bench.data.datamodule import DefectData
from bench.errors import UsageError
from bench.evaluation.evaluation import Evaluation, ProductThresholds, evaluate
from bench.phases import in_fold, left_to_others, phase
from bench.records.record import CHECKPOINT, Record
from bench.runs.callbacks import quieten_lightning
from bench.runs.checkpoint import load_checkpoint
from bench.runs.fitting import build_model, fold_fits, fold_trainer, start_machine, test_fold
from bench.runs.interruption import interruptible
from bench.runs.join_processes import agreed, join, own_voice
from bench.runs.run import prepare
from bench.runs.supervisor import share
from bench.runs.telling import telling


def test_again(config: Config, folder: Path, *, progress: bool = False) -> tuple[Evaluation | None, Record]:
    """Test the checkpoints of a finished run again; return the new metrics, on the first process, and the record."""
    with telling(f"{config.model.name} on {config.category}", progress=progress):
        return _test_again(config, folder, progress=progress)


def _test_again(config: Config, folder: Path, *, progress: bool) -> tuple[Evaluation | None, Record]:
    quieten_lightning()
    settings = config.section("trainer")
    count = join(settings)
    with agreed():
        record = Record.read(folder)
        data, cell = prepare(config)
        if data.full_category.digest != record.data.digest:
            raise UsageError(
                f"these are not the images that {folder} was tested on; set --data.root to the folder of then"
            )
    if count > 1:
        arguments = (config, folder, progress)
        with left_to_others():
            return share(test_share, arguments, count=count, nodes=settings.get("num_nodes", 1)), record
    with own_voice():
        return _test_here(data, cell, folder), record


def test_share(config: Config, folder: Path, progress: bool) -> Evaluation | None:
    """The work of each process that shares a test."""
    quieten_lightning()
    with telling(f"{config.model.name} on {config.category}", progress=progress):
        return _test_here(*prepare(config), folder)


def _test_here(data: DefectData, cell: Cell, folder: Path) -> Evaluation | None:
    record, tested = Record.read(folder), []
    thresholds = None
    if (products := record.products) is not None:
        thresholds = {
            name: ProductThresholds(product.metrics.get("threshold"), product.metrics.get("seg_threshold"))
            for name, product in products.items()
        }
    folds = fold_fits(data, folder)
    for number, fold in enumerate(folds, 1):
        with in_fold(number, len(folds)):
            model = build_model(cell.config, fold.data.spec, weights="none")
            load_checkpoint(model, fold.folder / CHECKPOINT, record.fingerprint)
            trainer = fold_trainer(fold, cell, None)
            with interruptible(trainer):
                segmentation = record.metrics.get("seg_threshold")
                found = test_fold(model, fold, start_machine(trainer), thresholds, segmentation)
        tested += [] if found is None else [found]
    if not tested:
        return None
    with phase("metrics and their intervals"):
        return evaluate(tested)
