"""Cells one after the other, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.console import say
from bench.errors import RunError, UsageError
from bench.record import Record
from bench.run import Options, fit
from bench.sweep.grid import Planned


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its record, or the one line that says why there is none."""

    planned: Planned
    record: Record | None
    error: str = ""


_SHOWN = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro_0.30": "AUPRO@0.30"}


def run_cells(cells: Sequence[Planned], options: Options) -> list[Outcome]:
    """Run what no finished record answers yet, a line for each; a cell that fails stops no other."""
    outcomes = []
    for number, cell in enumerate(cells, start=1):
        say(f"{number} of {len(cells)}: {cell.title}")
        try:
            record, _, _ = fit(cell.config, options)
            outcome = Outcome(cell, record)
        except (UsageError, RunError, OSError) as error:
            outcome = Outcome(cell, None, str(error))
        print(describe(outcome), flush=True)
        outcomes.append(outcome)
    return outcomes


def describe(outcome: Outcome) -> str:
    """A cell and its figures, or why it has none."""
    if outcome.record is None:
        return f"{outcome.planned.title}: failed: {outcome.error}"
    metrics = outcome.record.metrics
    figures = [f"{title} {value:.4f}" for name, title in _SHOWN.items() if (value := metrics.get(name)) is not None]
    return f"{outcome.planned.title}: {', '.join(figures)}"
