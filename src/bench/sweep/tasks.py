"""What travels to the process that runs a cell, and what comes back."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.config.cell import Cell
from bench.errors import UsageError
from bench.records.record import RECORD, Record

if TYPE_CHECKING:
    from bench.runs.run import Options

# `elsewhere`: another process holds the cell; it is asked for again once that one has ended.
Status = Literal["finished", "failed", "interrupted", "elsewhere"]


@dataclass(frozen=True)
class Found:
    """The record of a cell as it lay there at a moment; `stamp` tells whether it has been written since."""

    status: Literal["finished", "failed", "interrupted", "missing"]
    stamp: int = 0
    seconds: float | None = None  # fit and test, where the record knows them
    error: str = ""


@dataclass(frozen=True)
class Task:
    """A cell to be run."""

    number: int  # place in the plan
    title: str
    cell: Cell
    options: "Options"  # `runs` is an absolute path: another machine has another working folder
    found: Found
    retry: int  # how often a cell that fails is tried again
    lease: float
    working_folder: str

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.cell.folder(self.options.runs)

    @property
    def offline(self) -> "Task":
        """The same, tracked without asking W&B's service."""
        return replace(self, options=replace(self.options, wandb="offline"))


@dataclass(frozen=True)
class Started:
    """A cell has begun."""

    number: int


@dataclass(frozen=True)
class Outcome:
    """How a cell ended; its figures are in its record."""

    number: int
    status: Status
    error: str = ""
    disk_full: bool = False
    seconds: float = 0.0
    unreached: bool = False  # W&B's service did not answer: what comes later need not ask it


Event = Started | Outcome | str | None  # a string: what a worker said; None: time has passed


def find_run(folder: Path) -> Found:
    """What lies in the folder of a run."""
    try:
        stamp = (folder / RECORD).stat().st_mtime_ns
        record = Record.read(folder)
    except FileNotFoundError:
        return Found("missing")
    except UsageError as error:  # of another version, or damaged: no answer
        return Found("failed", stamp, error=str(error))
    seconds = record.cost.fit_seconds + record.cost.test_seconds if record.cost else None
    return Found(record.status, stamp, seconds, record.error or "")
