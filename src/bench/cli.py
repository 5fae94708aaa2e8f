"""The command line. Nothing heavy is imported before it is needed: `bench --help` must not wait for torch."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import __version__
from bench.console import is_main_process
from bench.errors import RunError, UsageError, unknown

_EXAMPLES = """examples:
  bench fit --model vae --category screw --data synthetic
  bench fit --model padim --category screw --data.root ~/mvtec_ad --seed 1
  bench fit --model vae --help                     the settings of one method
  bench test --run runs/padim/screw/0123456789abcdef
  bench leaderboard runs
"""
_FREE_SETTINGS = ("seed", "protocol", "threshold_quantile", "patience")


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def parse_all(self, typed: list[str]) -> argparse.Namespace:
        known, rest = self.parse_known_args(typed)
        if rest:
            raise self.unknown_option(rest[0])
        return known

    def unknown_option(self, word: str, others: Iterable[str] = ()) -> UsageError:
        if not word.startswith("--"):
            return UsageError(f"'{word}' belongs to no option; see '{self.prog} --help'")
        own = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        return unknown("option", word.partition("=")[0], [*own, *others])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 = done, 1 = the run failed, 2 = a mistake in the input, 130 = interrupted."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(typed)
    except UsageError as error:
        return _complain(str(error), 2)
    except RunError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left; nothing is wrong
        return 0


def _complain(message: str, status: int) -> int:
    print(f"bench: {message}", file=sys.stderr)
    return status


def _dispatch(typed: list[str]) -> int:
    parser = _top_level()
    if not typed or typed[0] in ("-h", "--help"):
        parser.print_help()
        return 0 if typed else 2
    if typed[0] == "--version":
        print(f"bench {__version__}")
        return 0
    command = _COMMANDS.get(typed[0])
    if command is None:
        raise unknown("command", typed[0], _COMMANDS)
    if is_main_process():
        signal.signal(signal.SIGTERM, _interrupt)
    return command(typed[1:])


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _top_level() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<14}{str(function.__doc__).splitlines()[0]}" for name, function in _COMMANDS.items())
    return _Parser(
        prog="bench",
        usage="bench COMMAND [OPTIONS]",
        description="Which method finds the defects of this product best, how sure is that, and what does it cost?",
        epilog=f"commands:\n{lines}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _run_parser(command: str, about: str) -> _Parser:
    parser = _Parser(prog=f"bench {command}", description=about, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this, and with --model the method's settings")
    parser.add_argument(
        "--model", metavar="NAME", help="method: a name from 'bench models', or a YAML file of your own"
    )
    parser.add_argument("--data", metavar="NAME", help="dataset: mvtec_ad (default) or synthetic, or a YAML file")
    parser.add_argument("--json", action="store_true", help="print the record as JSON instead of tables")
    return parser


def _fit_parser() -> _Parser:
    parser = _run_parser("fit", "Train and test one method on one category.")
    parser.add_argument(
        "--model", metavar="NAME", help="method: a name from 'bench models', or a YAML file of your own"
    )
    parser.add_argument("--category", metavar="NAME", help="category: a folder below the data root, such as screw")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", action="append", default=[], help="YAML settings; repeatable"
    )
    parser.add_argument("--print_config", action="store_true", help="print all settings, in the form --config reads")
    parser.add_argument("--runs", type=Path, help="folder of all runs (default: runs)")
    parser.add_argument("--force", action="store_true", help="run again although a finished record is there")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with an interrupted run, from its last epoch")
    parser.add_argument(
        "--wandb", choices=("online", "offline", "disabled"), help="Weights & Biases (default: online with a key)"
    )
    parser.add_argument("--group", help="W&B group (default: the model's name)")
    parser.epilog = (
        "settings, typed by the method: --seed N, --protocol model|full, --threshold_quantile Q, --patience N, "
        "--model.NAME VALUE, --data.NAME VALUE, --trainer.NAME VALUE; 'bench fit --model NAME --help' lists them"
    )
    return parser


def _fit(typed: list[str]) -> int:
    """train and test one method on one category"""
    parser = _fit_parser()
    known, rest = parser.parse_known_args(typed)
    if known.help and not known.model:
        parser.print_help()
        return 0
    options = _settings(rest, parser)

    from bench.config import resolve, settings_help

    if known.help:
        print(settings_help(known.model, known.data))
        return 0
    files, runs = known.config, known.runs or Path("runs")
    if known.resume:
        files = [_settings_of(known.resume), *files]
        runs = known.runs or known.resume.resolve().parents[2]
    config = resolve(model=known.model, data=known.data, category=known.category, files=files, options=options)
    if known.print_config:
        print(config.to_yaml(), end="")
        return 0

    from bench.report import print_record
    from bench.run import Options, fit

    record, folder, was_there = fit(
        config,
        Options(
            runs=runs,
            force=known.force,
            resume=known.resume is not None,
            wandb=known.wandb,
            group=known.group,
            progress=sys.stdout.isatty() and not known.json,
        ),
    )
    if is_main_process():
        if was_there:
            print(f"bench: finished before, on {record.started}; --force runs it again", file=sys.stderr)
        print_record(record, folder, as_json=known.json)
    return 0


def _settings_of(run: Path) -> Path:
    path = run / "config.yaml"
    if not path.is_file():
        raise UsageError(f"nothing to resume in {run}: no config.yaml")
    return path


def _test(typed: list[str]) -> int:
    """test the checkpoint of a finished run again"""
    parser = _run_parser("test", "Test the checkpoint of a finished run again.")
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of the run")
    if {"-h", "--help"} & set(typed):
        parser.print_help()
        return 0
    known, rest = parser.parse_known_args(typed)
    options = _settings(rest, parser)
    if not known.run:
        raise UsageError("no run; name its folder: --run runs/MODEL/CATEGORY/FINGERPRINT")

    from bench.config import resolve
    from bench.record import Record
    from bench.report import print_test
    from bench.run import test_again

    config = resolve(
        model=known.model, data=known.data, category=None, files=[Record.read(known.run).config], options=options
    )
    evaluation, record = test_again(config, known.run, progress=sys.stdout.isatty() and not known.json)
    if is_main_process():
        print_test(evaluation, record, as_json=known.json)
    return 0


def _models(typed: list[str]) -> int:
    """list the methods that can be run"""
    parser = _Parser(prog="bench models", description="List the methods that can be run.")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    known = parser.parse_all(typed)
    from bench.presets import preset_names, read_preset

    presets = [read_preset("model", name) for name in preset_names("model")]
    if known.json:
        keys = ("name", "track", "paper", "about")
        print(json.dumps([{key: getattr(preset, key) for key in keys} for preset in presets], indent=2))
        return 0
    from bench.report import print_models

    print_models(presets)
    return 0


def _leaderboard(typed: list[str]) -> int:
    """compile the records of runs into tables"""
    parser = _Parser(prog="bench leaderboard", description="Compile records into Markdown and CSV tables.")
    parser.add_argument(
        "records", nargs="*", type=Path, default=[Path("runs")], help="folders of runs or records (default: runs)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("leaderboards"), help="folder of the tables (default: leaderboards)"
    )
    known = parser.parse_all(typed)
    from bench.leaderboard.tables import write_leaderboards

    for path in write_leaderboards(known.records, known.out):
        print(path)
    return 0


def _settings(rest: list[str], parser: _Parser) -> dict[str, str]:
    """`--model.latent_dim 64` and `--model.latent_dim=64` as a mapping of dotted names to text."""
    options: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        key, equals, value = word[2:].partition("=")
        if not word.startswith("--") or ("." not in key and key not in _FREE_SETTINGS):
            raise parser.unknown_option(word, [f"--{name}" for name in _FREE_SETTINGS])
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise UsageError(f"--{key} expects a value")
        options[key] = value
    return options


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": _fit,
    "test": _test,
    "models": _models,
    "leaderboard": _leaderboard,
}
