"""The folder of a run: creating it, refusing it, finding a finished run in it."""

from collections.abc import Sequence
from pathlib import Path

from bench.config.cell import Cell
from bench.config.settings import SETTINGS
from bench.console import is_main_process
from bench.errors import UsageError
from bench.records.normal_scores import NORMAL_SCORES
from bench.records.record import CHECKPOINT, RECORD, Record
from bench.runs.checkpoint import RESUME, check_stamp
from bench.runs.fitting import FoldFit
from bench.writing import write_atomically, writing_to

TRACEBACK = "traceback.txt"


def read_finished(folder: Path) -> Record | None:
    """The record of a finished run in this folder, if there is one."""
    if not (folder / RECORD).is_file():
        return None
    record = Record.read(folder)
    return record if record.status == "finished" else None


def make_folders(folds: Sequence[FoldFit], folder: Path, cell: Cell, *, resume: bool) -> None:
    """Make the folds' folders for a new run, or check that their content is of the run that is resumed."""
    if resume:
        for fold in folds:
            if (fold.folder / RESUME).is_file():
                check_stamp(fold.folder / RESUME, cell)
    if not is_main_process():
        return
    with writing_to(folder):
        try:
            for fold in folds:
                fold.folder.mkdir(parents=True, exist_ok=True)
                if not resume:
                    for name in (CHECKPOINT, NORMAL_SCORES):
                        (fold.folder / name).unlink(missing_ok=True)
        except FileNotFoundError as error:  # for example below /proc
            raise UsageError(f"cannot write to {folder}; name another folder: --runs FOLDER") from error
        (folder / TRACEBACK).unlink(missing_ok=True)
        write_atomically(folder / SETTINGS, cell.config.to_yaml())
