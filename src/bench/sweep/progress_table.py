"""The progress of a sweep on stderr: a live table on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.console import add_row
from bench.escaping import terminal
from bench.sweep.pending import Entry
from bench.sweep.tasks import Event, Outcome, Started

_LONGEST_LIST = 16  # running cells that the table names


class ProgressTable:
    """Counts events and shows them; the table is live within the context."""

    def __init__(self, entries: Mapping[int, Entry], finished_before: int) -> None:
        self._entries = entries
        self._finished_before = finished_before
        self._running: dict[int, float] = {}
        self._ended: dict[int, Outcome] = {}
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._live.stop()

    def show(self, event: Event, text: str = "") -> None:
        """Count and show an event; `text` describes the outcome of a cell."""
        if isinstance(event, str):
            self._console.print(terminal(event))
        elif isinstance(event, Started):
            self._running[event.number] = time.monotonic()
        elif isinstance(event, Outcome):
            self._running.pop(event.number, None)
            if event.status != "elsewhere":
                self._ended[event.number] = event
                self._console.print(terminal(f"{self.headline()}: {text}"))
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)

    def headline(self) -> str:
        """Counts and the time that remains, in one line."""
        failed = sum(outcome.status != "finished" for outcome in self._ended.values())
        done = self._finished_before + len(self._ended) - failed
        words = [f"{done} of {self._finished_before + len(self._entries)} done"]
        words += [f"{failed} failed"] if failed else []
        left = self.seconds_left()
        return ", ".join([*words, *([f"{duration(left)} left"] if left else [])])

    def seconds_left(self) -> float | None:
        """The time that remains, by earlier records and by the cells that ended in this sweep; None without either."""
        known = {entry.expected for entry in self._entries.values() if entry.expected} | {
            outcome.seconds for outcome in self._ended.values() if outcome.seconds
        }
        if not known:
            return None
        usual, now = sum(known) / len(known), time.monotonic()
        total = 0.0
        for number, entry in self._entries.items():
            if number not in self._ended:
                spent = now - self._running.get(number, now)
                total += max(0.0, (entry.expected or usual) - spent)
        return total / max(1, len(self._running))

    def _table(self) -> Table:
        table = Table(box=None, title=self.headline(), title_justify="left", show_header=False)
        now = time.monotonic()
        for number, since in list(self._running.items())[:_LONGEST_LIST]:
            add_row(table, ["running", self._entries[number].planned.title, duration(now - since)])
        if len(self._running) > _LONGEST_LIST:
            table.add_row("running", f"and {len(self._running) - _LONGEST_LIST} more", "")
        return table


def duration(seconds: float) -> str:
    """Seconds in a readable unit: s, min or h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
