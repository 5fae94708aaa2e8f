"""Words for a person: results go to stdout, everything else to stderr, and only one process speaks."""

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
    """One line on stderr."""
    if is_main_process():
        print(terminal(message), file=sys.stderr, flush=True)


def tell(line: object) -> None:
    """One line of a result on stdout."""
    print(terminal(line), flush=True)


def plain_console(*, stderr: bool = False) -> "Console":
    """A console that takes no text for markup: names hold brackets."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else None, markup=False, highlight=False, emoji=False)


def add_row(table: "Table", cells: Sequence[str]) -> None:
    """A row of a table for a plain console."""
    table.add_row(*map(terminal, cells))


@contextmanager
def silent_descriptors() -> Iterator[None]:
    """Let a process that is started within inherit neither stdout nor stderr: it may outlive us, and speak for itself.

    Who reads our output would otherwise wait for the end of that process after ours.
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
