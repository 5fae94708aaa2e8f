"""`bench sweep`: run the cells of a grid, those that are not finished yet."""

import json
import shlex
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER, LAUNCHER, SWEEP, complete_settings
from bench.cli.grid_options import (
    grid_lists,
    grid_options,
    grid_words,
    parse_seeds,
    read_grid,
    read_grid_words,
    typed_runs,
)
from bench.cli.options import quiet_option, tracking_options
from bench.config.presets import preset_names, read_preset
from bench.config.setting_words import OF_LAUNCHER
from bench.console import is_quiet, say, tell
from bench.data.category_folders import ALL
from bench.errors import RunError, UsageError, counted

if TYPE_CHECKING:
    from bench.sweep.launchers.base import Launcher
    from bench.sweep.pending import Entry
    from bench.sweep.tasks import Outcome

_LAUNCHERS = preset_names("launcher")
_EXAMPLES = """Settings of all cells: as for 'bench fit', such as --data.root FOLDER or
--epochs 1; --workers N are the launcher's.

Examples:
  bench sweep padim_ablation --model.weights FILE --dry-run
  bench sweep --models padim,vae --categories all --seeds 0,1,2 --set data.image_size=224,256
  bench sweep --models padim --data mvtec_ad,visa --categories all --data.root ~/datasets
  bench sweep --models vae --categories screw --launcher slurm --launcher.sbatch.partition gpu
"""


def _count(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"--retry expects a number, not '{text}'")
    return int(text)


@command(
    "Run the cells of a grid, those that are not finished yet. FILE: one of conf/sweep, or your own.",
    Argument("sweep", required=False, type=SWEEP, metavar="[FILE]"),
    *grid_options(),
    option("--dry-run", is_flag=True, help="show the plan and stop"),
    option("--runs", type=FOLDER, default="runs", metavar="FOLDER", help="folder of all runs (default: runs)"),
    option("--force", is_flag=True, help="run finished cells again"),
    option("--rerun", type=click.Choice(["failed"]), help="run only the cells whose record says that they failed"),
    option("--retry", type=_count, default="0", metavar="N", help="try a cell that fails N times more (default: 0)"),
    option(
        "--launcher",
        type=LAUNCHER,
        metavar="NAME",
        default="local",
        help=f"{', '.join(_LAUNCHERS)}, or a YAML file of your own; --launcher.NAME VALUE sets what is in it (default: "
        "local)",
    ),
    option("--json", is_flag=True, help="print the cells as JSON"),
    *tracking_options("the sweep's name"),
    quiet_option(),
    settings=complete_settings,
    epilog=_EXAMPLES,
)
def run(known: Known) -> int:
    """Plan and run the cells, and print their outcomes."""
    options = read_grid_words(known, read_preset("launcher", known.launcher))
    own = {key.removeprefix(OF_LAUNCHER): text for key, text in options.items() if key.startswith(OF_LAUNCHER)}
    settings = {key: text for key, text in options.items() if not key.startswith(OF_LAUNCHER)}
    if "seed" in settings and known.sweep is None and known.seeds is None:
        known.seeds = parse_seeds(settings.pop("seed"))

    from bench.sweep.datasets import datasets_of
    from bench.sweep.launchers.base import read_launcher
    from bench.sweep.plan import read_sets

    launcher = read_launcher(known.launcher, own)
    read_sets(known.set)
    _check(known, settings)
    launcher.check()
    if not is_quiet():
        grid = read_grid(known)
        methods = counted(len(grid.models), "method")
        several = datasets_of(known.data or grid.data)
        of = f" of {', '.join(filter(None, several))}" if len(several) > 1 else ""
        say(f"bench: planning: {methods} on {', '.join(grid.subjects)}{of}, their images are read")
    if known.dry_run:
        _show_plan(_entries(known, settings, launcher), as_json=known.json)
        return 0
    entries = _entries(known, settings, launcher)

    from bench.interface.sweep import run_planned

    outcomes = run_planned(entries, launcher, known.runs)
    if not known.json:
        say(f"bench: its table: {_table_command(known, settings)}")
    return _conclude(entries, outcomes, as_json=known.json)


def _table_command(known: Known, settings: dict[str, str]) -> str:
    """The command that makes the table of this sweep: a study where it has a baseline, else a leaderboard."""
    if not known.sweep or read_grid(known).baseline is None:
        return shlex.join(["bench", "leaderboard", str(known.runs)])
    return shlex.join(["bench", "study", known.sweep, *typed_runs(known.runs), *grid_words(known, settings)])


