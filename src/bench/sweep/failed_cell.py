"""The record of a cell that failed without a record from its run."""

from datetime import UTC, datetime

from bench.data.products import make_data
from bench.runs.run import new_record
from bench.sweep.tasks import Task, find_run
from bench.writing import writing_to


def write_failure(task: Task, error: str) -> None:
    """Write a record with the error into the cell's folder; a finished record, or a newer one, is left as it is."""
    there = find_run(task.folder)
    if there.status == "finished" or there.stamp != task.found.stamp:
        return
    cell, config = task.cell, task.cell.config
    record = new_record(cell, make_data(config), datetime.now(UTC).isoformat(timespec="seconds")).changed(error=error)
    with writing_to(task.folder):
        task.folder.mkdir(parents=True, exist_ok=True)
        record.write(task.folder)
