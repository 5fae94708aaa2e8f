"""`bench` as a process: `python -m bench`, and the command that an installation brings."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from bench.cli import main


def run() -> NoReturn:
    """Run the command line of this process and end it."""
    status: list[int] = []
    atexit.register(_leave, status)  # registered before all others, called after them
    status.append(main())
    sys.exit(status[0])


def _leave(status: list[int]) -> None:
    """Leave without the second and more that Python takes to pull torch's thousands of modules apart."""
    if not status:  # an exception is on its way out
        return
    with suppress(OSError):  # of the disk or the reader that `main` has heard of
        print(end="", flush=True)
        print(end="", flush=True, file=sys.stderr)
    os._exit(status[0])


if __name__ == "__main__":
    run()
