"""Which cells of a sweep have finished records, which are due, and how long these may take."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench.config.cell import Cell
from bench.config.settings import Config
from bench.data.products import make_data
from bench.models.parts.image_folder import SETTING as IMAGES
from bench.models.parts.image_folder import identify_images
from bench.models.parts.weights import identify_weights
from bench.records.record import RECORD
from bench.runs.fitting import located
from bench.runs.run import Options
from bench.sweep.claims import forget_dead_claims
from bench.sweep.plan import Planned
from bench.sweep.tasks import Found, Task, find_run


@dataclass(frozen=True)
class Entry:
    """A cell of the plan: its task, whether it is due, and how long it takes by earlier records."""

    planned: Planned
    task: Task
    is_due: bool
    expected: float | None  # seconds


def pending_cells(
    cells: Sequence[Planned], options: Options, *, retry: int, lease: float, rerun_failed: bool
) -> list[Entry]:
    """Identify every cell by its data and weights, and read its record; a cell named twice is listed once."""
    digests: dict[tuple[str, str, str], str] = {}
    weights: dict[tuple[str | None, str | None], dict[str, str]] = {}
    tasks: dict[str, tuple[Planned, Task]] = {}
    for number, planned in enumerate(cells):
        cell = _identify(planned.config, digests, weights)
        found = find_run(cell.folder(options.runs))
        task = Task(number, planned.title, cell, options, found, retry, lease, str(Path.cwd()))
        tasks.setdefault(cell.fingerprint, (planned, task))
        if found.status == "finished":
            forget_dead_claims(task.folder)
    seconds = _seconds_of_records(options.runs, {cell.config.model.name for cell in cells})
    return [
        Entry(planned, task, _is_due(task.found, options, rerun_failed), _expected(task, seconds))
        for planned, task in tasks.values()
    ]


def _is_due(found: Found, options: Options, rerun_failed: bool) -> bool:
    if rerun_failed:
        return found.status == "failed"
    return options.force or found.status != "finished"


def _identify(
    config: Config,
    digests: dict[tuple[str, str, str], str],
    weights: dict[tuple[str | None, str | None], dict[str, str]],
) -> Cell:
    """The cell of a configuration; each file is read once for the whole plan."""
    settings = config.settings
    data = make_data(config)
    key = (config.data.class_path, str(data.find_root()), config.category)
    if key not in digests:
        digests[key] = data.full_category.digest
    named = settings["model"].get("weights"), settings["model"].get(IMAGES)
    if named not in weights:
        weights[named] = identify_weights(named[0]) | identify_images(named[1])
    return Cell(located(config, data), digests[key], weights[named])


def _seconds_of_records(runs: Path, models: set[str]) -> dict[tuple[str, ...], list[float]]:
    """Seconds of finished runs, by model and by model and category."""
    seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for model in models:
        for file in (runs / model).glob(f"*/*/{RECORD}"):
            found = find_run(file.parent)
            if found.status == "finished" and found.seconds is not None:
                seconds[model,].append(found.seconds)
                seconds[model, file.parents[1].name].append(found.seconds)
    return seconds


def _expected(task: Task, seconds: dict[tuple[str, ...], list[float]]) -> float | None:
    """Seconds in the cell's own record, else the mean of its model on its category, else of its model."""
    if task.found.seconds is not None:
        return task.found.seconds
    model, category = task.cell.config.model.name, task.cell.config.category
    known = seconds.get((model, category)) or seconds.get((model,))
    return mean(known) if known else None
