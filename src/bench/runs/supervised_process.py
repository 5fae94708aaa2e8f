"""One process of a run that a supervisor started: it does its share of the work and tells how that ended."""

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
SECONDS_TO_END = 15.0  # between the request to end and the end by force


@dataclass(frozen=True)
class Done:
    """The work has been done."""

    result: Any


@dataclass(frozen=True)
class Failure:
    """What ended the work instead."""

    error: Exception
    cause: BaseException | None  # a full disk, for one
    reason: str  # what the record says
    trace: str  # where it happened, if nobody foresaw it
    lost_another: bool  # only the consequence of another process's end


def serve(channel: int, voice: int) -> NoReturn:
    """Do what comes through the pipe `channel`; Python's stderr is the descriptor `voice`, that of libraries is not.

    When another process dies, gloo and NCCL write of it what would bury the one line that names it.
    """
    if voice >= 0:
        sys.stderr = os.fdopen(voice, "w", buffering=1, errors="backslashreplace")
    for number in _SIGNALS:
        signal.signal(number, _interrupt_once)
    try:
        status = _work(Connection(channel))
        _ignore_signals()
    except KeyboardInterrupt:
        _ignore_signals()  # whatever the work has set meanwhile
        status = INTERRUPTED
    _leave(status)


def _work(connection: Connection) -> int:
    """The exit status of the work."""
    try:
        work, arguments = connection.recv()  # imports what the work needs
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
    """A cause of Python's own: others may not travel."""
    return cause if isinstance(cause, OSError) else None


def _interrupt_once(*_: Any) -> NoReturn:
    """The record of an interrupted run is still to be written: no second signal ends that."""
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _follow_supervisor(connection: Connection) -> None:
    with suppress(OSError):
        connection.poll(None)  # it says no more: what can be read is its end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os.kill(os.getpid(), signal.SIGKILL)  # in a collective, where no signal reaches Python


def _leave(status: int) -> NoReturn:
    """End without pulling torch's modules apart; where something failed at once, as NCCL would wait for who is gone."""
    if not status:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
