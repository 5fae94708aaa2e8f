"""The phase that a run is in, and how far it has come: told by the run, shown by whoever watches this process.

The run names its phases wherever they begin, and counts. It never waits for who watches: a watcher reads the state from
a thread of its own, and is called only when a phase begins or an epoch ends.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

_SECONDS_TO_JUDGE = 1.0  # a rate of less than that says nothing yet


@dataclass(frozen=True)
class State:
    """What a run does at one moment."""

    run: str = ""  # such as `padim on screw`
    device: str = ""
    fold: int = 0  # counted from 1
    folds: int = 0  # 0: the run has no folds
    phase: str = ""
    epoch: int = 0  # of training, counted from 1; 0 in other phases
    epochs: int | None = None  # None: their number is not known
    done: int = 0
    total: int | None = None
    unit: str = ""
    about: str = ""  # such as the loss of the epoch
    left: float | None = None  # seconds that the phase still takes at its rate; None where it is not known

    @property
    def place(self) -> str:
        """The fold, where there are some, and the phase with its epoch or its count."""
        fold = f"fold {self.fold} of {self.folds}, " if self.folds else ""
        return f"{fold}{self.phase}{self._count}"

    @property
    def line(self) -> str:
        """The state in a line."""
        of_fold = " of this fold" if self.folds else ""
        left = f", {duration(self.left)} left{of_fold}" if self.left is not None else ""
        return f"{self.place}{', ' if self.about else ''}{self.about}{left}"

    @property
    def _count(self) -> str:
        if self.epoch:
            return f": epoch {self.epoch}{f' of {self.epochs}' if self.epochs else ''}"
        if self.total is None:
            return ""
        return f": {self.done} of {self.total} {self.unit}" if self.done else f": {self.total} {self.unit}"


class Watcher(Protocol):
    """Who shows the state of a run."""

    def begin(self, scene: "Scene") -> None:
        """Begin to watch."""

    def changed(self) -> None:
        """Notice that a phase has begun or an epoch has ended; called by the run, so it must be quick."""

    def end(self) -> None:
        """Stop watching."""


class Phase:
    """A phase that counts."""

    def __init__(self, name: str, total: int | None, unit: str, clock: Callable[[], float]) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = self.epoch = 0
        self.epochs: int | None = None
        self.about = ""
        self._clock = clock
        self._skipped = 0
        self._began = self._counted = clock()

    def advance(self, count: int = 1) -> None:
        """Count what has been done."""
        self.done += count
        self._counted = self._clock()

    def skip(self, count: int) -> None:
        """Count what an earlier run did: it took no time of this one."""
        self.done += count
        self._skipped += count

    def seconds_left(self) -> float | None:
        """The time that remains at the mean rate so far; it goes down while a step lasts."""
        own = self.done - self._skipped
        took = self._counted - self._began
        if self.total is None or own <= 0 or took < _SECONDS_TO_JUDGE:
            return None
        return max(0.0, took / own * (self.total - self.done) - (self._clock() - self._counted))


class Scene:
    """The run of this process and its phases; the last one that began, and has not ended, is shown."""

    def __init__(self, watcher: Watcher | None, run: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.watcher, self.run, self.clock = watcher, run, clock
        self.device = ""
        self.fold = self.folds = 0
        self.what = ""  # stands before the names of phases that begin
        self.phases: list[Phase] = []

    def state(self) -> State | None:
        """What the run does now; None between two phases."""
        with suppress(IndexError):  # the phase ended while this thread looked
            now = self.phases[-1]
            return State(
                self.run, self.device, self.fold, self.folds, now.name, now.epoch, now.epochs,
                now.done, now.total, now.unit, now.about, now.seconds_left(),
            )  # fmt: skip
        return None


_scene = Scene(None)


def is_watched() -> bool:
    """Whether anybody shows the state of this process."""
    return _scene.watcher is not None


@contextmanager
def watched(watcher: Watcher | None, run: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Scene]:
    """Show the phases that begin within the context."""
    global _scene
    before, _scene = _scene, Scene(watcher, run, clock)
    try:
        if watcher is not None:
            watcher.begin(_scene)
        yield _scene
    finally:
        _scene = before
        if watcher is not None:
            watcher.end()


@contextmanager
def left_to_others() -> Iterator[None]:
    """Show nothing within the context, in which other processes show what they do."""
    scene = _scene
    if scene.watcher is not None:
        scene.watcher.end()
    try:
        yield
    finally:
        if scene.watcher is not None:
            scene.watcher.begin(scene)


@contextmanager
def renamed(run: str) -> Iterator[None]:
    """Tell who watches already which run this is."""
    before, _scene.run = _scene.run, run
    try:
        yield
    finally:
        _scene.run = before


@contextmanager
def phase(name: str, total: int | None = None, unit: str = "images") -> Iterator[Phase]:
    """Name what the process does within the context; the phase is advanced by what it has done."""
    scene, own = _scene, Phase(f"{_scene.what}{name}", total, unit, _scene.clock)
    scene.phases.append(own)
    changed()
    try:
        yield own
    finally:
        scene.phases.remove(own)


def changed() -> None:
    """Tell who watches that there is news."""
    if _scene.watcher is not None:
        _scene.watcher.changed()


@contextmanager
def in_fold(number: int, of: int) -> Iterator[None]:
    """Name the fold, counted from 1, that the phases within the context belong to; a single one needs no name."""
    scene, before = _scene, (_scene.fold, _scene.folds)
    scene.fold, scene.folds = (number, of) if of > 1 else (0, 0)
    try:
        yield
    finally:
        scene.fold, scene.folds = before


@contextmanager
def within(what: str) -> Iterator[None]:
    """Put a phase's name before those of the phases within the context."""
    scene, before = _scene, _scene.what
    scene.what = f"{what}, "
    try:
        yield
    finally:
        scene.what = before


def on_device(name: str) -> None:
    """Name the device that the run computes on."""
    _scene.device = name


def duration(seconds: float) -> str:
    """Seconds in a readable unit: s, min or h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
