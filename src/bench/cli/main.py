"""The command line. Nothing heavy is imported before it is needed: `bench --help` must not wait for torch."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from bench import __version__
from bench.cli import commands
from bench.cli.listing import command_names, load_command, print_commands
from bench.config.paths import expand_environment
from bench.console import is_main_process
from bench.errors import RunError, UsageError, unknown
from bench.escaping import terminal
from bench.processes import find_launch, require_one_process
from bench.writing import describe_refusal

_FIRST = ("fit", "test", "predict", "report", "sweep", "study", "models", "leaderboard", "compare", "serve", "data")
_SHARED = ("fit", "test")  # commands that several processes can run together
_ABOUT = "Which method finds the defects of this product best, how sure is that, and what does it cost?"
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
        return 0  # argparse exits this way after --help
    except BrokenPipeError:
        return 0  # the reader has closed the pipe; this is no error
    except OSError as error:
        return _complain(*describe_refusal(error))


def _complain(message: str, status: int) -> int:
    if is_main_process() or find_launch() is None:  # a process started by hand has its own terminal
        print(f"bench: {terminal(message)}", file=sys.stderr)
    return status


def _dispatch(typed: list[str]) -> int:
    names = command_names(commands, _FIRST)
    if not typed:
        raise UsageError("no command; name one, such as 'bench fit': 'bench --help' lists them")
    if typed[0] in ("-h", "--help"):
        print_commands(commands, names, prog="bench", description=_ABOUT, examples=_EXAMPLES)
        return 0
    if typed[0] == "--version":
        print(f"bench {__version__}")
        return 0
    if typed[0] not in names:
        raise unknown("command", typed[0], names)
    signal.signal(signal.SIGTERM, _interrupt)
    expand_environment()
    if typed[0] not in _SHARED:
        require_one_process(typed[0])
    command = load_command(commands, typed[0])
    if is_main_process():
        return command(typed[1:])
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        return command(typed[1:])


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
