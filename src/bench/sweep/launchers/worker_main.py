"""A process that runs one cell after another in the environment of its sweep."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from bench.sweep.launchers.fork_server import SIGNALS


def serve(cells: Connection, words: Connection, environment: Mapping[str, str], threads: int) -> None:
    """Receive tasks from `cells` and send back their outcomes until it closes; output goes to `words`."""
    with _handlers_of_a_fork():
        os.environ.clear()
        os.environ |= environment  # before CUDA reads it, and torch where no fork server has imported it
        for stream in (1, 2):
            os.dup2(words.fileno(), stream)
        # Ctrl-C reaches the whole group: the sweep passes it on as SIGTERM, the one signal that a run must handle.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, interrupt)
        threading.Thread(target=_follow_parent, daemon=True).start()
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            import torch

            from bench.sweep.run_cell import run_cell

            torch.set_num_threads(threads)
            while True:
                cells.send(run_cell(cells.recv()))
        except (EOFError, OSError, KeyboardInterrupt):
            pass  # the sweep has ended


@contextmanager
def _handlers_of_a_fork() -> Iterator[None]:
    """At the end, call the handlers that this process registered, as Python does from 3.13 on, not its server's.

    Data loaders are spawned: as forks of the server they would outlive a worker that is killed.
    """
    forked = multiprocessing.get_start_method() == "forkserver"
    multiprocessing.set_start_method("spawn", force=True)
    if forked:
        atexit._clear()
    try:
        yield
    finally:
        if forked:
            atexit._run_exitfuncs()


def interrupt(*_: Any) -> NoReturn:
    """Handle a signal: interrupt the run."""
    raise KeyboardInterrupt


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
