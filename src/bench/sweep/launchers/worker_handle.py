"""One worker process, from the side of the sweep: its tasks, its outcomes, its output and its end."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from bench.sweep.launchers.worker_main import SIGNALS, serve
from bench.sweep.tasks import Outcome, Progressed, Task

_SECONDS_TO_STOP = 30.0


class Worker:
    """A process that runs one cell after another; it starts with its first."""

    def __init__(self, environment: Mapping[str, str], threads: int) -> None:
        self.task: Task | None = None
        self._environment = environment
        self._threads = threads
        self._process: Any = None
        self._cells: Connection | None = None
        self._words: Connection | None = None
        self._line = b""
        self._report: Progressed | None = None

    @property
    def connections(self) -> list[Connection]:
        """The open connections to wait for."""
        return [each for each in (self._cells, self._words) if each is not None]

    @property
    def last_words(self) -> str:
        """How the process ended."""
        code = self._process.exitcode if self._process is not None else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def begin(self, task: Task) -> None:
        """Hand over a cell."""
        if self._process is None or not self._process.is_alive():
            self._start()
        self.task = task
        with suppress(OSError):  # the process has died: `answer` finds out
            self._open_cells.send(task)

    def read(self) -> Iterator[str]:
        """The lines that it printed since the last call."""
        while self._words is not None and self._words.poll():
            text = os.read(self._words.fileno(), 2**16)
            if not text:
                self._words.close()
                self._words = None
            *lines, self._line = (self._line + text).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)

    def report(self) -> Iterator[Progressed]:
        """The last report of its cell, where there is a new one."""
        if self._report is not None:
            yield self._report
            self._report = None

    def answer(self) -> tuple[Task | None, Outcome | None]:
        """The cell that has ended, with its outcome, None where the process died; (None, None) if none has ended."""
        task, alive = self.task, self._process is not None and self._process.is_alive()
        if task is None:
            return None, None
        outcome: Outcome | None = None
        try:
            while outcome is None and self._open_cells.poll():
                message = self._open_cells.recv()
                if isinstance(message, Progressed):
                    self._report = message
                else:
                    outcome = message
        except (EOFError, OSError):
            outcome = None
            self._process.join(_SECONDS_TO_STOP)
            alive = False
        if outcome is None and alive:
            return None, None
        self.task = None
        return task, outcome

    def stop(self) -> None:
        """Ask it to end: a run in progress still writes its record."""
        if self._cells is not None:
            self._cells.close()
            self._cells = None
        if self._process is not None and self.task is not None:
            self._process.terminate()

    def join(self) -> None:
        """Wait for its end, and kill it where it does not end by itself."""
        if self._process is None:
            return
        try:
            self._process.join(_SECONDS_TO_STOP)
        finally:
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        for each in self.connections:
            each.close()
        self._cells, cells = Pipe()
        self._words, words = Pipe(duplex=False)
        self._line = b""
        # Not a daemon: daemons may not start processes, and data loaders do.
        arguments = (cells, words, dict(os.environ) | dict(self._environment), self._threads)
        self._process = get_context("spawn").Process(target=serve, args=arguments)
        with _signals_blocked():
            self._process.start()
        cells.close()
        words.close()

    @property
    def _open_cells(self) -> Connection:
        assert self._cells is not None
        return self._cells


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals for a process that starts here: it unblocks them once it handles them."""
    resource_tracker.ensure_running()  # if it started below, it would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
