"""How worker processes begin: as forks of a server that has imported torch, or each on its own."""

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")  # Nvidia, AMD, Windows' Linux, Jetson
_IMPORTS = ["bench.sweep.forked"]


def can_fork() -> bool:
    """Whether a process that has imported torch may be forked.

    A library that asks for GPUs as it is imported makes CUDA useless in every fork; of forks on macOS Python's own
    documentation warns.
    """
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in _GPU_DRIVERS)


def start_method() -> ForkServerContext | SpawnContext:
    """Forks of a server that only imports: it has computed nothing, so no thread of OpenMP can make them hang."""
    if not can_fork():
        return get_context("spawn")
    forkserver = get_context("forkserver")
    forkserver.set_forkserver_preload(_IMPORTS)
    return forkserver


def start_fork_server(threads: int) -> None:
    """Let the server begin with its imports, for workers of so many threads; it ends with this process."""
    start_method()
    outside = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by libraries as they are imported
    # Ctrl-C reaches the whole group, and the server would answer with a traceback as long as it imports.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
        if outside is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = outside
