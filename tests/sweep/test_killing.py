"""Whatever kills a sweep, and whenever: the next one goes on, to the records of a sweep that nothing killed.

`BENCH_TEST_KILLS=100 pytest -n0 -m slow tests/sweep/test_killing.py` kills more often, longer cells.
"""

import os
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sweep_processes import figures, files_below, finish, kill_group, records, start, wait_for

KILLS = int(os.environ.get("BENCH_TEST_KILLS", "20"))
EPOCHS = max(60, 3 * KILLS)  # so that the sweep is not over before the last kill
# The VAE draws noise in every step: what a resumed cell draws must be what the undisturbed one drew.
CELLS = ("--models", "vae,autoencoder_l2", "--seeds", "0,1", "--data.batch_size", "4")
LONG = (*CELLS, "--trainer.max_epochs", EPOCHS)
TWO_WORKERS = ("--launcher.workers", "2", "--launcher.threads", "1")


# What a kill comes after, in turn: nothing, a cell that was begun, an epoch that was finished. However busy the machine
# is, most kills meet a run in the midst of its training.
SIGNS = ("", "*.claim", "last.ckpt", "last.ckpt", "last.ckpt")


def times_of(runs: Path, pattern: str) -> dict[Path, int]:
    times = {}
    for path in files_below(runs, pattern):
        with suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return times


@pytest.mark.slow
def test_a_sweep_killed_at_random_moments_ends_in_the_records_of_an_undisturbed_one(small, undisturbed, tmp_path):
    cells = (*small, *LONG)
    expected = undisturbed(*cells)
    moments, checkpoints = random.Random(20), 0
    runs = tmp_path / "killed"
    for number in range(KILLS):
        sweep = start("sweep", *cells, *TWO_WORKERS, "--runs", runs)
        if sign := SIGNS[number % len(SIGNS)]:
            before = times_of(runs, sign)

            def new_sign(sign=sign, before=before, sweep=sweep) -> bool:
                return bool(times_of(runs, sign).items() - before.items()) or sweep.poll() is not None

            wait_for(new_sign)
        time.sleep(moments.uniform(0, 2))
        kill_group(sweep)
        sweep.communicate()
        checkpoints += len(files_below(runs, "last.ckpt"))
        assert all(record["status"] == "finished" for record in records(runs).values())
    assert checkpoints > KILLS // 2, "hardly a kill met a run in the midst of its training"
    assert len(records(runs)) < len(expected), "the sweep had ended before it was killed for the last time"
    status, stdout, stderr = finish(start("sweep", *cells, *TWO_WORKERS, "--runs", runs), seconds=1800)
    assert status == 0, stderr
    assert len(stdout.splitlines()) == len(expected)
    assert figures(runs) == expected
    assert not files_below(runs, "*.claim")
    assert not files_below(runs, "*.partial")
    assert not files_below(runs, "last.ckpt")


@pytest.mark.slow
def test_workers_end_with_their_sweep(small, tmp_path):
    sweep = start("sweep", *small, *LONG, *TWO_WORKERS, "--runs", tmp_path / "runs")
    try:
        wait_for(lambda: files_below(tmp_path / "runs", "last.ckpt") or sweep.poll() is not None)
        sweep.kill()  # the sweep alone: nobody tells its workers
        sweep.wait()
        wait_for(lambda: len(records(tmp_path / "runs")) >= 1 and not files_below(tmp_path / "runs", "*.claim"))
    finally:
        kill_group(sweep)
    assert "interrupted" in {record["status"] for record in records(tmp_path / "runs").values()}
