"""Workers that are forks of one server, which imports torch while the sweep is planned."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.sweep import fork_server
from bench.sweep.fork_server import start_fork_server, start_method
from bench.sweep.local import LocalLauncher
from sweep_processes import figures, finish, kill_group, records, start, wait_for

TWO_WORKERS = ("--launcher.workers", "2", "--launcher.threads", "1")


@pytest.fixture
def two_long(small) -> Sequence[str]:
    """Two cells of some seconds."""
    return (*small, "--seeds", "0", "--trainer.max_epochs", "60", "--data.batch_size", "4")


def server_of(sweep: int) -> int | None:
    for child in Path(f"/proc/{sweep}/task/{sweep}/children").read_text().split():
        if b"multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def test_workers_have_imported_torch_before_they_begin():
    start_fork_server(1)
    queue = start_method().SimpleQueue()
    process = start_method().Process(target=_tell, args=(queue,))
    process.start()
    assert queue.get() is True
    process.join()


def _tell(queue) -> None:
    queue.put("torch" in sys.modules)


@pytest.mark.parametrize("outside", [None, "7"])
def test_the_sweep_s_own_environment_and_signals_stay_as_they_were(outside, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", outside or "")
    if outside is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    handler = signal.getsignal(signal.SIGINT)
    start_fork_server(1)
    assert os.environ.get("OMP_NUM_THREADS") == outside
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(("name", "value"), [("_GPU_DRIVERS", ("/",)), ("sys.platform", "darwin")])
def test_where_torch_does_not_survive_a_fork_each_worker_imports_for_itself(name, value, monkeypatch):
    monkeypatch.setattr(f"bench.sweep.fork_server.{name}", value)
    monkeypatch.setattr(fork_server, "ensure_running", lambda: pytest.fail("a server was started"))
    LocalLauncher(workers=2, threads=1).warm()
    assert start_method().get_start_method() == "spawn"


def test_an_interrupt_while_the_server_imports_is_one_line(small, tmp_path):
    sweep = start("sweep", *small, *TWO_WORKERS, "--runs", tmp_path / "runs")
    wait_for(lambda: server_of(sweep.pid))
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
    sweep = start("sweep", *two_long, *TWO_WORKERS, "--runs", runs)
    wait_for(lambda: len(list(runs.rglob("last.ckpt"))) == 2)
    os.killpg(sweep.pid, signal.SIGTERM)  # as systemd and the end of a SLURM job do
    status, _, stderr = finish(sweep)
    assert (status, stderr.splitlines()[-1]) == (130, "bench: interrupted")
    assert [record["status"] for record in records(runs).values()] == ["interrupted"] * 2
    assert not list(runs.rglob("*.claim"))


@pytest.mark.slow
def test_a_server_that_is_killed_costs_no_cell(small, two_long, undisturbed, tmp_path):
    cells = (*two_long, "--seeds", "0,1")
    expected = undisturbed(*cells)
    runs = tmp_path / "runs"
    sweep = start("sweep", *cells, *TWO_WORKERS, "--runs", runs)
    try:
        wait_for(lambda: len(list(runs.rglob("last.ckpt"))) == 2)
        os.kill(server_of(sweep.pid), signal.SIGKILL)
        status, stdout, stderr = finish(sweep)
    finally:
        kill_group(sweep)
    assert status == 0, stderr
    assert len(stdout.splitlines()) == len(expected)
    assert figures(runs) == expected
    assert not list(runs.rglob("*.claim"))
