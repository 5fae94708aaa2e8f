"""The progress of a sweep on stderr: a live table on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.console import add_row, is_quiet
from bench.escaping import terminal
from bench.phases import State, duration
from bench.sweep.pending import Entry
from bench.sweep.tasks import Event, Outcome, Progressed, Started

_LONGEST_LIST = 16  # running cells that the table names
_LONGEST_SILENCE = 29.0  # seconds without a line where there is no terminal


class RunningCell:
    """A cell that runs: since when, and what it last reported."""

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry = entry
        self.since = self._heard = now
        self.state: State | None = None

    def hear(self, state: State, now: float) -> None:
        """Keep a report."""
        self.state, self._heard = state, now

    def line(self, now: float) -> str:
        """The cell and what it does."""
        doing = f", {self.state.place}" if self.state else ""
        return f"{self.entry.planned.title}{doing}, for {duration(now - self.since)}"

    def estimated_total(self, now: float) -> float | None:
        """The seconds of the whole cell at the rate of its training; None in other phases, which are short."""
        if self.state is None or not self.state.epoch:
            return None
        return self._at_least(now)

    def seconds_left(self, now: float, usual: float) -> float:
        """The seconds that the cell still takes: by its own training, else by what is expected of it."""
        spent, own = now - self.since, self.estimated_total(now)
        total = own if own is not None else max(self.entry.expected or usual, self._at_least(now) or 0.0)
        return max(0.0, total - spent)

    def _at_least(self, now: float) -> float | None:
        """The seconds until the phase ends, as much for each fold."""
        if self.state is None or self.state.left is None:
            return None
        until = now - self.since + max(0.0, self.state.left - (now - self._heard))
        return until * self.state.folds / self.state.fold if self.state.fold else until


class ProgressTable:
    """Counts events and shows them; the table is live within the context."""

    def __init__(
        self, entries: Mapping[int, Entry], finished_before: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries = entries
        self._finished_before = finished_before
        self._clock = clock
        self._told = clock()
        self._running: dict[int, RunningCell] = {}
        self._ended: dict[int, Outcome] = {}
        self._at_once = 1  # cells that have run at the same time: one that ends is soon followed by another
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        elif not is_quiet():
            self._print(self.headline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._live.stop()

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not is_quiet()

    def show(self, event: Event, text: str = "") -> None:
        """Count and show an event; `text` describes the outcome of a cell."""
        now = self._clock()
        if isinstance(event, str):
            self._print(event)
        elif isinstance(event, Started):
            self._running[event.number] = RunningCell(self._entries[event.number], now)
            self._at_once = max(self._at_once, len(self._running))
        elif isinstance(event, Progressed) and event.number in self._running:
            self._running[event.number].hear(event.state, now)
        elif isinstance(event, Outcome):
            self._running.pop(event.number, None)
            if event.status != "elsewhere":
                self._ended[event.number] = event
                self._print(f"{self.headline()}: {text}")
        if self._is_live:
            self._live.update(self._table(), refresh=True)
        elif now - self._told >= _LONGEST_SILENCE and not is_quiet():
            self._print(f"{self.headline()}; {self._doing(now)}")

    def _print(self, line: str) -> None:
        self._told = self._clock()
        self._console.print(terminal(line))

    def _doing(self, now: float) -> str:
        """What the running cells do, in a line."""
        if not self._running:
            return "another sweep runs the others"
        shown = [cell.line(now) for cell in list(self._running.values())[:_LONGEST_LIST]]
        more = [f"and {len(self._running) - _LONGEST_LIST} more"] if len(self._running) > _LONGEST_LIST else []
        return "; ".join([*shown, *more])

    def headline(self) -> str:
        """Counts and the time that remains, in one line."""
        failed = sum(outcome.status != "finished" for outcome in self._ended.values())
        done = self._finished_before + len(self._ended) - failed
        words = [f"{done} of {self._finished_before + len(self._entries)} done"]
        words += [f"{failed} failed"] if failed else []
        left = self.seconds_left()
        return ", ".join([*words, *([f"{duration(left)} left"] if left else [])])

    def seconds_left(self) -> float | None:
        """The time that remains, by earlier records, by the cells that ended, and by what the running ones report."""
        now = self._clock()
        usual = self._usual(now)
        if usual is None:
            return None
        running = [cell.seconds_left(now, usual) for cell in self._running.values()]
        waiting = [
            entry.expected or usual
            for number, entry in self._entries.items()
            if number not in self._ended and number not in self._running
        ]
        workers = min(self._at_once, len(running) + len(waiting))
        return max([(sum(running) + sum(waiting)) / max(1, workers), *running])

    def _usual(self, now: float) -> float | None:
        """The seconds of a cell that no record tells: the mean of those known, a running one by the share it has done.

        So an estimate of its first epochs hardly counts, and the mean does not jump when the cell ends.
        """
        known = [(entry.expected, 1.0) for entry in self._entries.values() if entry.expected]
        known += [(outcome.seconds, 1.0) for outcome in self._ended.values() if outcome.seconds]
        for cell in self._running.values():
            if total := cell.estimated_total(now):
                known.append((total, min(1.0, (now - cell.since) / total)))
        weights = sum(weight for _, weight in known)
        return sum(seconds * weight for seconds, weight in known) / weights if weights else None

    def _table(self) -> Table:
        table = Table(box=None, title=self.headline(), title_justify="left", show_header=False)
        now = self._clock()
        for cell in list(self._running.values())[:_LONGEST_LIST]:
            place = cell.state.place if cell.state else ""
            add_row(table, ["running", cell.entry.planned.title, place, duration(now - cell.since)])
        if len(self._running) > _LONGEST_LIST:
            table.add_row("running", f"and {len(self._running) - _LONGEST_LIST} more", "", "")
        return table
