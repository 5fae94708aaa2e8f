"""Workers that load torch while a sweep is planned."""

from multiprocessing import active_children

import pytest

from bench.errors import UsageError
from bench.sweep import local
from bench.sweep.local import LocalLauncher


@pytest.fixture
def launcher(monkeypatch) -> LocalLauncher:
    """Of two workers, on a machine without a GPU."""
    monkeypatch.setattr(local, "_GPU_DRIVERS", ())
    return LocalLauncher(workers=2, threads=1)


def test_cells_go_to_the_workers_that_are_warm(launcher):
    with launcher.warm():
        warm = {process.pid for process in active_children()}
        assert len(warm) == 2
        with launcher.open([]):
            assert {process.pid for process in active_children()} == warm
        assert not active_children(), "a pool ends with its sweep"


def test_no_worker_outlives_a_plan_that_fails(launcher):
    with pytest.raises(UsageError), launcher.warm():
        raise UsageError("no such method")
    assert not active_children()


def test_a_worker_of_another_environment_gets_no_cell(launcher, monkeypatch):
    with launcher.warm():
        monkeypatch.setattr(LocalLauncher, "_environments", lambda *_: [{"CUDA_VISIBLE_DEVICES": "0"}])
        with launcher.open([]) as pool:
            assert [worker.arguments[0] for worker in pool._workers] == [{"CUDA_VISIBLE_DEVICES": "0"}]
        assert len(active_children()) == 2, "those that are warm wait for a cell that fits"
    assert not active_children()


def test_where_there_are_gpus_no_worker_is_warm(launcher, monkeypatch, tmp_path):
    monkeypatch.setattr(local, "_GPU_DRIVERS", (str(tmp_path),))
    with launcher.warm():
        assert not active_children()
