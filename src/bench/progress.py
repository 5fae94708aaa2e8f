"""The progress bar on a terminal or in a notebook, on stderr."""

from typing import TYPE_CHECKING

from bench.escaping import terminal
from bench.phases import Scene, duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID
    from rich.table import Table

_WIDTH = 24  # of the bar, in letters: beside it stand names
_A_SECOND = 4  # how often the bar is drawn


class RunBar:
    """The bar of a run: its name, fold, phase and epoch, device, and the time that remains.

    A thread draws it from the run's state; the run never waits for it.
    """

    def __init__(self) -> None:
        self._scene = Scene(None)
        self._live: Live | None = None

    def begin(self, scene: Scene) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.live import Live

        self._scene = scene
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            console=console,
            get_renderable=self.drawn,
            transient=True,
            refresh_per_second=_A_SECOND,
            redirect_stdout=False,  # it may be a pipe
        )
        self._live.start()

    def changed(self) -> None:
        """Notice nothing: the next picture shows it."""

    def end(self) -> None:
        """Remove the bar."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def drawn(self) -> "Table":
        """The bar as it is now."""
        from rich.progress_bar import ProgressBar as Drawn
        from rich.table import Table
        from rich.text import Text

        table, state = Table.grid(padding=(0, 1)), self._scene.state()
        if state is None:
            return table
        for _ in range(4):
            table.add_column(no_wrap=True)
        words = [f"{state.run}: {state.place}" if state.run else state.place, state.about, state.device]
        left = f"{duration(state.left)} left" if state.left is not None else ""
        bar = Drawn(total=state.total, completed=state.done, width=_WIDTH, pulse=state.total is None)
        steps = f"{state.done}/{state.total}" if state.epoch and state.total else ""
        table.add_row(Text(terminal(", ".join(filter(None, words)))), bar, Text(steps), Text(left))
        return table


class ProgressBar:
    """A bar for one thing that is counted."""

    def __init__(self, unit: str = "steps") -> None:
        self.unit = unit
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, description: str, total: int | None) -> None:
        """Begin to count up to `total`."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.stop()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(description, total=total, rate="")

    def advance(self) -> None:
        """Advance by one step."""
        if self._progress is None or self._task is None:
            return
        task = self._progress.tasks[0]
        self._progress.update(self._task, advance=1, rate=f"{task.speed:.1f} {self.unit}/s" if task.speed else "")

    def stop(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
