"""What runs again when a worker dies: its cell, from the last epoch that the run saved."""

from collections import Counter

from bench.sweep.tasks import Task


class Retries:
    """Counts the deaths of workers by cell. A cell runs again as often as `--retry` says, then it has failed.

    A cell whose run fails without a death is tried again by its own process (`run_cell.py`). SLURM and Ray start the
    cell of a dead worker again by themselves (`requeues`, `deaths` in `conf/launcher/`).
    """

    def __init__(self) -> None:
        self._deaths: Counter[int] = Counter()

    def after_death(self, task: Task) -> bool:
        """Count a death; whether the cell runs again."""
        self._deaths[task.number] += 1
        return self._deaths[task.number] <= task.retry