def _check(known: Known, settings: dict[str, str]) -> None:
    """Refuse what is not there, before torch is imported."""
    from bench.cli.early import check_cell, check_one_model, check_place, check_values
    from bench.config.settings import flatten, read_layers
    from bench.sweep.datasets import datasets_of, root_of_each
    from bench.sweep.plan import read_sets

    sets, grid = read_sets(known.set), read_grid(known)
    datasets, files = datasets_of(known.data or grid.data), [*known.config, grid.settings]
    methods = [read_preset("model", name) for name in grid.models]
    check_one_model(methods if grid.one_model is not None else [], [*settings, *sets])
    for name in grid.models if sets else ():
        layers = read_layers(model=name, data=datasets[0], category=ALL, files=files)
        for key, value in ((key, value) for key, values in sets.items() for value in values):
            check_values(layers, settings | {key: value})
    if not sets.keys() & {"data.root", "data.masks", "model.weights"}:
        own = read_layers(model=grid.models[0], data=datasets[0], category=ALL, files=files).own
        roots = root_of_each(datasets, flatten(own) | settings)
        # Which of several datasets has which of the categories, its reader tells.
        categories = (grid.one_model or grid.categories) if len(datasets) == 1 else [ALL]
        for name, dataset in product(grid.models, datasets):
            layers = read_layers(model=name, data=dataset, category=ALL, files=files)
            check_cell(layers, categories, settings | roots[dataset])
    check_place(known.runs, "--runs FOLDER")


def _entries(known: Known, settings: dict[str, str], launcher: "Launcher") -> "list[Entry]":
    from bench.interface.sweep import plan_sweep
    from bench.runs.run import Options
    from bench.sweep.plan import read_sets

    options = Options(
        known.runs.absolute(),
        known.force,
        wandb=known.wandb,
        group=known.group or (Path(known.sweep).stem if known.sweep else "sweep"),
        wandb_images=known.wandb_images,
        wandb_checkpoint=known.wandb_checkpoint,
        tell_offline=False,
    )
    return plan_sweep(
        grid_lists(known),
        options,
        file=known.sweep,
        data=known.data,
        settings=settings,
        sets=read_sets(known.set),
        config=known.config,
        retry=known.retry,
        lease=launcher.lease,
        rerun_failed=known.rerun == "failed",
    )


def _show_plan(entries: "Sequence[Entry]", *, as_json: bool) -> None:
    from bench.phases import duration

    due = [entry for entry in entries if entry.is_due]
    if as_json:
        print(
            json.dumps(
                [_as_json(entry) | {"due": entry.is_due, "expected_seconds": entry.expected} for entry in entries],
                indent=2,
            )
        )
        return
    for entry in entries:
        expected = f", about {duration(entry.expected)}" if entry.is_due and entry.expected is not None else ""
        before = "" if entry.task.found.status == "missing" else f"{entry.task.found.status} before"
        words = ", ".join(filter(None, [before, "to do" if entry.is_due else ""])) or "left out"
        tell(f"{entry.planned.title}: {words}{expected}")
    known = [entry.expected for entry in due if entry.expected is not None]
    by = f", about {duration(sum(known))} of one worker by earlier records" if known else ""
    unknown = f" ({len(due) - len(known)} cells unknown)" if known and len(known) < len(due) else ""
    done = sum(entry.task.found.status == "finished" for entry in entries)
    print(f"{len(entries)} cells, {done} done, {len(due)} to do{by}{unknown}")


def _conclude(entries: "Sequence[Entry]", outcomes: "dict[int, Outcome]", *, as_json: bool) -> int:
    from bench.sweep.execute import describe

    if as_json:
        print(json.dumps([_as_json(entry, outcomes.get(entry.task.number)) for entry in entries], indent=2))
    else:
        for entry in entries:
            tell(describe(entry, outcomes.get(entry.task.number)))
    failed = sum(outcome.status != "finished" for outcome in outcomes.values())
    if failed:
        raise RunError(f"{failed} of {len(outcomes)} cells failed; the others are finished")
    return 0


def _as_json(entry: "Entry", outcome: "Outcome | None" = None) -> dict[str, Any]:
    from bench.records.record import Record
    from bench.sweep.tasks import find_run

    found, config = find_run(entry.task.folder), entry.planned.config
    status, error = (outcome.status, outcome.error) if outcome else (found.status, found.error)
    return {
        "model": config.model.name,
        "variant": entry.planned.variant,
        "dataset": config.dataset,
        "category": config.category,
        "seed": config.settings["seed"],
        "folder": str(entry.task.folder),
        "status": status,
        "error": error or None,
        "seconds": outcome.seconds if outcome else found.seconds,
        "metrics": Record.read(entry.task.folder).metrics if found.status == status == "finished" else {},
    }
