"""What a process holds in memory: at most, without using it, and together with others."""

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
_of_server = 0  # bytes of libraries that the fork server of this process had in memory
_untouched = 0  # of those, what this process had not touched when its run began


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
    global _untouched
    release_free_memory()
    _untouched = max(0, _of_server - _kernel_says("RssFile"))
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """The largest resident size since `forget_peak`, with the libraries that a fork shares with its server.

    Linux does not count those to a fork before it touches them: 300 MB of torch's code, by which a worker would seem
    smaller than `bench fit`. Those that a cell does touch count twice: its figure is near that of `bench fit`, not
    equal to it (measured: from 1 % above to 4 % below).
    """
    # Not Linux' ru_maxrss: a process that a large one started has that one's size there.
    return (_kernel_says("VmHWM") or _peak_of_usage()) + _untouched


def remember_libraries() -> None:
    """Let every later fork of this process count what it has in memory of libraries."""
    global _of_server
    _of_server = _kernel_says("RssFile")


def _peak_of_usage() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kernel_says(size: str) -> int:
    """One of the sizes that Linux tells of a process, in bytes; 0 elsewhere."""
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
