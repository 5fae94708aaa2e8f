"""What a worker of a sweep reports of the cell that it runs."""

from collections.abc import Callable
from contextlib import suppress

from bench.phases import State
from bench.progress_lines import Ticker
from bench.sweep.tasks import Progressed


class Reports(Ticker):
    """Sends the state of a cell to its sweep, twice a second at most, from a thread that ends before the cell does.

    So reports and the outcome, which the worker sends itself, never mix in the pipe, and no outcome is overtaken.
    """

    def __init__(self, number: int, send: Callable[[Progressed], None]) -> None:
        super().__init__()
        self._number = number
        self._send = send
        self._sent: State | None = None

    def tick(self) -> None:
        """Send the state if it is another than before."""
        state = self.scene.state()
        if state is None or state == self._sent:
            return
        self._sent = state
        with suppress(OSError):  # the sweep has ended: the cell is told by a signal
            self._send(Progressed(self._number, state))
