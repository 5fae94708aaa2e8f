"""Cells as tasks of a running Ray cluster, or of one that is started on this machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from bench.errors import RunError, UsageError
from bench.sweep.claims import is_claimed
from bench.sweep.launchers.base import Launcher
from bench.sweep.run_cell import fail, run_cell
from bench.sweep.tasks import Event, Outcome, Started, Task

_TICK = 1.0
_PASSED_ON = ("BENCH_", "WANDB_", "HF_", "NO_ALBUMENTATIONS_UPDATE")


class RayLauncher(Launcher):
    """Ray tasks, one cell each.

    Args:
        address: of a running cluster (`auto`, or `ray://host:port`); null starts one on this machine.
        cpus: cores of each cell, which are torch's threads as well.
        gpus: GPUs of each cell; a fraction shares one; auto: 1 where the cluster has any and a cell may use it, else 0.
        local_cpus: cores that a cluster on this machine may use; null: all.
        deaths: how often a cell is run again whose worker or node died, from its last epoch.
    """

    address: str | None = None
    cpus: float = Field(default=1, gt=0)
    gpus: Literal["auto"] | NonNegativeFloat = "auto"
    local_cpus: NonNegativeInt | None = None
    deaths: NonNegativeInt = 3

    def check(self) -> None:
        """Raise a UsageError where Ray is missing."""
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise UsageError("--launcher ray needs Ray; install it: pip install 'bench[ray]'") from error

    @contextmanager
    def open(self, tasks: Sequence[Task]) -> "Iterator[RayPool]":
        """Connect to the cluster."""
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no statistics
        passed_on = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        own = {"include_dashboard": False, "num_cpus": self.local_cpus} if self.address is None else {}
        try:
            ray.init(
                address=self.address or "local",
                runtime_env={"env_vars": passed_on},
                log_to_driver=False,
                logging_level="ERROR",
                **own,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(f"Ray cannot be reached at {self.address or 'this machine'}: {reason}") from error
        try:
            resources = ray.cluster_resources()
            gpus = self._gpus(tasks, resources)
            self._check_resources(resources, gpus)
            yield RayPool(self, gpus)
        finally:
            ray.shutdown()

    def _gpus(self, tasks: Sequence[Task], resources: Mapping[str, float]) -> float:
        """The GPUs of each cell: Ray hides all GPUs from a task that asks for none."""
        if self.gpus != "auto":
            return self.gpus
        cpu = all(task.cell.config.section("trainer").get("accelerator") == "cpu" for task in tasks)
        return 1 if resources.get("GPU", 0) >= 1 and not cpu else 0

    def _check_resources(self, resources: Mapping[str, float], gpus: float) -> None:
        """Refuse tasks that no node can ever run: they would wait for ever."""
        for name, wanted in (("CPU", self.cpus), ("GPU", gpus)):
            if wanted > resources.get(name, 0):
                raise UsageError(
                    f"--launcher.{name.lower()}s {wanted:g} is more than the {resources.get(name, 0):g} of the cluster"
                )


class RayPool:
    """The Ray tasks of one sweep."""

    def __init__(self, launcher: RayLauncher, gpus: float) -> None:
        self._launcher = launcher
        self._gpus = gpus

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Submit the cells and wait for them."""
        import ray

        launcher = self._launcher
        remote: Any = ray.remote(
            num_cpus=launcher.cpus, num_gpus=self._gpus, max_retries=launcher.deaths, retry_exceptions=False
        )(run_in_worker)
        waiting = {remote.remote(task, max(1, int(launcher.cpus))): task for task in tasks}
        begun: set[int] = set()
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_TICK)
            yield None
            for task in waiting.values():
                if task.number not in begun and is_claimed(task.folder):
                    begun.add(task.number)
                    yield Started(task.number)
            for reference in ready:
                yield _result(reference, waiting.pop(reference))


def run_in_worker(task: Task, threads: int) -> Outcome:
    """Run the cell inside a Ray worker, which may have run other cells before."""
    import torch

    torch.set_num_threads(threads)
    return run_cell(task)


def _result(reference: Any, task: Task) -> Outcome:
    import ray

    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayError as error:  # the worker died or ran out of memory, more often than is retried
        return fail(task, f"Ray gave the cell up: {(str(error).strip().splitlines() or [type(error).__name__])[0]}")
    assert isinstance(outcome, Outcome)
    return outcome
