"""The command line. Nothing heavy is imported before it is needed: `bench --help` must not wait for torch."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from bench.cli import commands
from bench.cli.groups import Commands
from bench.config.paths import expand_environment
from bench.console import is_main_process
from bench.errors import RunError, UsageError
from bench.escaping import terminal
from bench.processes import find_launch, let_the_first_speak, require_one_process
from bench.version import __version__
from bench.writing import describe_refusal

_FIRST = (
    "fit", "test", "predict", "report", "sweep", "study", "models", "leaderboard", "compare", "verify", "serve", "data",
)  # fmt: skip
_SHARED = ("fit", "test")  # commands that several processes can run together
_MISTAKE = 2  # the exit status of a mistake in the input, which each of several processes finds
_EXAMPLES = """Examples:
  bench fit vae screw --data synthetic
  bench fit --model padim --category screw --data.root ~/mvtec_ad --seed 1
  bench fit --model vae --help                     the settings of one method
  bench test --run runs/padim/screw/0123456789abcdef
  bench leaderboard runs
"""


class _Bench(Commands):
    aliases: Mapping[str, str] = {"train": "fit", "list": "models"}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `bench help fit` as `bench fit --help`."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and prepare the process for it."""
        name, found, rest = super().resolve_command(ctx, args)
        if name and not ctx.resilient_parsing:
            signal.signal(signal.SIGTERM, _interrupt)
            expand_environment()
            if name not in _SHARED:
                require_one_process(name)
        return name, found, rest


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        print(f"bench {__version__}")
        ctx.exit()


BENCH = _Bench(
    commands,
    _FIRST,
    kind="command",
    none="no command; name one, such as 'bench fit': 'bench --help' lists them",
    help="Which method finds the defects of this product best, how sure is that, and what does it cost?",
    epilog=_EXAMPLES,
    params=[
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="of bench"
        )
    ],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 = done, 1 = the run failed, 2 = a mistake in the input, 130 = interrupted."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if (shell := os.environ.get("_BENCH_COMPLETE")) and arguments is None:
        return _complete(shell)
    try:
        if hollow := [word for word in typed if "\0" in word]:  # no path or name holds one, and no shell can type it
            raise UsageError(f"'{hollow[0]}' holds a NUL character; leave it out")
        return _dispatch(typed)
    except UsageError as error:
        return _complain(str(error), _MISTAKE)
    except RunError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except click.exceptions.Exit as leaving:  # after --help
        return leaving.exit_code
    except SystemExit as leaving:  # a process whose part of the work is done
        if leaving.code:
            raise
        return 0
    except BrokenPipeError:
        return 0  # the reader has closed the pipe; this is no error
    except OSError as error:
        return _complain(*describe_refusal(error))


def _complete(shell: str) -> int:
    """Answer a shell that completes a word (`bench completion`); where something is wrong, offer nothing."""
    from click.shell_completion import shell_complete

    with suppress(UsageError, OSError):
        return shell_complete(BENCH, {}, "bench", "_BENCH_COMPLETE", shell)
    return 0


def _complain(message: str, status: int) -> int:
    """Say a mistake; of processes that a launcher started together, the first alone does."""
    if is_main_process() or find_launch() is None:  # a process started by hand has its own terminal
        print(f"bench: {terminal(message)}", file=sys.stderr)
    elif status == _MISTAKE:
        let_the_first_speak()
    return status


def _dispatch(typed: list[str]) -> int:
    with Path(os.devnull).open("w") as nothing, nullcontext() if is_main_process() else redirect_stdout(nothing):
        with BENCH.make_context("bench", typed) as context:
            status: int = BENCH.invoke(context)
        return status


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
