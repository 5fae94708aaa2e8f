"""A process that runs one cell after another in the environment of its sweep."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from bench.console import leave
from bench.phases import watched

SIGNALS = {signal.SIGINT, signal.SIGTERM}


def serve(cells: Connection, words: Connection, environment: Mapping[str, str], threads: int) -> None:
    """Receive tasks from `cells` and send back reports and outcomes until it closes; output goes to `words`.

    The process starts with `SIGNALS` blocked.
    """
    status: list[int] = []
    atexit.register(leave, status)  # registered first, so called last
    os.environ.clear()
    os.environ |= environment  # before torch and CUDA read it
    for stream in (1, 2):
        os.dup2(words.fileno(), stream)
    # Ctrl-C reaches the whole group: the sweep passes it on as SIGTERM, the one signal that a run must handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        import torch

        from bench.sweep.reports import Reports
        from bench.sweep.run_cell import run_cell

        torch.set_num_threads(threads)
        while True:
            task = cells.recv()
            with watched(Reports(task.number, cells.send), task.title):
                outcome = run_cell(task)
            cells.send(outcome)
    except (EOFError, OSError, KeyboardInterrupt):  # the sweep has ended
        status.append(0)


def interrupt(*_: Any) -> NoReturn:
    """Handle a signal: interrupt the run."""
    raise KeyboardInterrupt


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
