"""The progress of a run where there is no terminal: lines on stderr, few enough to be read in a log."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from bench.escaping import terminal
from bench.phases import Scene, State

_TICK = 0.5  # seconds between two looks of the thread
_SHORTEST = 1.0  # seconds between two lines: phases and epochs that are over sooner get none
_LONGEST = 9.0  # seconds without a line: a reader hears something every ten seconds, whatever the tick


class Ticker:
    """A watcher whose own thread looks at a run twice a second, so that the run itself never waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.scene = Scene(None)
        self._ended = Event()
        self._thread: Thread | None = None
        self._lock = Lock()

    def begin(self, scene: Scene) -> None:
        """Begin to look."""
        self.scene = scene
        self._ended.clear()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking; the thread has ended then."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def changed(self) -> None:
        """Notice that there is news."""

    def tick(self) -> None:
        """Look once."""
        raise NotImplementedError

    def _look(self) -> None:
        while not self._ended.wait(_TICK):
            self.tick()


class ProgressLines(Ticker):
    """A line when a phase begins or an epoch ends, but one a second at most, and one every ten seconds in between."""

    def __init__(self, write: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._write = write or _print
        self._told = clock()
        self._last = ""
        self._news: State | None = None

    def changed(self) -> None:
        """Tell the news, now or, if a line was printed just before, a second later."""
        state = self.scene.state()
        with self._lock:
            if self._news is not None and _ends_epoch(self._news) and state is not None and not state.epoch:
                self._tell(self._news)  # the last epoch, before the next phase
            self._news = state
        self.tick()

    def tick(self) -> None:
        """Print a line where one is due."""
        with self._lock:
            waited = self.clock() - self._told
            if self._news is not None and waited >= _SHORTEST:
                state = self._news if _ends_epoch(self._news) else self.scene.state()
            else:
                state = self.scene.state() if waited >= _LONGEST else None
            if state is not None:
                self._tell(state)

    def end(self) -> None:
        """Stop looking, and tell the last epoch if it still waits for its line."""
        super().end()
        if self._news is not None and _ends_epoch(self._news):
            self._tell(self._news)

    def _tell(self, state: State) -> None:
        self._news, self._told = None, self.clock()
        line = state.line
        if line == self._last:  # nothing counts, but the reader must know that the run is alive
            line = f"{line}, still"
        self._last = state.line
        with suppress(OSError):  # nobody reads any more, which ends no run
            self._write(line)


def _ends_epoch(state: State) -> bool:
    return bool(state.epoch and state.about)


def _print(line: str) -> None:
    sys.stderr.write(f"{terminal(line)}\n")  # at once: a run may print in between
    sys.stderr.flush()
