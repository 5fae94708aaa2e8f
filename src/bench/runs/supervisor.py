"""Start the processes of a run on this machine, wait for them, and report which one failed and how."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import IO, Any, TypeVar

from bench.errors import RunError, first_line
from bench.processes import Launch, available_cores, own_numbers, without_launch
from bench.runs.supervised_process import INTERRUPTED, SECONDS_TO_END, Done, Failure

T = TypeVar("T")
Told = Callable[[BaseException, str, str], None]

_TICK = 0.2  # seconds between two checks of which processes are alive
_SECONDS_TO_JUDGE = 3.0  # a process that fails takes others along: the first one noticed need not be the cause


class Child:
    """One of the processes that share a run."""

    def __init__(self, launch: Launch, meeting_point: tuple[str, int]) -> None:
        self.launch = launch
        self.done: Done | None = None
        self.failure: Failure | None = None
        self.noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._connection, theirs = Pipe()
        voice = os.dup(2) if launch.rank == 0 else -1
        call = f"from bench.runs.supervised_process import serve; serve({theirs.fileno()}, {voice})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {call}"],
            stdin=subprocess.DEVNULL,
            stdout=None if launch.rank == 0 else subprocess.DEVNULL,
            stderr=self.noise,
            pass_fds=[theirs.fileno(), *([voice] if voice >= 0 else [])],
            env=_environment(launch, meeting_point),
            start_new_session=True,  # only the supervisor handles Ctrl-C
        )
        theirs.close()
        if voice >= 0:
            os.close(voice)

    @property
    def connection(self) -> Connection | None:
        """The connection to wait for; None once it is closed."""
        return None if self._connection.closed else self._connection

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed the process, if any."""
        code = self.process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else None

    @property
    def failed(self) -> bool:
        """Whether the process reported a failure or ended with another status than 0."""
        return self.failure is not None or bool(self.process.poll())

    @property
    def last_words(self) -> str:
        """The output of the process's libraries."""
        self.noise.seek(0)
        return self.noise.read().decode(errors="replace").strip()

    def begin(self, work: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Send the process its share of the work."""
        with suppress(OSError):  # the process may be dead already
            self._connection.send((work, arguments))

    def read(self) -> None:
        """Receive the process's messages."""
        try:
            while self.connection and self._connection.poll():
                word = self._connection.recv()
                if isinstance(word, Done):
                    self.done = word
                else:
                    self.failure = word
        except (EOFError, OSError):
            self._connection.close()


def share(
    work: Callable[..., T], arguments: Sequence[Any], *, count: int, nodes: int = 1, told: Told | None = None
) -> T:
    """Have `count` processes of this machine do `work` together; return the result of the first one.

    After a failure, `told` is called once no process is left: with the error, the reason in a few words, and details.
    """
    node = own_numbers()[1]
    # Runs of one node ignore MASTER_ADDR and MASTER_PORT: two of them at once would connect to each other.
    point = _own_point() if nodes == 1 else (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    children: list[Child] = []
    try:
        for local_rank in range(count):
            launch = Launch("torchrun", node * count + local_rank, nodes * count, local_rank, count, node, nodes)
            children.append(Child(launch, point))
        for child in children:
            child.begin(work, arguments)
        try:
            result: T = _wait(children)
        finally:
            _end(children)
    except _EndedError as ended:
        if told:
            told(ended.error, ended.reason, ended.details)
        raise ended.error from ended.error.__cause__
    except BaseException as error:
        if told:
            told(error, "interrupted" if isinstance(error, KeyboardInterrupt) else first_line(error), "")
        raise
    return result


class _EndedError(Exception):
    """The reason why the work did not finish."""

    def __init__(self, error: Exception, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.error, self.reason, self.details = error, reason, details


def _wait(children: Sequence[Child]) -> Any:
    seen: float | None = None
    while True:
        wait([child.connection for child in children if child.connection], timeout=_TICK)
        for child in children:
            child.read()
        if first := children[0].done:
            return first.result
        if any(child.failed for child in children):
            now = time.monotonic()
            seen = seen or now
            judged = any(child.signal for child in children) or all(child.failed for child in children)
            if judged or now - seen > _SECONDS_TO_JUDGE:
                raise _cause(children)
        if not any(child.connection for child in children):
            time.sleep(_TICK)


def _cause(children: Sequence[Child]) -> _EndedError | KeyboardInterrupt:
    """The failure that caused the others: a process killed by a signal, else a reported error, else a silent exit."""
    for child in children:
        if name := child.signal:
            reason = f"{child.launch.name} was killed by {name}"
            return _EndedError(RunError(reason), reason, child.last_words)
    if any(child.process.poll() == INTERRUPTED for child in children):
        return KeyboardInterrupt("interrupted")
    failures = [child.failure for child in children if child.failure]
    own = [failure for failure in failures if not failure.lost_another]
    silent = [child for child in children if child.failed and not child.failure]
    if silent and not own:
        name, words = silent[0].launch.name, silent[0].last_words
        reason = f"{name} ended with status {silent[0].process.poll()}"
        reason += f": {words.splitlines()[-1]}" if words else ""
        return _EndedError(RunError(reason), reason, words)
    failure = (own or failures)[0]
    failure.error.__cause__ = failure.cause
    return _EndedError(failure.error, failure.reason, failure.trace)


def _end(children: Sequence[Child]) -> None:
    """Ask the remaining processes to end, then kill them."""
    try:
        done = children[0].done is not None  # the others have nothing left to do either, and end by themselves
        for child in children:
            if not done and child.process.poll() is None:
                child.process.terminate()
        end = time.monotonic() + SECONDS_TO_END
        while any(child.process.poll() is None for child in children) and time.monotonic() < end:
            for child in children:
                child.read()  # no process may block on a full pipe
            time.sleep(0.05)
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
            child.noise.close()
            if child.connection:
                child.connection.close()


def _environment(launch: Launch, meeting_point: tuple[str, int]) -> dict[str, str]:
    cores = available_cores()
    threads = {"OMP_NUM_THREADS": str(max(1, cores // launch.local_world))}
    return threads | without_launch() | launch.environment(*meeting_point)


def _own_point() -> tuple[str, int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return "127.0.0.1", free.getsockname()[1]
