"""Memory that a process holds without using it."""

import ctypes
import ctypes.util
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


def release_free_memory() -> None:
    """Give freed pages back to the system, where the C library is glibc.

    Between its phases a run frees buffers of tens of megabytes. glibc keeps them for itself and still asks for more
    where small pieces lie between: 130 MB of a PaDiM run of 500. A lower threshold for its `mmap` would avoid that at
    twice the time of the backbone.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def keep_freed_memory() -> None:
    """Let glibc keep what a training on a CPU frees for its next step, instead of giving it back and asking anew.

    Each step frees hundreds of megabytes of activations. Returned and asked for again, every page of them is cleared
    by the system once more: a third of the time of a MobileNetV2 at 224 pixels. `release_free_memory` still empties it.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def forget_peak() -> None:
    """Begin to measure the peak anew, where the system can: a process that runs many cells tells each one's own."""
    release_free_memory()
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


@cache
def _glibc() -> Any:
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    return library if hasattr(library, "malloc_trim") else None
