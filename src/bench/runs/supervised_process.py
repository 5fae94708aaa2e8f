"""One process of a run that a supervisor started: it does its share of the work and reports how that ended."""

import atexit
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NoReturn

from bench.errors import CrashError, RunError, UsageError, first_line

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS_TO_END = 15.0  # between the request to end and SIGKILL


@dataclass(frozen=True)
class Done:
    """The result of work that succeeded."""

    result: Any


@dataclass(frozen=True)
class Failure:
    """The error that ended the work."""

    error: Exception
    cause: BaseException | None  # for example a full disk
    reason: str  # the error in the record
    trace: str  # the traceback of an unforeseen error
    lost_another: bool  # only the consequence of another process's end


def serve(channel: int, voice: int) -> NoReturn:
    """Do the work that the pipe `channel` delivers; `voice` is the descriptor of Python's stderr, not of libraries'.

    When another process dies, gloo and NCCL print messages that would bury the one line that names it.
    """
    if voice >= 0:
        sys.stderr = os.fdopen(voice, "w", buffering=1, errors="backslashreplace")
    for number in _SIGNALS:
        signal.signal(number, _interrupt_once)
    try:
        status = _work(Connection(channel))
        _ignore_signals()
    except KeyboardInterrupt:
        _ignore_signals()  # whatever handlers the work has set
        status = INTERRUPTED
    _leave(status)


def _work(connection: Connection) -> int:
    """Do the work; return the exit status."""
    try:
        work, arguments = connection.recv()  # unpickling imports what the work needs
        Thread(target=_follow_supervisor, args=(connection,), daemon=True).start()
        connection.send(Done(work(*arguments)))
    except EOFError:  # the supervisor is gone
        return 1
    except Exception as error:
        _tell(connection, error)
        return 1
    return 0


def _tell(connection: Connection, error: Exception) -> None:
    from bench.runs.join_processes import lost_another

    foreseen = isinstance(error, UsageError | RunError | OSError)
    told = error if foreseen else RunError(f"{type(error).__name__}: {first_line(error)}")
    crash = error.__cause__ if isinstance(error, CrashError) else None
    trace = "" if foreseen and crash is None else "".join(traceback.format_exception(crash or error))
    with suppress(OSError):
        connection.send(Failure(told, _plain(error.__cause__), first_line(crash or error), trace, lost_another(error)))


def _plain(cause: BaseException | None) -> BaseException | None:
    """The cause, if it is an OSError: other types may not survive pickling."""
    return cause if isinstance(cause, OSError) else None


def _interrupt_once(*_: Any) -> NoReturn:
    """Raise KeyboardInterrupt once: no second signal may stop the writing of the interrupted run's record."""
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _follow_supervisor(connection: Connection) -> None:
    with suppress(OSError):
        connection.poll(None)  # the supervisor sends no more: readable means closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os.kill(os.getpid(), signal.SIGKILL)  # a collective keeps signals from Python


def _leave(status: int) -> NoReturn:
    """Exit without tearing down torch's modules; after a failure without exit functions, in which NCCL would wait."""
    if not status:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
