"""Memory that a process holds without using it."""

import ctypes
import ctypes.util
from functools import cache
from typing import Any


def release_free_memory() -> None:
    """Give freed pages back to the system, where the C library is glibc.

    Between its phases a run frees buffers of tens of megabytes. glibc keeps them for itself and still asks for more
    where small pieces lie between: 130 MB of a PaDiM run of 500. A lower threshold for its `mmap` would avoid that at
    twice the time of the backbone.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    name = ctypes.util.find_library("c")
    library = ctypes.CDLL(name) if name else None
    return library if hasattr(library, "malloc_trim") else None
