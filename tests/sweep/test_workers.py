"""Worker processes of this machine: how they start, what they hear, and how they end."""

import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.sweep.launchers.worker_handle import Worker
from bench.sweep.launchers.worker_main import SIGNALS
from sweep_processes import files_below, finish, kill_group, records, start, wait_for

TWO_WORKERS = ("--launcher.workers", "2", "--launcher.threads", "1")


@pytest.fixture
def two_long(small) -> Sequence[str]:
    """Two cells of some seconds."""
    return (*small, "--seeds", "0", "--trainer.max_epochs", "60", "--data.batch_size", "4")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_worker_starts_deaf_to_signals_and_leaves_those_of_the_sweep_as_they_were(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "multiprocessing.context.SpawnProcess.start",
        lambda process: seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, []) & SIGNALS),
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    Worker({}, 1)._start()
    assert seen == [SIGNALS]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_worker_that_meets_an_unforeseen_error_says_so_by_its_status():
    worker = Worker({}, 1)
    worker.begin("no task")
    worker._process.join()
    assert worker.last_words == "exit status 1"


def test_a_worker_that_is_ended_before_it_can_listen_runs_nothing():
    worker = Worker({}, 1)
    worker.begin("no task")
    worker.stop()
    worker.join()
    assert worker.last_words == "exit status 0"


def test_an_interrupt_while_workers_import_is_one_line(small, tmp_path):
    sweep = start("sweep", *small, *TWO_WORKERS, "--runs", tmp_path / "runs")
    wait_for(lambda: files_below(tmp_path, "*.claim") or len(children_of(sweep.pid)) > 2)
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
    assert finish(sweep) == (130, "", "bench: interrupted\n")


@pytest.mark.slow
def test_a_worker_s_cells_take_as_much_memory_as_those_of_a_process_of_its_own(small, tmp_path):
    peaks = []
    for workers in (0, 1):
        runs = tmp_path / str(workers)
        sweep = start("sweep", *small, "--seeds", "0", "--launcher.workers", workers, "--runs", runs)
        assert finish(sweep)[0] == 0
        peaks.append(max(record["cost"]["peak_memory_bytes"] for record in records(runs).values()))
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)


@pytest.mark.slow
def test_a_signal_to_the_whole_group_lets_workers_write_their_records(two_long, tmp_path):
    runs = tmp_path / "runs"
    sweep = start("sweep", *two_long, "--trainer.max_epochs", "2000", *TWO_WORKERS, "--runs", runs)
    wait_for(lambda: len(files_below(runs, "last.ckpt")) == 2)
    os.killpg(sweep.pid, signal.SIGTERM)  # as systemd and the end of a SLURM job do
    status, _, stderr = finish(sweep)
    assert (status, stderr.splitlines()[-1]) == (130, "bench: interrupted")
    assert [record["status"] for record in records(runs).values()] == ["interrupted"] * 2
    assert not files_below(runs, "*.claim")


@pytest.mark.slow
def test_the_data_loaders_of_a_worker_that_is_killed_end_with_it(two_long, tmp_path):
    runs = tmp_path / "runs"
    loaders = ("--data.num_workers", "2", "--data.augmentation", "symmetries")
    sweep = start("sweep", *two_long, *loaders, "--launcher.workers", "1", "--runs", runs)
    try:
        wait_for(lambda: files_below(runs, "last.ckpt"))
        (claim,) = files_below(runs, "*.claim/*")
        worker = json.loads(claim.read_text())["pid"]
        children = children_of(worker)
        assert len(children) >= 2
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(child) for child in children), seconds=30)
    finally:
        kill_group(sweep)
        sweep.communicate()


@pytest.mark.slow
def test_a_sweep_without_a_terminal_hears_which_epoch_its_cell_is_in(bench, two_long, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    monkeypatch.setattr("bench.sweep.progress_table._LONGEST_SILENCE", 1.0)
    outcome = bench("sweep", *two_long, "--launcher.workers", "1", "--launcher.threads", "1")
    assert outcome.status == 0, outcome.stderr
    assert re.search(r"\d of \d done, \d+ s left; .*, training: epoch \d+ of 60, for", outcome.stderr), outcome.stderr
    assert len(records(Path("runs"))) == outcome.stdout.count("image AUROC")
