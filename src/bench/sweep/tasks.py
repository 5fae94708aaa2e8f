"""The task that is sent to the process that runs a cell, and the events that it sends back."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.config.cell import Cell
from bench.errors import UsageError
from bench.phases import State
from bench.records.record import RECORD, Record

if TYPE_CHECKING:
    from bench.runs.run import Options

# `elsewhere`: another process holds the cell; it is submitted again once that process has ended.
Status = Literal["finished", "failed", "interrupted", "elsewhere"]


@dataclass(frozen=True)
class Found:
    """The record of a cell at one moment; another `stamp` later means that the record was written since."""

    status: Literal["finished", "failed", "interrupted", "missing"]
    stamp: int = 0
    seconds: float | None = None  # of fit and test, where the record has them
    error: str = ""


@dataclass(frozen=True)
class Task:
    """A cell to be run."""

    number: int  # position in the plan
    title: str
    cell: Cell
    options: "Options"  # `runs` is an absolute path: another machine has another working folder
    found: Found
    retry: int  # how often a cell that fails is tried again
    lease: float
    working_folder: str

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.cell.folder(self.options.runs)

    @property
    def offline(self) -> "Task":
        """The same task, tracked without asking W&B's service."""
        return replace(self, options=replace(self.options, wandb="offline"))


@dataclass(frozen=True)
class Started:
    """A cell has begun."""

    number: int


@dataclass(frozen=True)
class Progressed:
    """What a running cell does now."""

    number: int
    state: State


@dataclass(frozen=True)
class Outcome:
    """How a cell ended; its metrics are in its record."""

    number: int
    status: Status
    error: str = ""
    disk_full: bool = False
    seconds: float = 0.0
    unreached: bool = False  # W&B's service did not answer: later cells need not ask it


Event = Started | Progressed | Outcome | str | None  # a string: a line that a worker printed; None: time has passed


def find_run(folder: Path) -> Found:
    """Read the state of the record in a run's folder."""
    try:
        stamp = (folder / RECORD).stat().st_mtime_ns
        record = Record.read(folder)
    except FileNotFoundError:
        return Found("missing")
    except UsageError as error:  # a record of another version, or a damaged one, counts as failed
        return Found("failed", stamp, error=str(error))
    seconds = record.cost.fit_seconds + record.cost.test_seconds if record.cost else None
    return Found(record.status, stamp, seconds, record.error or "")
