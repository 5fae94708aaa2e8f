"""Output for people: results go to stdout, everything else to stderr, and only one process prints."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bench.escaping import terminal
from bench.processes import is_main_process

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "QUIET",
    "add_row",
    "each_line_once",
    "in_notebook",
    "is_main_process",
    "is_quiet",
    "leave",
    "plain_console",
    "say",
    "silent_descriptors",
    "tell",
]

QUIET = "BENCH_QUIET"


_once: set[str] | None = None  # the lines that were said where each is said once


def say(message: str) -> None:
    """Print one line on stderr, in the main process only."""
    if not is_main_process() or (_once is not None and message in _once):
        return
    if _once is not None:
        _once.add(message)
    print(terminal(message), file=sys.stderr, flush=True)


@contextmanager
def each_line_once() -> Iterator[None]:
    """Say a line only once within the context, in which several runs of this process say the same of their data."""
    global _once
    before, _once = _once, set()
    try:
        yield
    finally:
        _once = before


def tell(line: object) -> None:
    """Print one line of a result on stdout."""
    print(terminal(line), flush=True)


def is_quiet() -> bool:
    """Whether BENCH_QUIET asks for no word about progress; mistakes and remarks on the data are said nevertheless."""
    return os.environ.get(QUIET, "0") not in ("", "0")


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose output is not a terminal and is seen nevertheless."""
    return "ipykernel" in sys.modules


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


def leave(status: Sequence[int]) -> None:
    """Exit without Python's teardown of torch's thousands of modules, which takes over a second.

    To be called last at exit. Nothing is done where no status is given: an exception is propagating.
    """
    if not status:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it is closed, or was reported
            print(end="", flush=True, file=stream)
    os._exit(status[0])
