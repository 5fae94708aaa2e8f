"""Output for people: results go to stdout, everything else to stderr, and only one process prints."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.escaping import terminal
from bench.processes import is_main_process

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["add_row", "is_main_process", "plain_console", "say", "silent_descriptors", "tell"]


def say(message: str) -> None:
    """Print one line on stderr, in the main process only."""
    if is_main_process():
        print(terminal(message), file=sys.stderr, flush=True)


def tell(line: object) -> None:
    """Print one line of a result on stdout."""
    print(terminal(line), flush=True)


def plain_console(*, stderr: bool = False) -> "Console":
    """A console that interprets no markup: names may hold brackets."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else None, markup=False, highlight=False, emoji=False)


def add_row(table: "Table", cells: Sequence[str]) -> None:
    """Add a row to a table of a plain console."""
    table.add_row(*map(terminal, cells))


@contextmanager
def silent_descriptors() -> Iterator[None]:
    """Detach a process that is started within from stdout and stderr: it may outlive this process, and print there.

    Otherwise a reader of the pipe would wait until that process ends too.
    """
    streams = {stream: os.dup(stream) for stream in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in streams:
            os.dup2(nothing, stream)
        yield
    finally:
        for stream, outside in streams.items():
            os.dup2(outside, stream)
            os.close(outside)
        os.close(nothing)
