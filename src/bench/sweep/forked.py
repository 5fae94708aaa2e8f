"""What the fork server does before its first fork."""

import atexit
import os
import signal

# A signal to the whole group is the sweep's to answer; the server ends when nobody can ask it for a process any more.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

import bench.sweep.work  # noqa: E402, F401  (what a worker needs for any cell)
from bench.memory import remember_libraries  # noqa: E402

remember_libraries()
atexit.register(os._exit, 0)  # the server holds nothing that would have to be put away
