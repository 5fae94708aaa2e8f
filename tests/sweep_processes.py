"""Real sweeps in processes of their own, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def records(runs: Path) -> dict[str, dict[str, Any]]:
    """All records below a folder, by fingerprint."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files_below(runs, "record.json")]
    assert len({record["fingerprint"] for record in found}) == len(found), "a cell has two records"
    return {record["fingerprint"]: record for record in found}


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Files and folders whose path ends as this pattern says, while others make and remove some: `rglob` fails then."""
    paths = (Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files))
    return [path for path in paths if path.match(pattern)]


def figures(runs: Path) -> dict[str, Any]:
    """What must not depend on how, where and with what interruptions a sweep ran."""
    keys = ("status", "metrics", "metrics_by_defect", "data", "config", "overrides", "command")
    return {name: [record[key] for key in keys] for name, record in records(runs).items()}


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`bench` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 480) -> tuple[int, str, str]:
    """Status, stdout and stderr of a process that ends by itself."""
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    finally:
        kill_group(process)
    return process.returncode, stdout, stderr


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the sweep and its workers at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(condition: Callable[[], Any], seconds: float = 180) -> Any:
    """What `condition` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found
