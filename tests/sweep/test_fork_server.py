"""Workers that are forks of one server, which imports torch while the sweep is planned."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path

import pytest

from bench.sweep.launchers import fork_server
from bench.sweep.launchers.fork_server import SIGNALS, can_fork, start_method
from bench.sweep.launchers.local import LocalLauncher
from bench.sweep.launchers.worker_handle import Worker
from sweep_processes import figures, files_below, finish, kill_group, records, start, wait_for

TWO_WORKERS = ("--launcher.workers", "2", "--launcher.threads", "1")
where_torch_survives_a_fork = pytest.mark.skipif(not can_fork(), reason="no Linux without GPUs")


@pytest.fixture
def two_long(small) -> Sequence[str]:
    """Two cells of some seconds."""
    return (*small, "--seeds", "0", "--trainer.max_epochs", "60", "--data.batch_size", "4")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_of(sweep: int) -> int | None:
    for child in children_of(sweep):
        with suppress(FileNotFoundError):
            if b"multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def is_alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@where_torch_survives_a_fork
def test_workers_have_imported_torch_before_they_begin():
    queue = start_method(1).SimpleQueue()
    process = start_method(1).Process(target=_tell, args=(queue,))
    process.start()
    assert queue.get() is True
    process.join()


def _tell(queue) -> None:
    queue.put("torch" in sys.modules)


@where_torch_survives_a_fork
@pytest.mark.parametrize("outside", [None, "7"])
def test_the_server_begins_in_circumstances_of_its_own_and_leaves_the_sweep_s_as_they_were(outside, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", outside or "")
    if outside is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    seen = []

    def look() -> None:
        seen.append((os.environ["OMP_NUM_THREADS"], signal.pthread_sigmask(signal.SIG_BLOCK, []) & SIGNALS))
        os.write(1, b"words of the server")

    monkeypatch.setattr(fork_server, "ensure_running", look)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    start_method(3)
    os.write(1, b"words of the sweep")
    assert seen == [("3", SIGNALS)]
    assert os.environ.get("OMP_NUM_THREADS") == outside
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert capfd.readouterr().out == "words of the sweep"


@pytest.mark.parametrize(("name", "value"), [("_GPU_DRIVERS", ("/",)), ("sys.platform", "darwin")])
def test_where_torch_does_not_survive_a_fork_each_worker_imports_for_itself(name, value, monkeypatch):
    monkeypatch.setattr(f"bench.sweep.launchers.fork_server.{name}", value)
    monkeypatch.setattr(fork_server, "ensure_running", lambda: pytest.fail("a server was started"))
    LocalLauncher(workers=2, threads=1).warm()
    assert start_method(1).get_start_method() == "spawn"


def test_where_no_server_can_listen_each_worker_imports_for_itself(monkeypatch):
    def refuse() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(fork_server, "ensure_running", refuse)
    assert start_method(1).get_start_method() == "spawn"


@where_torch_survives_a_fork
def test_a_worker_whose_server_dies_over_its_start_imports_for_itself(monkeypatch):
    def die(_: object) -> None:
        raise EOFError

    monkeypatch.setattr(ForkServerProcess, "_Popen", staticmethod(die))
    worker = Worker({}, 1)
    worker.begin("no task")
    assert isinstance(worker._process, SpawnProcess)
    worker._process.join()
    assert worker.last_words == "exit status 1"  # it met a task that is none: it worked


@where_torch_survives_a_fork
def test_a_worker_that_is_ended_before_it_can_listen_runs_nothing():
    worker = Worker({}, 1)
    worker.begin("no task")
    worker.stop()
    worker.join()
    assert worker.last_words == "exit status 0"


@where_torch_survives_a_fork
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
    wait_for(lambda: len(files_below(runs, "last.ckpt")) == 2)
    os.killpg(sweep.pid, signal.SIGTERM)  # as systemd and the end of a SLURM job do
    status, _, stderr = finish(sweep)
    assert (status, stderr.splitlines()[-1]) == (130, "bench: interrupted")
    assert [record["status"] for record in records(runs).values()] == ["interrupted"] * 2
    assert not files_below(runs, "*.claim")


@pytest.mark.slow
@where_torch_survives_a_fork
def test_a_server_that_is_killed_costs_no_cell(two_long, undisturbed, tmp_path):
    cells = (*two_long, "--seeds", "0,1")
    expected = undisturbed(*cells)
    runs = tmp_path / "runs"
    sweep = start("sweep", *cells, *TWO_WORKERS, "--runs", runs)
    try:
        wait_for(lambda: len(files_below(runs, "last.ckpt")) == 2)
        os.kill(server_of(sweep.pid), signal.SIGKILL)
        status, stdout, stderr = finish(sweep)
    finally:
        kill_group(sweep)
    assert status == 0, stderr
    assert len(stdout.splitlines()) == len(expected)
    assert figures(runs) == expected
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
