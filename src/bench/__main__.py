"""The entry point of `bench`: `python -m bench`, and the installed command."""

import atexit
import sys
from typing import NoReturn

if sys.platform == "win32":  # signals, processes and file names are POSIX's throughout
    print("bench: does not run on Windows itself; use it in WSL 2", file=sys.stderr)
    sys.exit(2)

from bench.cli.main import main
from bench.console import leave
from bench.writing import describe_refusal


def run() -> NoReturn:
    """Run the command line of this process, then exit with its status."""
    status: list[int] = []
    atexit.register(leave, status)  # registered first, so called last
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


if __name__ == "__main__":
    run()
