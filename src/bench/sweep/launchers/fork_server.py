"""How worker processes start: as forks of a server that has imported torch, or each as a new process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.forkserver import ensure_running, set_forkserver_preload
from pathlib import Path

from bench.console import silent_descriptors

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")  # Nvidia, AMD, Windows' Linux, Jetson
_IMPORTS = ["bench.sweep.launchers.forked"]
SIGNALS = {signal.SIGINT, signal.SIGTERM}


def can_fork() -> bool:
    """Whether a process that has imported torch may be forked.

    A library that queries GPUs during its import makes CUDA unusable in every fork. Python's documentation warns of
    forks on macOS.
    """
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in _GPU_DRIVERS)


def start_method(threads: int) -> ForkServerContext | SpawnContext:
    """The context for forks of a server, which is started here if none runs, or for processes that import anew.

    The server ends with this process. It only imports and computes nothing: no OpenMP thread can make its forks hang.
    """
    if not can_fork():
        return get_context("spawn")
    set_forkserver_preload(_IMPORTS)
    resource_tracker.ensure_running()  # if it started in the block below, it would unblock the server's signals
    try:
        with _threads_of_libraries(threads), _signals_blocked(), silent_descriptors():
            ensure_running()
    except OSError:  # the path of a temporary folder may be too long for a socket
        return get_context("spawn")
    return get_context("forkserver")


@contextmanager
def _threads_of_libraries(threads: int) -> Iterator[None]:
    """Set OMP_NUM_THREADS, which libraries read during their import."""
    outside = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if outside is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = outside


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals: the sweep handles those to the whole group; a fork's own wait until the fork unblocks them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
