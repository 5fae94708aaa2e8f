"""The module that the fork server imports before its first fork."""

import atexit
import os

atexit.register(os._exit, 0)  # runs after all other handlers and skips the teardown of modules

import bench.sweep.run_cell  # noqa: E402, F401  (what a worker needs for any cell)
from bench.memory import remember_libraries  # noqa: E402

remember_libraries()
