"""How worker processes begin: as forks of a server that has imported torch, or each on its own."""

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

    A library that asks for GPUs as it is imported makes CUDA useless in every fork; of forks on macOS Python's own
    documentation warns.
    """
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in _GPU_DRIVERS)


def start_method(threads: int) -> ForkServerContext | SpawnContext:
    """Forks of a server, which is started here if none runs and ends with this process, or processes that import anew.

    The server only imports: it has computed nothing, so no thread of OpenMP can make its forks hang.
    """
    if not can_fork():
        return get_context("spawn")
    set_forkserver_preload(_IMPORTS)
    resource_tracker.ensure_running()  # it would take the server's signals from behind their block
    try:
        with _threads_of_libraries(threads), _signals_blocked(), silent_descriptors():
            ensure_running()
    except OSError:  # the path of a temporary folder may be too long for a socket
        return get_context("spawn")
    return get_context("forkserver")


@contextmanager
def _threads_of_libraries(threads: int) -> Iterator[None]:
    """They read it as they are imported."""
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
    """A signal to the whole group is the sweep's to answer; a fork's own waits until the fork can hear it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
