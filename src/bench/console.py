"""Words for a person: results go to stdout, everything else to stderr, and only one process speaks."""

import sys

from bench.processes import is_main_process

__all__ = ["is_main_process", "say"]


def say(message: str) -> None:
    """One line on stderr."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)
