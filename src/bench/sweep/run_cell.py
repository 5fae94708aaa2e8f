"""Run one cell of a sweep, in the process of any launcher."""

import gc
import os
import time
from contextlib import suppress
from dataclasses import replace

import torch

from bench.errors import RunError, UsageError
from bench.processes import find_launch, without_launch
from bench.records.record import CHECKPOINT, Record
from bench.runs.checkpoint import RESUME, check_stamp
from bench.runs.run import fit
from bench.sweep.claims import claim
from bench.sweep.failed_cell import write_failure
from bench.sweep.tasks import Outcome, Task, find_run
from bench.tracking.service import choose_mode
from bench.writing import FULL, writing_to


def run_cell(task: Task) -> Outcome:
    """Claim a cell and run it, from its last checkpoint where there is one; every error becomes an outcome."""
    start = time.perf_counter()
    try:
        os.chdir(task.working_folder)
        _stand_alone()
        with writing_to(task.folder), claim(task.folder, task.lease) as is_ours:
            outcome = _run_claimed(task) if is_ours else Outcome(task.number, "elsewhere")
    except KeyboardInterrupt:
        outcome = Outcome(task.number, "interrupted", "interrupted")
    except (UsageError, RunError, OSError) as error:
        outcome = Outcome(task.number, "failed", str(error), _is_full(error))
    return replace(outcome, seconds=time.perf_counter() - start)


def _is_unreached(task: Task) -> bool:
    """Whether the run should have been sent to W&B but was kept offline."""
    with suppress(UsageError):  # no record, or none of this version
        tracked = Record.read(task.folder).wandb or {}
        return tracked.get("mode") == "offline" and choose_mode(task.options.wandb) == "online"
    return False


def _stand_alone() -> None:
    """Remove the launch variables from the environment: each task of a SLURM job may run a cell of its own."""
    if find_launch():
        alone = without_launch()
        os.environ.clear()
        os.environ |= alone


def _run_claimed(task: Task) -> Outcome:
    now = find_run(task.folder)
    if now.stamp != task.found.stamp and now.status != "interrupted":  # another sweep ran it since the plan
        return Outcome(task.number, "finished" if now.status == "finished" else "failed", now.error)
    for partial in task.folder.glob("*.partial"):  # of a process that was killed: only this one holds the cell
        partial.unlink(missing_ok=True)
    for _ in range(task.retry + 1):
        outcome = _attempt(task)
        outcome = replace(outcome, unreached=_is_unreached(task))
        task = task.offline if outcome.unreached else task
        if outcome.status == "finished" or outcome.disk_full:
            break
    return outcome


def _attempt(task: Task) -> Outcome:
    try:
        resume = task.folder if _can_resume(task) else None
        fit(task.cell.config, replace(task.options, resume=resume))
        return Outcome(task.number, "finished")
    except Exception as error:  # a cell may fail in any way; the next one still runs
        if not isinstance(error, UsageError | RunError | OSError):
            error = RunError(f"{type(error).__name__}: {error}")
        return fail(task, str(error), disk_full=_is_full(error))
    finally:
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def fail(task: Task, error: str, *, disk_full: bool = False) -> Outcome:
    """The outcome of a failed cell; writes a record of the failure where its run wrote none."""
    with suppress(UsageError, OSError):
        write_failure(task, error)
    return Outcome(task.number, "failed", error, disk_full)


def _can_resume(task: Task) -> bool:
    """Whether there is a checkpoint of this cell, in its folder or in those of its folds."""
    folders = [task.folder, *sorted(task.folder.glob("fold-*"))]
    checkpoints = [path for folder in folders for name in (RESUME, CHECKPOINT) if (path := folder / name).is_file()]
    # A single fit that left only its finished model was interrupted in its test; it starts anew.
    checkpoints = [path for path in checkpoints if path != task.folder / CHECKPOINT]
    if not checkpoints or task.options.force:
        return False
    try:
        for checkpoint in checkpoints:
            check_stamp(checkpoint, task.cell)
    except UsageError:  # damaged: the run starts anew
        return False
    return True


def _is_full(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return True
        cause = cause.__cause__
    return False
