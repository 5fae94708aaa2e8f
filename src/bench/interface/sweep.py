"""A grid of runs from Python: plan its cells, run those that are due."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config.products import read_products
from bench.interface.run import Run, as_text
from bench.records.record import RECORD, Record
from bench.runs.run import Options
from bench.sweep.execute import run_due
from bench.sweep.launchers.base import Launcher, read_launcher
from bench.sweep.pending import Entry, pending_cells
from bench.sweep.plan import plan, read_sweep
from bench.sweep.tasks import Outcome
from bench.tracking.service import Images, choose_mode, settle_mode, tell_offline
from bench.writing import check_folder


def run_sweep(
    models: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    file: Path | str | None = None,
    one_model: str | Sequence[str] | None = None,
    data: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    runs: Path | str = "runs",
    force: bool = False,
    retry: int = 0,
    launcher: str = "local",
    launcher_settings: Mapping[str, Any] | None = None,
    wandb: str | None = None,
    group: str | None = None,
    wandb_images: Images = "auto",
    wandb_checkpoint: bool = False,
) -> list[Run]:
    """Run every method on every category with every seed, as `bench sweep` does; finished cells are found again.

    Args:
        models: presets' names, or paths of YAML files of your own.
        categories: folders below the data root, or `["all"]`.
        seeds: seeds of everything random (default: 0).
        file: a sweep of `conf/sweep` by its name, or a YAML file; the arguments above replace what it says.
        one_model: the products that one model is for, or `all`, instead of a model for each of `categories`.
        data: a dataset's name or the path of its YAML file; or several, each in the folder of its name below
            `data.root`.
        settings: settings of all cells, by the command line's names.
        vary: settings with several values, such as `{"data.image_size": [224, 256]}`.
        runs: folder of all runs.
        force: run finished cells again.
        retry: how often a cell that fails is tried again.
        launcher: `local`, `slurm`, `ray`, or the path of a YAML file.
        launcher_settings: what is in the launcher's file, such as `{"workers": 2}`. In a notebook `{"workers": 0}` runs
            the cells in the kernel's own process.
        wandb, group, wandb_images, wandb_checkpoint: as for `fit`; the group is by default the name of the file.

    Returns:
        The run of every cell that has a record, in the order of the plan. A cell that failed is among them: its
        `record.status` is `failed`, its `record.error` says why.

    Raises:
        UsageError: a mistake in the input; nothing has run then.
    """
    given = read_launcher(launcher, {name: as_text(value) for name, value in (launcher_settings or {}).items()})
    given.check()
    where = Path(runs).expanduser().absolute()
    products = None if one_model is None else read_products(one_model)
    group = group or (Path(file).stem if file else "sweep")
    entries = plan_sweep(
        {"models": models, "categories": categories, "one_model": products, "seeds": seeds},
        Options(where, force, None, wandb, group, wandb_images, wandb_checkpoint, tell_offline=False),
        file=None if file is None else str(file),
        data=data,
        settings={name: as_text(value) for name, value in (settings or {}).items()},
        sets={name: [as_text(value) for value in values] for name, values in (vary or {}).items()},
        retry=retry,
        lease=given.lease,
    )
    run_planned(entries, given, Path(runs).expanduser())
    folders = [entry.task.folder for entry in entries]
    return [Run(folder, Record.read(folder)) for folder in folders if (folder / RECORD).is_file()]


def plan_sweep(
    lists: Mapping[str, Sequence[Any] | None],
    options: Options,
    *,
    file: str | None,
    data: str | Sequence[str] | None,
    settings: Mapping[str, str],
    sets: Mapping[str, list[str]],
    config: Sequence[Path] = (),
    retry: int,
    lease: float,
    rerun_failed: bool = False,
) -> list[Entry]:
    """The cells of a sweep; `lists` are its models, categories and seeds, which replace those of its file."""
    given = {name: None if values is None else list(values) for name, values in lists.items()}
    cells = plan(read_sweep(file, given), settings, data, files=config, sets=dict(sets))
    choose_mode(options.wandb)  # a missing key is an error here, not in every cell
    return pending_cells(cells, options, retry=retry, lease=lease, rerun_failed=rerun_failed)


def run_planned(entries: Sequence[Entry], launcher: Launcher, runs: Path) -> dict[int, Outcome]:
    """Run the cells that are due; return the outcome of each by its number. `runs` is their folder as it was typed."""
    due = [entry for entry in entries if entry.is_due]
    if not due:
        return {}
    options = due[0].task.options
    check_folder(runs)
    # W&B's service is asked once for the whole sweep; where it does not answer, no cell asks it again.
    if choose_mode(options.wandb) == "online" and settle_mode(options.wandb) != "online":
        entries = [replace(entry, task=entry.task.offline) for entry in entries]
    try:
        return run_due(entries, launcher)
    finally:
        tell_offline((entry.task.folder for entry in due), runs)
