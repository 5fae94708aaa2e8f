"""`--launcher ray` on a real Ray of this one machine."""

import json
import os
import signal
import sys

import pytest

from sweep_processes import figures, files_below, finish, kill_group, start, wait_for

RAY = ("--launcher", "ray", "--launcher.local_cpus", "2")


@pytest.fixture
def ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'bench[ray]'")


@pytest.mark.slow
def test_six_cells_run_as_tasks_to_the_figures_of_any_other_launcher(ray, small, undisturbed, tmp_path):
    expected = undisturbed(*small)
    runs = tmp_path / "ray"
    status, stdout, stderr = finish(start("sweep", *small, *RAY, "--runs", runs), seconds=300)
    assert status == 0, stderr
    assert len(stdout.splitlines()) == len(expected) == 6
    assert figures(runs) == expected


@pytest.mark.slow
def test_a_cell_whose_worker_dies_is_run_again_from_its_last_epoch(ray, small, undisturbed, tmp_path):
    cells = (*small, "--seeds", "0", "--trainer.max_epochs", "60", "--data.batch_size", "4")
    expected = undisturbed(*cells)
    runs = tmp_path / "ray"
    sweep = start("sweep", *cells, *RAY, "--runs", runs)
    try:
        wait_for(lambda: files_below(runs, "last.ckpt") or sweep.poll() is not None)
        assert sweep.poll() is None, sweep.communicate()
        owners = [json.loads(path.read_text())["pid"] for path in files_below(runs, "*.claim/*")]
        assert owners
        for pid in owners:
            os.kill(pid, signal.SIGKILL)
        status, _, stderr = finish(sweep, seconds=240)
    finally:
        kill_group(sweep)
    assert status == 0, stderr
    assert figures(runs) == expected


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused(ray, small, tmp_path):
    status, _, stderr = finish(start("sweep", *small, *RAY, "--launcher.cpus", "1000", "--runs", tmp_path / "runs"))
    assert status == 2
    assert "--launcher.cpus 1000 is more than" in stderr


def test_without_ray_the_launcher_is_refused(refuse, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'bench[ray]'" in refuse("sweep", *small, "--launcher", "ray")
