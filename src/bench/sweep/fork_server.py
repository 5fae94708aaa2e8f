"""How worker processes begin: as forks of a server that has imported torch, or on their own where there is a GPU."""

import os
import signal
import threading
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")
_IMPORTS = ["bench.sweep.forked"]


def has_gpu_driver() -> bool:
    """Whether an import may meet a GPU."""
    return any(Path(driver).exists() for driver in _GPU_DRIVERS)


def start_method() -> ForkServerContext | SpawnContext:
    """Forks of a server that imports and computes nothing, which no thread of OpenMP can make hang.

    A library that asks for GPUs as it is imported makes CUDA useless in every fork: with a GPU, each process imports
    for itself.
    """
    if has_gpu_driver():
        return get_context("spawn")
    forkserver = get_context("forkserver")
    forkserver.set_forkserver_preload(_IMPORTS)
    return forkserver


def start_fork_server(threads: int) -> None:
    """Let the server begin with its imports, for workers of so many threads; it ends with this process."""
    start_method()
    outside = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by libraries as they are imported
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C reaches the whole group, and the server would answer with a traceback as long as it imports.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        ensure_running()
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if outside is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = outside
