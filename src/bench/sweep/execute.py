"""Run a sweep from its first cell to its last, on any launcher."""

import time
from collections.abc import Sequence

from bench.errors import UsageError
from bench.metrics.catalogue import metric_text, title_of
from bench.records.record import Record
from bench.sweep.claims import is_claimed
from bench.sweep.launchers.base import Launcher
from bench.sweep.pending import Entry
from bench.sweep.progress_table import ProgressTable
from bench.sweep.tasks import Outcome, Task, find_run

_SECONDS_BETWEEN_LOOKS = 0.5  # while another sweep runs all remaining cells
_SHOWN = ("image_auroc", "pixel_auroc", "aupro_0.30", "spro_0.05")


def run_due(entries: Sequence[Entry], launcher: Launcher) -> dict[int, Outcome]:
    """Run the due cells; return the outcome of each by its number. A full disk ends the sweep with a UsageError."""
    due = {entry.task.number: entry for entry in entries if entry.is_due}
    outcomes: dict[int, Outcome] = {}
    told = False
    if not due:
        return outcomes
    tasks = [entry.task for entry in due.values()]
    with ProgressTable(due, len(entries) - len(due)) as table, launcher.open(tasks) as pool:
        while len(outcomes) < len(due):
            batch = [task for task in tasks if task.number not in outcomes and not _is_taken(task)]
            if not batch:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                table.show(None)
                continue
            for event in pool.run(batch):
                if not isinstance(event, Outcome):
                    table.show(event)
                    continue
                table.show(event, describe(due[event.number], event))
                if event.unreached and not told:
                    told = True
                    table.show("W&B did not answer any more; what is tracked is kept offline")
                if event.disk_full:
                    raise UsageError(f"{event.error}; the sweep has ended, its finished records are whole")
                if event.status != "elsewhere":
                    outcomes[event.number] = event
    return outcomes


def _is_taken(task: Task) -> bool:
    """Whether another sweep runs the cell now; a cell that it has ended is submitted, to learn its outcome."""
    return is_claimed(task.folder)


def describe(entry: Entry, outcome: Outcome | None) -> str:
    """A cell and its metrics, or why it has none."""
    title, found = entry.planned.title, find_run(entry.task.folder)
    if outcome is not None and outcome.status != "finished":
        return f"{title}: {outcome.status}: {outcome.error}"
    if found.status == "missing":
        return f"{title}: not run"
    if found.status != "finished":
        return f"{title}: {found.status}: {found.error}"
    metrics = Record.read(entry.task.folder).metrics
    shown = [f"{title_of(name)} {metric_text(value)}" for name in _SHOWN if (value := metrics.get(name)) is not None]
    return f"{title}: {', '.join(shown)}"
