"""`--launcher slurm` on a real SLURM of this one machine."""

import subprocess
import sys
from os import environ

import pytest

from slurm_cluster import slurm_cluster
from sweep_processes import figures, files_below, finish, kill_group, records, start, wait_for

QUICK_POLLS = ("--launcher", "slurm", "--launcher.poll_seconds", "1", "--launcher.sbatch.cpus_per_task", "1")


@pytest.fixture(scope="module")
def cluster():
    with slurm_cluster() as environment:
        yield environment


def scontrol(cluster: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environ | cluster, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_six_cells_run_as_a_job_array_to_the_figures_of_any_other_launcher(cluster, small, undisturbed, tmp_path):
    expected = undisturbed(*small)
    runs = tmp_path / "slurm"
    status, stdout, stderr = finish(start("sweep", *small, *QUICK_POLLS, "--runs", runs, **cluster), seconds=400)
    assert status == 0, stderr
    assert len(stdout.splitlines()) == len(expected) == 6
    assert figures(runs) == expected
    scripts = {path.read_text() for path in (runs / ".slurm").glob("*.sh")}  # submitit keeps two copies
    assert len(scripts) == 1, "one array, not six jobs"
    assert "--array=0-5" in scripts.pop()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["preempted", "out of time"])
def test_a_job_that_is_stopped_goes_back_to_the_queue_and_on_where_it_stopped(
    cluster, small, undisturbed, tmp_path, how
):
    # One cell: of two the first may have ended before the second has begun, and then they are never both under way.
    one = ["model.latent_dim=2" if word == "model.latent_dim=2,4" else word for word in small]
    cells = (*one, "--seeds", "0", "--trainer.max_epochs", "200", "--data.batch_size", "4")
    expected = undisturbed(*cells)
    runs = tmp_path / "slurm"
    sweep = start("sweep", *cells, *QUICK_POLLS, "--runs", runs, **cluster)
    try:
        wait_for(lambda: files_below(runs, "last.ckpt") or sweep.poll() is not None)
        assert sweep.poll() is None, sweep.communicate()
        jobs = scontrol(cluster, "squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()
        for job in jobs:
            if how == "preempted":
                scontrol(cluster, "scontrol", "requeue", job)
            else:  # what SLURM sends `signal_delay_s` before the end
                scontrol(cluster, "scancel", "--signal=USR2", job)
        wait_for(lambda: not files_below(runs, "*.claim"), seconds=30)
        assert [record["status"] for record in records(runs).values()] == ["interrupted"]
        assert len(files_below(runs, "last.ckpt")) == 1
        status, _, stderr = finish(sweep, seconds=300)
    finally:
        kill_group(sweep)
    assert status == 0, stderr
    assert figures(runs) == expected


def test_without_submitit_the_launcher_is_refused(refuse, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'bench[slurm]'" in refuse("sweep", *small, "--launcher", "slurm")


def test_without_slurm_the_launcher_is_refused(refuse, small, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "SLURM's 'sbatch'" in refuse("sweep", *small, "--launcher", "slurm")
