"""What the fork server does before its first fork."""

import atexit
import os

atexit.register(os._exit, 0)  # called after all other handlers: modules need not be taken apart

import bench.sweep.run_cell  # noqa: E402, F401  (what a worker needs for any cell)
from bench.memory import remember_libraries  # noqa: E402

remember_libraries()
