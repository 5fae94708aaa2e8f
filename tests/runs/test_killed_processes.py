"""A process that dies takes no run away without a word: a record, one line that names it, and nobody left behind.

The method of these tests dies where it is told to, in the process that it is told; it lies beside its YAML file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep_processes import files_below, wait_for

METHOD = """
import os
import signal
import time

from bench.models.autoencoder import Autoencoder


def dies_in(phase):
    if os.environ.get("DIES_IN") != phase or os.environ.get("RANK") != os.environ["DIES"]:
        return
    if os.environ["DIES_BY"] == "error":
        raise ValueError("a fault of its own")
    if os.environ["DIES_BY"] == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


dies_in("start")


class Dying(Autoencoder):
    def training_step(self, batch, batch_index):
        dies_in("training")
        return super().training_step(batch, batch_index)

    def forward(self, image):
        if self.threshold.isfinite():
            dies_in("test")
        return super().forward(image)
"""
PROCESSES = ("process 1 of 2 (rank 0)", "process 2 of 2 (rank 1)")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(quick, tmp_path) -> Start:
    """Begins `bench fit` on two processes of this machine, in a group of its own."""
    folder = tmp_path / "method"
    folder.mkdir()
    (folder / "dying.py").write_text(METHOD)
    preset = (Path(__file__).parents[2] / "conf" / "model" / "autoencoder_l2.yaml").read_text()
    lines = [line for line in preset.splitlines() if not line.startswith("class_path")]
    (folder / "dying.yaml").write_text("\n".join(["class_path: dying.Dying", *lines]))
    options = (*quick, "--model", folder / "dying.yaml", "--data.validation_share", "0.25", "--trainer.devices", "2")

    def begin(*more: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", "fit", *map(str, (*options, *more))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"BENCH_TEST": str(tmp_path)} | environment,
            start_new_session=True,
        )

    return begin


def left(folder: Path) -> list[int]:
    """The processes of the test that still run."""
    mark = f"BENCH_TEST={folder}\0".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _content(path)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def outcome(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, dict]:
    """Status, stderr and record of a run that ends within a minute and leaves nobody behind."""
    stdout, stderr = process.communicate(timeout=120)
    assert stdout == ""
    wait_for(lambda: not left(folder), seconds=5)
    (record,) = files_below(folder, "record.json")
    return process.returncode, stderr, json.loads(record.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("phase", ["start", "training", "test"])
def test_a_process_that_is_killed_is_named_in_one_line_and_in_the_record(start, tmp_path, phase, rank):
    began = time.monotonic()
    process = start(DIES_IN=phase, DIES=str(rank), DIES_BY="signal")
    status, stderr, record = outcome(process, tmp_path)
    assert stderr == f"bench: {PROCESSES[rank]} was killed by SIGKILL\n"
    assert status == 1
    assert (record["status"], record["error"]) == ("failed", f"{PROCESSES[rank]} was killed by SIGKILL")
    assert record["metrics"] == {}
    assert time.monotonic() - began < 60


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_says_itself_why_and_only_once(start, tmp_path, rank):
    status, stderr, record = outcome(start(DIES_IN="training", DIES=str(rank), DIES_BY="error"), tmp_path)
    (traceback,) = files_below(tmp_path, "traceback.txt")
    assert stderr == f"bench: the run failed: a fault of its own; see {traceback.relative_to(tmp_path)}\n"
    assert status == 1
    assert (record["status"], record["error"]) == ("failed", "a fault of its own")
    assert "dies_in" in traceback.read_text()


@pytest.mark.slow
def test_a_process_that_leaves_without_a_word_is_named_with_its_status(start, tmp_path):
    status, stderr, record = outcome(start(DIES_IN="test", DIES="1", DIES_BY="exit"), tmp_path)
    assert stderr.startswith(f"bench: {PROCESSES[1]} ended with status 7")
    assert stderr.count("\n") == 1
    assert (status, record["status"]) == (1, "failed")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["supervisor", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_all_processes_of_a_run(start, tmp_path, number, to):
    process = start("--trainer.max_epochs", "5000")
    wait_for(lambda: files_below(tmp_path, "last.ckpt"))
    (os.kill if to == "supervisor" else os.killpg)(process.pid, number)
    status, stderr, record = outcome(process, tmp_path)
    assert (status, stderr) == (130, "bench: interrupted\n")
    assert record["status"] == "interrupted"
    assert record["error"]


@pytest.mark.slow
def test_a_run_that_was_interrupted_on_two_processes_goes_on_where_it_stopped(start, bench, tmp_path):
    process = start("--trainer.max_epochs", "60")
    wait_for(lambda: files_below(tmp_path, "last.ckpt"))
    process.send_signal(signal.SIGINT)
    outcome(process, tmp_path)
    (run,) = (path.parent for path in files_below(tmp_path, "last.ckpt"))
    again = bench("fit", "--resume", run, "--model", tmp_path / "method" / "dying.yaml", "--json")
    assert (again.status, again.stderr) == (0, "")
    assert json.loads(again.stdout)["status"] == "finished"
    assert json.loads(again.stdout)["cost"]["processes"] == 2


@pytest.mark.slow
def test_the_processes_of_a_supervisor_that_is_killed_end_as_well(start, tmp_path):
    process = start("--trainer.max_epochs", "5000")
    wait_for(lambda: files_below(tmp_path, "last.ckpt"))
    assert len(left(tmp_path)) >= 3
    process.kill()
    process.communicate()
    wait_for(lambda: not left(tmp_path), seconds=30)


@pytest.mark.slow
def test_a_cell_of_a_sweep_says_which_of_its_processes_was_killed(start, quick, tmp_path):
    start().communicate()  # writes the method's files, and shows that nothing dies by itself
    method = tmp_path / "method" / "dying.yaml"
    cells = [word for word in quick if word not in ("--model", "autoencoder_l2")]
    command = ["sweep", "--models", method, *cells, "--data.validation_share", "0.25", "--trainer.devices", "2"]
    sweep = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, command), "--runs", "swept", "--launcher.workers", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"BENCH_TEST": str(tmp_path), "DIES_IN": "training", "DIES": "1", "DIES_BY": "signal"},
        timeout=240,
        check=False,
    )
    assert sweep.returncode == 1, sweep.stderr
    (record,) = (json.loads(path.read_text()) for path in files_below(tmp_path / "swept", "record.json"))
    assert (record["status"], record["error"]) == ("failed", f"{PROCESSES[1]} was killed by SIGKILL")
    assert f"failed: {PROCESSES[1]} was killed by SIGKILL" in sweep.stdout + sweep.stderr
    assert "gloo" not in sweep.stdout + sweep.stderr


def test_a_mistake_of_a_run_on_two_processes_is_said_before_any_is_started(refuse, quick, monkeypatch):
    monkeypatch.setattr("bench.runs.supervisor.Child", None)
    options = (*quick, "--trainer.devices", "2", "--data.validation_share", "0")
    assert "--data.validation_share above 0" in refuse("fit", *options)


@pytest.mark.slow
def test_a_finished_run_is_tested_again_on_two_processes_to_the_same_figures(bench, quick_padim):
    alone = json.loads(bench("fit", *quick_padim, "--json").stdout)
    (run,) = (path.parent for path in Path("runs").rglob("record.json"))
    again = bench("test", "--run", run, "--trainer.devices", "2", "--json")
    assert (again.status, again.stderr) == (0, "")
    for name, value in json.loads(again.stdout)["metrics"].items():
        assert value == pytest.approx(alone["metrics"][name], abs=1e-6), name
