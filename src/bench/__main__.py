"""`bench` as a process: `python -m bench`, and the command that an installation brings."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from bench.cli.main import main
from bench.writing import describe_refusal


def run() -> NoReturn:
    """Run the command line of this process and end it."""
    status: list[int] = []
    atexit.register(_leave, status)  # registered before all others, called after them
    status.append(_write_out(main()))
    sys.exit(status[0])


def _write_out(status: int) -> int:
    """The status of a command, once all that it printed is written."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        pass  # the reader has left; nothing is wrong
    except OSError as error:
        if status:  # its own line has been said
            return status
        line, status = describe_refusal(error)
        print(f"bench: {line}", file=sys.stderr)
    return status


def _leave(status: list[int]) -> None:
    """Leave without the second and more that Python takes to pull torch's thousands of modules apart."""
    if not status:  # an exception is on its way out
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # `_write_out` has heard of it
            print(end="", flush=True, file=stream)
    os._exit(status[0])


if __name__ == "__main__":
    run()
