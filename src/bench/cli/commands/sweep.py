"""`bench sweep`: parse the options, plan and run the cells, and print their outcomes."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.arguments import Parser, add_tracking, read_settings
from bench.console import tell
from bench.errors import RunError, UsageError
from bench.writing import check_folder

if TYPE_CHECKING:
    from bench.sweep.launchers.base import Launcher
    from bench.sweep.pending import Entry
    from bench.sweep.tasks import Outcome

_LAUNCHER = "launcher."
_EXAMPLES = """settings of all cells: as for 'bench fit', such as --data.root FOLDER or --trainer.max_epochs 1

examples:
  bench sweep padim_ablation --model.weights FILE --dry-run
  bench sweep --models padim,vae --categories all --seeds 0,1,2 --set data.image_size=224,256
  bench sweep --models vae --categories screw --launcher slurm --launcher.sbatch.partition gpu
"""


def sweep_parser() -> Parser:
    """The options of `bench sweep`."""
    parser = Parser(
        prog="bench sweep",
        usage="bench sweep [FILE] [OPTIONS]",
        description="Run the cells of a grid, those that are not finished yet. FILE: one of conf/sweep, or your own.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", "--model", type=_names, metavar="A,B", help="methods, instead of the file's")
    parser.add_argument(
        "--categories", "--category", type=_names, metavar="A,B", help="categories, or all that the data have"
    )
    parser.add_argument("--seeds", type=_seeds, metavar="0,1,2", help="seeds (default: 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=A,B", help="a setting with several values; repeatable"
    )
    parser.add_argument("--data", metavar="NAME", help="dataset, as for 'bench fit'")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", action="append", default=[], help="YAML settings; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--force", action="store_true", help="run finished cells again")
    parser.add_argument("--rerun", choices=["failed"], help="run only the cells whose record says that they failed")
    parser.add_argument(
        "--retry", type=_count, default=0, metavar="N", help="try a cell that fails N times more (default: 0)"
    )
    parser.add_argument(
        "--launcher",
        metavar="NAME",
        default="local",
        help="local (default), slurm, ray, or a YAML file of your own; --launcher.NAME VALUE sets what is in it",
    )
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    add_tracking(parser, "the sweep's name")
    return parser


def run(typed: list[str]) -> int:
    """run the cells of a grid, those that are not finished yet"""
    parser = sweep_parser()
    known, rest = parser.parse_known_args(typed)
    known.sweep = _take_file(rest)
    options = read_settings(rest, parser)
    settings = {key: value for key, value in options.items() if not key.startswith(_LAUNCHER)}
    if "seed" in settings and known.sweep is None and known.seeds is None:
        known.seeds = _seeds(settings.pop("seed"))

    from bench.sweep.launchers.base import read_launcher

    launcher = read_launcher(
        known.launcher, {k.removeprefix(_LAUNCHER): v for k, v in options.items() if k.startswith(_LAUNCHER)}
    )
    launcher.check()
    if known.dry_run:
        _show_plan(_entries(known, settings, launcher), as_json=known.json)
        return 0
    launcher.warm()
    entries = _entries(known, settings, launcher)
    entries = _tracked(entries, known.wandb)
    outcomes = _run(entries, launcher, known.runs)
    return _conclude(entries, outcomes, as_json=known.json)


def _tracked(entries: "list[Entry]", wandb: str | None) -> "list[Entry]":
    """Ask W&B's service once for the whole sweep; where it does not answer, no cell asks it again."""
    from bench.tracking.service import choose_mode, settle_mode

    asked = choose_mode(wandb) == "online" and any(entry.is_due for entry in entries)
    if not asked or settle_mode(wandb) == "online":
        return entries
    return [replace(entry, task=entry.task.offline) for entry in entries]


def _run(entries: "Sequence[Entry]", launcher: "Launcher", runs: Path) -> "dict[int, Outcome]":
    from bench.sweep.execute import run_due
    from bench.tracking.service import tell_offline

    if any(entry.is_due for entry in entries):
        check_folder(runs)
    try:
        return run_due(entries, launcher)
    finally:
        tell_offline((entry.task.folder for entry in entries if entry.is_due), runs)


def _entries(known: argparse.Namespace, settings: dict[str, str], launcher: "Launcher") -> "list[Entry]":
    from bench.runs.run import Options
    from bench.sweep.pending import pending_cells
    from bench.sweep.plan import plan, read_sets, read_sweep
    from bench.tracking.service import choose_mode

    grid = read_sweep(known.sweep, {"models": known.models, "categories": known.categories, "seeds": known.seeds})
    cells = plan(grid, settings, known.data, files=known.config, sets=read_sets(known.set))
    choose_mode(known.wandb)  # a missing key is an error here, not in every cell
    group = known.group or (Path(known.sweep).stem if known.sweep else "sweep")
    options = Options(
        known.runs.absolute(),
        known.force,
        wandb=known.wandb,
        group=group,
        wandb_images=known.wandb_images,
        wandb_checkpoint=known.wandb_checkpoint,
        tell_offline=False,
    )
    return pending_cells(cells, options, retry=known.retry, lease=launcher.lease, rerun_failed=known.rerun == "failed")


def _show_plan(entries: "Sequence[Entry]", *, as_json: bool) -> None:
    from bench.sweep.progress_table import duration

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
        "category": config.category,
        "seed": config.settings["seed"],
        "folder": str(entry.task.folder),
        "status": status,
        "error": error or None,
        "seconds": outcome.seconds if outcome else found.seconds,
        "metrics": Record.read(entry.task.folder).metrics if found.status == status == "finished" else {},
    }


def _take_file(rest: list[str]) -> str | None:
    """Take out the one word that is no option's value; argparse would mistake a setting's value for it."""
    words = iter(enumerate(rest))
    for place, word in words:
        if not word.startswith("--"):
            return rest.pop(place)
        if "=" not in word:
            next(words, None)
    return None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds expects numbers such as 0,1,2, not '{text}'") from None


def _count(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"--retry expects a number, not '{text}'")
    return int(text)
