"""The command line. Nothing heavy is imported before it is needed: `bench --help` must not wait for torch."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from bench import __version__
from bench.arguments import Parser, fit_parser, read_settings, run_parser
from bench.console import is_main_process, say
from bench.data.command import data
from bench.errors import RunError, UsageError, unknown
from bench.escaping import terminal
from bench.places import expand_environment
from bench.processes import find_launch, require_one_process
from bench.sweep.command import sweep
from bench.writing import describe_refusal

_EXAMPLES = """examples:
  bench fit --model vae --category screw --data synthetic
  bench fit --model padim --category screw --data.root ~/mvtec_ad --seed 1
  bench fit --model vae --help                     the settings of one method
  bench test --run runs/padim/screw/0123456789abcdef
  bench leaderboard runs
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 = done, 1 = the run failed, 2 = a mistake in the input, 130 = interrupted."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if hollow := [word for word in typed if "\0" in word]:  # no path or name holds one, and no shell can type it
            raise UsageError(f"'{hollow[0]}' holds a NUL character; leave it out")
        return _dispatch(typed)
    except UsageError as error:
        return _complain(str(error), 2)
    except RunError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except SystemExit as leaving:
        if leaving.code:
            raise
        return 0  # argparse leaves this way after --help
    except BrokenPipeError:
        return 0  # the reader of our output has left; nothing is wrong
    except OSError as error:
        return _complain(*describe_refusal(error))


def _complain(message: str, status: int) -> int:
    if is_main_process() or find_launch() is None:  # who is started by hand speaks on a terminal of its own
        print(f"bench: {terminal(message)}", file=sys.stderr)
    return status


def _dispatch(typed: list[str]) -> int:
    parser = _top_level()
    if not typed:
        raise UsageError("no command; name one, such as 'bench fit': 'bench --help' lists them")
    if typed[0] in ("-h", "--help"):
        parser.print_help()
        return 0
    if typed[0] == "--version":
        print(f"bench {__version__}")
        return 0
    command = _COMMANDS.get(typed[0])
    if command is None:
        raise unknown("command", typed[0], _COMMANDS)
    signal.signal(signal.SIGTERM, _interrupt)
    expand_environment()
    if typed[0] not in _SHARED:
        require_one_process(typed[0])
    if is_main_process():
        return command(typed[1:])
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        return command(typed[1:])


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _top_level() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<14}{str(function.__doc__).splitlines()[0]}" for name, function in _COMMANDS.items())
    return Parser(
        prog="bench",
        usage="bench COMMAND [OPTIONS]",
        description="Which method finds the defects of this product best, how sure is that, and what does it cost?",
        epilog=f"commands:\n{lines}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _fit(typed: list[str]) -> int:
    """train and test one method on one category"""
    parser = fit_parser()
    known, rest = parser.parse_known_args(typed)
    if known.help and not known.model:
        parser.print_help()
        return 0
    options = read_settings(rest, parser)

    from bench.config import resolve, settings_help
    from bench.places import with_data_of_now

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

    from bench.report import print_record
    from bench.run import Options, fit

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


def _settings_of(run: Path) -> dict[str, Any]:
    from bench.presets import read_yaml

    path = run / "config.yaml"
    if not path.is_file():
        raise UsageError(f"nothing to resume in {run}: no config.yaml")
    return read_yaml(path)


def _test(typed: list[str]) -> int:
    """test the checkpoint of a finished run again"""
    parser = run_parser("test", "Test the checkpoint of a finished run again.")
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of the run")
    if {"-h", "--help"} & set(typed):
        parser.print_help()
        return 0
    known, rest = parser.parse_known_args(typed)
    options = read_settings(rest, parser)
    if not known.run:
        raise UsageError("no run; name its folder: --run runs/MODEL/CATEGORY/FINGERPRINT")

    from bench.config import resolve
    from bench.places import with_data_of_now
    from bench.record import Record, settings_to_read
    from bench.report import print_test
    from bench.retest import test_again

    own = settings_to_read(Record.read(known.run))
    files = [own if "data.root" in options else with_data_of_now(own)]
    config = resolve(model=known.model, data=known.data, category=None, files=files, options=options)
    evaluation, record = test_again(config, known.run, progress=sys.stdout.isatty() and not known.json)
    if evaluation is not None:  # the first process has it
        print_test(evaluation, record, as_json=known.json)
    return 0


def _predict(typed: list[str]) -> int:
    """score new images with a finished run"""
    from bench.predict.command import predict

    return predict(typed)


def _report(typed: list[str]) -> int:
    """make a page of a run: figures, curves, its mistakes with heat maps"""
    from bench.run_report.command import report

    return report(typed)


def _study(typed: list[str]) -> int:
    """tell what each variant of a sweep changed, and whether that is more than chance"""
    from bench.leaderboard.study_command import study

    return study(typed)


def _models(typed: list[str]) -> int:
    """list the methods that can be run"""
    parser = Parser(prog="bench models", description="List the methods that can be run.")
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
    from bench.leaderboard.command import leaderboard

    return leaderboard(typed)


def _serve(typed: list[str]) -> int:
    """show leaderboards and the pictures of runs in a browser"""
    from bench.serve.command import serve

    return serve(typed)


def _compare(typed: list[str]) -> int:
    """show two runs side by side"""
    from bench.leaderboard.compare_command import compare

    return compare(typed)


def _wandb(typed: list[str]) -> int:
    """set up the workspace of a W&B project"""
    from bench.tracking.command import wandb_command

    return wandb_command(typed)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": _fit,
    "test": _test,
    "predict": _predict,
    "report": _report,
    "sweep": sweep,
    "study": _study,
    "models": _models,
    "leaderboard": _leaderboard,
    "compare": _compare,
    "serve": _serve,
    "data": data,
    "wandb": _wandb,
}
_SHARED = ("fit", "test")  # what several processes can do together
