"""The memory of a process, its peak and its freed pages, and what the machine has left."""

import ctypes
import ctypes.util
import os
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

_OF_PROCESS, _OF_MACHINE = Path("/proc/self/status"), Path("/proc/meminfo")
_OF_GROUP = Path("/sys/fs/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


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
    release_free_memory()
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """The largest resident size since `forget_peak`."""
    # Not Linux' ru_maxrss: a process that a large one started inherits the large one's size there.
    return _kernel_says("VmHWM", _OF_PROCESS) or _peak_of_usage()


def machine_bytes() -> int:
    """The size of this machine's memory; 0 where the system does not tell."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= names.keys():
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_bytes() -> int:
    """The memory that the system can give without swapping, in a container of the second kind no more than its limit.

    That of the machine where the system does not tell, and 0 where it tells neither.
    """
    available = _kernel_says("MemAvailable", _OF_MACHINE) or machine_bytes()
    with suppress(OSError, ValueError):  # no control group of version 2, or no limit in it, which reads `max`
        limit, used = (int((_OF_GROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        return min(available, max(0, limit - used))
    return available


def _peak_of_usage() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kernel_says(size: str, file: Path) -> int:
    """A size in one of Linux' reports, in bytes; 0 on other systems."""
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == size:
                return int(value.split()[0]) * 1024
    return 0


@cache
def _glibc() -> Any:
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    return library if hasattr(library, "malloc_trim") else None
