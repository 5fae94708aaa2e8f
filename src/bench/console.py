"""Words for a person: results go to stdout, everything else to stderr, and only one process speaks."""

import os
import sys


def is_main_process() -> bool:
    """Whether this is the process that writes and speaks; Lightning starts the others anew with a rank."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def say(message: str) -> None:
    """One line on stderr."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)
