"""`bench fit`: train and test one method from the command line."""

import sys
from pathlib import Path
from typing import Any

from bench.cli.arguments import Parser, add_tracking, read_settings, run_parser
from bench.console import is_main_process, say
from bench.errors import UsageError


def run(typed: list[str]) -> int:
    """train and test one method on one category"""
    parser = fit_parser()
    known, rest = parser.parse_known_args(typed)
    if known.help and not known.model:
        parser.print_help()
        return 0
    options = read_settings(rest, parser)

    from bench.config.paths import with_data_of_now
    from bench.config.settings import resolve, settings_help

    if known.help:
        print(settings_help(known.model, known.data))
        return 0
    files, runs = known.config, known.runs or Path("runs")
    if known.resume:
        own = _settings_of(known.resume)
        files = [own if "data.root" in options else with_data_of_now(own), *files]
    config = resolve(model=known.model, data=known.data, category=known.category, files=files, options=options)
    if known.print_config:
        print(config.to_yaml(), end="")
        return 0

    from bench.cli.terminal import print_record
    from bench.runs.run import Options, fit

    record, folder, was_there = fit(
        config,
        Options(
            runs=runs,
            force=known.force,
            resume=known.resume,
            wandb=known.wandb,
            group=known.group,
            wandb_images=known.wandb_images,
            wandb_checkpoint=known.wandb_checkpoint,
            progress=sys.stdout.isatty() and not known.json,
        ),
    )
    if is_main_process():
        if was_there:
            say(f"bench: finished before, on {record.started}; --force runs it again")
        print_record(record, folder, as_json=known.json)
    return 0


def fit_parser() -> Parser:
    """The options of `bench fit`."""
    parser = run_parser("fit", "Train and test one method on one category.")
    parser.add_argument("--category", metavar="NAME", help="category: a folder below the data root, such as screw")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", action="append", default=[], help="YAML settings; repeatable"
    )
    parser.add_argument("--print_config", action="store_true", help="print all settings, in the form --config reads")
    parser.add_argument("--runs", type=Path, help="folder of all runs (default: runs)")
    parser.add_argument("--force", action="store_true", help="run again although a finished record is there")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with an interrupted run, from its last epoch")
    add_tracking(parser, "the model's name")
    parser.epilog = (
        "settings, typed by the method: --seed N, --protocol model|full, --threshold_quantile Q, --patience N, "
        "--model.NAME VALUE, --data.NAME VALUE, --trainer.NAME VALUE; 'bench fit --model NAME --help' lists them"
    )
    return parser


def _settings_of(run: Path) -> dict[str, Any]:
    from bench.config.presets import read_yaml

    path = run / "config.yaml"
    if not path.is_file():
        raise UsageError(f"nothing to resume in {run}: no config.yaml")
    return read_yaml(path)
