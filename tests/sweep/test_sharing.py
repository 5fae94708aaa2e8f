"""Two sweeps on one folder share its cells; each cell is run by one of them, and both know all figures."""

import json
from contextlib import suppress

import pytest

from sweep_processes import figures, files_below, finish, start, wait_for

ONE_WORKER = ("--launcher.workers", "1", "--launcher.threads", "1")


@pytest.mark.slow
def test_two_sweeps_at_once_run_every_cell_once(small, undisturbed, tmp_path):
    cells = (*small, "--trainer.max_epochs", "20", "--data.batch_size", "4")
    expected = undisturbed(*cells)
    runs = tmp_path / "shared"
    sweeps = [start("sweep", *cells, *ONE_WORKER, "--runs", runs) for _ in range(2)]
    written: dict[str, int] = {}  # by record: when it was first seen
    workers = set()

    def watch() -> bool:
        for path in files_below(runs, "*.claim/*"):
            with suppress(OSError, ValueError):
                workers.add(json.loads(path.read_text())["pid"])
        for path in files_below(runs, "record.json"):
            written.setdefault(str(path), path.stat().st_mtime_ns)
        return all(sweep.poll() is not None for sweep in sweeps)

    wait_for(watch, seconds=240)
    results = [finish(sweep) for sweep in sweeps]
    assert [status for status, _, _ in results] == [0, 0], results
    assert results[0][1] == results[1][1], "both list all cells and their figures"
    assert figures(runs) == expected
    assert {str(path): path.stat().st_mtime_ns for path in files_below(runs, "record.json")} == written, (
        "a record came twice"
    )
    assert len(workers) == 2, "one of the two did nothing"
    assert not files_below(runs, "*.claim")
