"""The memory of a process: its peak, its freed pages, and the pages that it shares with other processes."""

import ctypes
import ctypes.util
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt
_of_server = 0  # bytes of libraries in the memory of this process's fork server
_untouched = 0  # of those, the bytes that this process had not touched when its run began


def release_free_memory() -> None:
    """Return freed pages to the system, where the C library is glibc.

    Between its phases a run frees buffers of tens of megabytes. glibc keeps them, and still requests more memory where
    small pieces lie between them: 130 MB of a PaDiM run of 500. A lower threshold for its `mmap` would avoid that, but
    doubles the time of the backbone.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a training step on a CPU frees for the next step, instead of returning it.

    Each step frees hundreds of megabytes of activations. The system clears every page that is returned and requested
    again: a third of the time of a MobileNetV2 at 224 pixels. `release_free_memory` still returns the pages.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def forget_peak() -> None:
    """Restart the measurement of the peak, where the system can: a process that runs many cells measures each one."""
    global _untouched
    release_free_memory()
    _untouched = max(0, _of_server - _kernel_says("RssFile"))
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """The largest resident size since `forget_peak`, with the libraries that a fork shares with its server.

    Linux counts a page of those to a fork only once the fork touches it: without 300 MB of torch's code a worker would
    appear smaller than `bench fit`. Pages that a cell does touch count twice: the peak is near that of `bench fit`, not
    equal to it (measured: from 1 % above to 4 % below).
    """
    # Not Linux' ru_maxrss: a process that a large one started inherits the large one's size there.
    return (_kernel_says("VmHWM") or _peak_of_usage()) + _untouched


def remember_libraries() -> None:
    """Record the libraries in memory now, so that every later fork of this process counts them."""
    global _of_server
    _of_server = _kernel_says("RssFile")


def _peak_of_usage() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kernel_says(size: str) -> int:
    """A size of this process, as Linux reports it, in bytes; 0 on other systems."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == size:
                return int(value.split()[0]) * 1024
    return 0


@cache
def _glibc() -> Any:
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    return library if hasattr(library, "malloc_trim") else None
