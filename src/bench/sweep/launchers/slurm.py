"""Cells as the tasks of a SLURM job array, through submitit."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt

from bench.errors import RunError, UsageError
from bench.processes import available_cores
from bench.sweep.claims import is_claimed
from bench.sweep.launchers.base import Launcher
from bench.sweep.launchers.worker_main import interrupt
from bench.sweep.run_cell import fail, run_cell
from bench.sweep.tasks import Event, Outcome, Started, Task

_SECONDS_TO_REACH_US = 15.0  # from the end of a job until its result is visible on a shared disk
_SECONDS_TO_BE_STOPPED = 60.0


class SlurmLauncher(Launcher):
    """SLURM jobs, one cell each.

    Args:
        sbatch: options of `sbatch` as submitit takes them (`time` in minutes, `partition`, `cpus_per_task`,
            `gpus_per_node`, `mem`, `array_parallelism`, `setup`); others in `additional_parameters`.
        logs: folder of the jobs' output, visible to all nodes; null puts it into the folder of the runs.
        requeues: how often a job that ran out of time or was preempted goes back to the queue and on where it stopped.
        poll_seconds: seconds between two questions to SLURM.
    """

    sbatch: dict[str, Any] = Field(default_factory=dict)
    logs: str | None = None
    requeues: NonNegativeInt = 20
    poll_seconds: float = Field(default=10, gt=0)

    def check(self) -> None:
        """Raise a UsageError where submitit or SLURM is missing."""
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise UsageError("--launcher slurm needs submitit; install it: pip install 'bench[slurm]'") from error
        if missing := [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]:
            raise UsageError(f"--launcher slurm needs SLURM's '{missing[0]}', which is not on the PATH of this machine")

    @contextmanager
    def open(self, tasks: Sequence[Task]) -> "Iterator[SlurmPool]":
        """Open a pool, which submits jobs with their cells; jobs are cancelled if the sweep is interrupted."""
        pool = SlurmPool(self)
        try:
            yield pool
        finally:
            pool.cancel()


class SlurmPool:
    """The jobs of one sweep."""

    def __init__(self, launcher: SlurmLauncher) -> None:
        self._launcher = launcher
        self._jobs: dict[int, Any] = {}  # submitit's jobs, by the number of the cell

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Submit the cells as one array and wait for them."""
        self._submit(tasks)
        waiting = {task.number: task for task in tasks}
        begun: set[int] = set()
        gone_since: dict[int, float] = {}
        while waiting:
            time.sleep(self._launcher.poll_seconds)
            yield None
            queued = _queued_jobs([job.job_id for job in self._jobs.values()])
            for number, task in list(waiting.items()):
                job = self._jobs[number]
                if number not in begun and is_claimed(task.folder):
                    begun.add(number)
                    yield Started(number)
                if job.paths.result_pickle.exists():
                    yield _result(job, task)
                elif queued is None or job.job_id in queued:
                    gone_since.pop(number, None)
                    continue
                elif time.monotonic() - gone_since.setdefault(number, time.monotonic()) < _SECONDS_TO_REACH_US:
                    continue
                else:
                    yield fail(task, f"SLURM ended job {job.job_id}; see {job.paths.stderr}")
                del waiting[number], self._jobs[number]

    def cancel(self) -> None:
        """Cancel the jobs that have not ended."""
        if self._jobs:
            jobs = [job.job_id for job in self._jobs.values()]
            subprocess.run(["scancel", *jobs], capture_output=True, check=False)

    def _submit(self, tasks: Sequence[Task]) -> None:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        launcher = self._launcher
        executor = SlurmExecutor(Path(launcher.logs or tasks[0].options.runs / ".slurm").absolute())
        try:
            executor.update_parameters(**{"job_name": "bench", "additional_parameters": {}} | launcher.sbatch)
            executor.parameters["additional_parameters"] = {"requeue": True} | executor.parameters[
                "additional_parameters"
            ]
            with executor.batch():
                jobs = [executor.submit(run_in_job, task, launcher.requeues) for task in tasks]
        except (ValueError, TypeError) as error:
            raise UsageError(f"--launcher.sbatch: {' '.join(str(error).split())}") from error
        except (FailedJobError, FailedSubmissionError) as error:
            raise RunError(f"SLURM refused the jobs: {str(error).splitlines()[-1]}") from error
        self._jobs = {task.number: job for task, job in zip(tasks, jobs, strict=True)}


def run_in_job(task: Task, requeues: int) -> Outcome:
    """Run the cell inside its job; before its time is up, or when preempted, the job goes back to the queue."""
    # These replace submitit's handlers, which would end a run without a note in its record.
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, interrupt)
    _use_cores_of_job()
    outcome = run_cell(task)
    while outcome.status == "elsewhere":  # perhaps claimed by this cell's last job, on a node that is gone
        time.sleep(1)
        outcome = run_cell(task)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if outcome.status == "interrupted" and _goes_back_to_queue(requeues):
        time.sleep(_SECONDS_TO_BE_STOPPED)
        os._exit(1)  # without a result: the job runs again
    return outcome


def _use_cores_of_job() -> None:
    import torch

    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    torch.set_num_threads(int(cores) if cores else available_cores())


def _goes_back_to_queue(requeues: int) -> bool:
    # Not SLURM_JOB_ID: for an array's last task it is the id of the whole array.
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]
    state = _output("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")
    if state is None or state.strip() == "CANCELLED" or int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= requeues:
        return False
    if state.strip() == "RUNNING":  # else SLURM has requeued it itself
        return _output("scontrol", "requeue", job) is not None
    return True


def _queued_jobs(jobs: Sequence[str]) -> set[str] | None:
    """The jobs that SLURM lists as waiting, starting or running; None where SLURM does not answer."""
    wanted = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    text = _output("squeue", "--noheader", "--array", "--format=%i", f"--jobs={wanted}")
    return set(text.split()) if text is not None else None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "Invalid job id" in done.stderr:  # ended so long ago that SLURM has forgotten it
        return ""
    return done.stdout if done.returncode == 0 else None


def _result(job: Any, task: Task) -> Outcome:
    try:
        outcome = job.result()
    except Exception as error:  # submitit passes on whatever the job raised, as text
        return fail(task, f"job {job.job_id} failed: {(str(error).strip().splitlines() or [''])[-1]}")
    assert isinstance(outcome, Outcome)
    return outcome
