"""The record of a finished run that decides: of any other run nothing can be told of new images."""

from pathlib import Path

from bench.config.tracks import TRACKS
from bench.errors import UsageError
from bench.records.record import RECORD, Record

_ENDED = {"failed": "failed", "interrupted": "was interrupted"}


def read_finished(folder: Path) -> Record:
    """The record of a finished run; a UsageError for any other."""
    record = Record.read(folder)
    check_has_model(folder, record)
    if record.status != "finished":
        raise UsageError(f"{folder} is no finished run, it {_ENDED[record.status]}; go on with it: bench fit --resume")
    if not TRACKS[record.track].learns_from_defects and record.metrics.get("threshold") is None:
        why = "was fitted on too few images to choose a" if record.data.shots else "holds no"
        raise UsageError(f"{folder / RECORD} {why} threshold, so nothing can be told from it; run the cell again")
    if TRACKS[record.track].learns_from_defects and record.confusion is None:
        raise UsageError(f"{folder / RECORD} holds no confusion matrix, so no classes; run the cell again")
    return record


def check_has_model(folder: Path, record: Record) -> None:
    """Refuse a record of maps that others made: there is nothing to test or to score with."""
    if not TRACKS[record.track].has_runs:
        raise UsageError(f"{folder} holds figures of maps that others made, and no model; name a run of bench fit")
