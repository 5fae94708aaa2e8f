"""The entry point of `bench`: `python -m bench`, and the installed command."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from bench.cli.main import main
from bench.writing import describe_refusal


def run() -> NoReturn:
    """Run the command line of this process, then exit with its status."""
    status: list[int] = []
    atexit.register(_leave, status)  # registered first, so called last
    status.append(_write_out(main()))
    sys.exit(status[0])


def _write_out(status: int) -> int:
    """Flush stdout; return the status of the command, or that of a failed flush."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        pass  # the reader closed the pipe, which is no error
    except OSError as error:
        if status:  # the command has printed its own error
            return status
        line, status = describe_refusal(error)
        print(f"bench: {line}", file=sys.stderr)
    return status


def _leave(status: list[int]) -> None:
    """Exit without Python's teardown of torch's thousands of modules, which takes over a second."""
    if not status:  # an exception is propagating
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # `_write_out` has reported it
            print(end="", flush=True, file=stream)
    os._exit(status[0])


if __name__ == "__main__":
    run()
