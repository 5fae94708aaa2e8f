"""The test of a finished run, repeated from its checkpoints."""

from pathlib import Path

from bench.config.cell import Cell
from bench.config.settings import Config
from bench.data.datamodule import DefectData
from bench.errors import UsageError
from bench.evaluation.evaluation import Evaluation, evaluate
from bench.records.record import CHECKPOINT, Record
from bench.runs.callbacks import quieten_lightning
from bench.runs.checkpoint import load_checkpoint
from bench.runs.fitting import build_model, part_trainer, parts_of, start_machine, test_part
from bench.runs.interruption import interruptible
from bench.runs.join_processes import agreed, join, own_voice
from bench.runs.run import prepare
from bench.runs.supervisor import share


def test_again(config: Config, folder: Path, *, progress: bool = False) -> tuple[Evaluation | None, Record]:
    """Test the checkpoints of a finished run again; return the new metrics, on the first process, and the record."""
    quieten_lightning()
    settings = config.section("trainer")
    count = join(settings)
    with agreed():
        record = Record.read(folder)
        data, cell = prepare(config)
        if data.whole.digest != record.data.digest:
            raise UsageError(
                f"these are not the images that {folder} was tested on; set --data.root to the folder of then"
            )
    if count > 1:
        arguments = (config, folder, progress)
        return share(test_share, arguments, count=count, nodes=settings.get("num_nodes", 1)), record
    with own_voice():
        return _test_here(data, cell, folder, progress=progress), record


def test_share(config: Config, folder: Path, progress: bool) -> Evaluation | None:
    """The work of each process that shares a test."""
    quieten_lightning()
    return _test_here(*prepare(config), folder, progress=progress)


def _test_here(data: DefectData, cell: Cell, folder: Path, *, progress: bool) -> Evaluation | None:
    fingerprint, tested = Record.read(folder).fingerprint, []
    for part in parts_of(data, folder):
        model = build_model(cell.config, part.data.spec, weights="none")
        load_checkpoint(model, part.folder / CHECKPOINT, fingerprint)
        trainer = part_trainer(part, cell, None, progress=progress)
        with interruptible(trainer):
            found = test_part(model, part, start_machine(trainer, progress=progress))
        tested += [] if found is None else [found]
    return evaluate(tested) if tested else None
