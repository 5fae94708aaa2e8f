"""Worker processes on this machine, one per GPU or per share of its cores, each of which runs many cells."""

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from multiprocessing.connection import wait
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from bench.errors import UsageError
from bench.processes import available_cores
from bench.sweep.claims import is_claimed
from bench.sweep.launchers.base import Launcher
from bench.sweep.launchers.worker_handle import Worker
from bench.sweep.retries import Retries
from bench.sweep.tasks import Event, Outcome, Started, Task

_TICK = 0.5  # longest wait for a worker, in seconds
_BYTES_PER_WORKER = 2 * 2**30
# An index or a UUID; CUDA ignores every entry from the first word of another kind on, such as -1.
_GPU = re.compile(r"\d+$|GPU-|MIG-")


class LocalLauncher(Launcher):
    """Worker processes on this machine.

    Args:
        workers: processes; auto is one per GPU, or one per core where cells run on CPUs, each with 2 GiB of memory at
            least; 0 runs the cells in this process, for a debugger.
        threads: of torch in each worker; auto divides the cores.
        gpus: indices of the GPUs to be used; auto takes all that are visible.
        gpus_per_worker: how many each worker gets; cells on several devices need that many.
        workers_per_gpu: how many workers share one.
    """

    workers: Literal["auto"] | NonNegativeInt = "auto"
    threads: Literal["auto"] | PositiveInt = "auto"
    gpus: Literal["auto"] | list[str | int] = "auto"
    gpus_per_worker: PositiveInt = 1
    workers_per_gpu: PositiveInt = 1

    @contextmanager
    def open(self, tasks: Sequence[Task]) -> "Iterator[LocalPool]":
        """Open a pool of workers, each of which starts with its first cell."""
        threads = self._threads(tasks)
        pool = LocalPool([Worker(environment, threads) for environment in self._environments(tasks)])
        try:
            yield pool
        finally:
            pool.stop()

    def _environments(self, tasks: Sequence[Task]) -> list[dict[str, str]]:
        """The environment variables of each worker: its threads and its GPUs."""
        threads = {"OMP_NUM_THREADS": str(self._threads(tasks))}
        groups = self._gpu_groups(tasks)
        count = self._count(tasks)
        if not groups:
            return [threads] * count
        return [threads | {"CUDA_VISIBLE_DEVICES": groups[index % len(groups)]} for index in range(count)]

    def _count(self, tasks: Sequence[Task]) -> int:
        if self.workers != "auto":
            return self.workers
        if groups := self._gpu_groups(tasks):
            return len(groups) * self.workers_per_gpu
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        # Few cells do not get fewer workers with more threads: the last digits of metrics depend on the threads.
        return max(1, min(available_cores(), memory // _BYTES_PER_WORKER))

    def _threads(self, tasks: Sequence[Task]) -> int:
        return max(1, available_cores() // max(1, self._count(tasks))) if self.threads == "auto" else self.threads

    def _gpu_groups(self, tasks: Sequence[Task]) -> list[str]:
        settings = [task.cell.config.section("trainer") for task in tasks]
        if all(section.get("accelerator") == "cpu" for section in settings):
            return []
        gpus = _visible_gpus() if self.gpus == "auto" else [str(gpu) for gpu in self.gpus]
        size = self.gpus_per_worker
        groups = [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]
        if gpus and not groups:
            raise UsageError(f"--launcher.gpus_per_worker {size} is more than the {len(gpus)} GPUs of this machine")
        return groups


class LocalPool:
    """Workers, each of which starts with its first cell, and again after it has died."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._unreached = False  # whether W&B did not answer a cell that has ended

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Hand the cells to the workers, one at a time."""
        if not self._workers:
            from bench.sweep.run_cell import run_cell

            for task in tasks:
                yield Started(task.number)
                ended = run_cell(task.offline if self._unreached else task)
                self._unreached |= ended.unreached
                yield ended
            return
        waiting, retries = deque(tasks), Retries()
        while waiting or any(worker.task for worker in self._workers):
            for worker in self._workers:
                if worker.task is None and waiting:
                    task = waiting.popleft()
                    worker.begin(task.offline if self._unreached else task)
                    yield Started(task.number)
            wait([each for worker in self._workers for each in worker.connections], timeout=_TICK)
            yield None
            for worker in self._workers:
                yield from worker.read()
                cell, outcome = worker.answer()
                yield from worker.report()
                if outcome is not None:
                    self._unreached |= outcome.unreached
                    yield outcome
                elif cell is not None:  # its worker died
                    if retries.after_death(cell):
                        waiting.append(cell)
                    else:
                        yield _end_of(cell, worker)

    def stop(self) -> None:
        """End all workers; a run in progress writes into its record that it was interrupted."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()


def _end_of(task: Task, worker: Worker) -> Outcome:
    from bench.sweep.run_cell import fail

    if is_claimed(task.folder):  # another sweep took the cell over
        return Outcome(task.number, "elsewhere")
    return fail(task, f"its process died ({worker.last_words})")


def _visible_gpus() -> list[str]:
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    return list(takewhile(_GPU.match, (word.strip() for word in named.split(","))))
