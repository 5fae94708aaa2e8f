"""A run that is stopped says so, and goes on where it stopped to the figures of one that was not.

A signal belongs to a process: these tests start real ones, and the rest of each run is done in this one.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import torch

from bench import writing

EPOCHS = 60
# The VAE draws a code for each image of each step: what a resumed run draws must be what the undisturbed one drew.
LONG = ("--model", "vae", "--trainer.max_epochs", str(EPOCHS), "--data.batch_size", "4")


@pytest.fixture(scope="module")
def undisturbed(bench, quick, tmp_path_factory) -> dict[str, Any]:
    """The record of the run that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench("fit", *quick, *LONG, "--runs", folder / "runs", "--json")
    assert outcome.status == 0, outcome.stderr
    record: dict[str, Any] = json.loads(outcome.stdout)
    return record


def _start_and_stop(command: tuple[str, ...], number: signal.Signals) -> tuple[int, str, Path]:
    """Begin a run, send it a signal once an epoch is saved; its status, stderr and folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "fit", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (saved := list(Path("runs").rglob("last.ckpt"))):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.002)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stderr, saved[0].parent


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_says_so_and_is_resumed_to_the_same_figures(bench, quick, undisturbed, number):
    status, stderr, run = _start_and_stop((*quick, *LONG), number)
    record = json.loads((run / "record.json").read_text())
    assert status == 130
    assert stderr == "bench: interrupted\n"
    assert record["status"] == "interrupted"
    assert record["error"]
    assert record["metrics"] == {}
    _expect_resumed(bench, run, undisturbed)


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_figures(bench, quick, undisturbed):
    status, stderr, run = _start_and_stop((*quick, *LONG), signal.SIGKILL)
    assert (status, stderr) == (-signal.SIGKILL, "")
    assert not (run / "record.json").exists()
    _expect_resumed(bench, run, undisturbed)


def _expect_resumed(bench: Any, run: Path, undisturbed: dict[str, Any]) -> None:
    outcome = bench("fit", "--resume", run, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    record = json.loads(outcome.stdout)
    assert record["status"] == "finished"
    assert record["fingerprint"] == undisturbed["fingerprint"] == run.name
    assert record["metrics"] == undisturbed["metrics"]
    assert record["metrics_by_defect"] == undisturbed["metrics_by_defect"]
    assert record["data"] == undisturbed["data"]
    assert record["cost"]["epochs"] == EPOCHS
    assert not (run / "last.ckpt").exists()
    assert json.loads((run / "record.json").read_text()) == record


def test_a_finished_run_that_is_resumed_is_left_as_it_is(bench, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    outcome = bench("fit", "--resume", finished)
    assert outcome.status == 0
    assert "finished before" in outcome.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_folder_with_nothing_to_resume_is_named(refuse):
    assert "nothing to resume in nowhere" in refuse("fit", "--resume", "nowhere")


@pytest.fixture
def stopped(bench, quick, monkeypatch) -> Path:
    """A run of three epochs that ended after its second."""

    def interrupt(self: Any, trainer: Any, _: Any) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
        assert bench("fit", *quick, "--trainer.max_epochs", "3").status == 130
    (run,) = Path("runs").glob("*/*/*")
    return run


def test_a_stopped_run_is_begun_anew_where_resuming_is_not_asked_for(bench, quick, stopped):
    outcome = bench("fit", *quick, "--trainer.max_epochs", "3", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert json.loads(outcome.stdout)["status"] == "finished"


def test_a_run_is_not_resumed_with_other_settings(refuse, stopped):
    line = refuse("fit", "--resume", stopped, "--trainer.max_epochs", "4")
    assert str(stopped) in line


def test_a_run_is_not_resumed_with_other_data(refuse, stopped, own_category):
    (own_category / "train" / "good" / "003.png").unlink()
    line = refuse("fit", "--resume", stopped, "--data.root", own_category.parent)
    assert str(stopped) in line


def test_the_fit_of_a_resumed_run_took_what_it_took_before_as_well(bench, stopped):
    content = torch.load(stopped / "last.ckpt", weights_only=True)
    assert content["bench"]["fit_seconds"] > 0
    content["bench"]["fit_seconds"] += 1000
    torch.save(content, stopped / "last.ckpt")
    outcome = bench("fit", "--resume", stopped, "--json")
    assert json.loads(outcome.stdout)["cost"]["fit_seconds"] > content["bench"]["fit_seconds"]


def test_a_run_that_has_been_moved_is_resumed_where_it_lies_now(bench, stopped):
    moved = stopped.rename(stopped.name)
    outcome = bench("fit", "--resume", moved)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert json.loads((moved / "record.json").read_text())["status"] == "finished"
    assert not list(Path("runs").rglob("record.json"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\x00" * 100])
def test_a_damaged_checkpoint_is_not_resumed_from(refuse, stopped, content):
    (stopped / "last.ckpt").write_bytes(content)
    assert str(stopped / "last.ckpt") in refuse("fit", "--resume", stopped)


def test_the_checkpoint_of_another_run_is_not_resumed_from(bench, refuse, quick, stopped, monkeypatch):
    def interrupt(self: Any, trainer: Any, _: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
        assert bench("fit", *quick, "--trainer.max_epochs", "9", "--runs", "others").status == 130
    (checkpoint,) = Path("others").rglob("last.ckpt")
    checkpoint.replace(stopped / "last.ckpt")
    line = refuse("fit", "--resume", stopped)
    assert f"{stopped / 'last.ckpt'} is of another run" in line


def test_a_signal_while_a_checkpoint_is_written_interrupts_the_run(bench, quick, tmp_path, monkeypatch):
    def open_file(*arguments, **settings):
        file = NamedTemporaryFile(*arguments, **settings)  # noqa: SIM115 - the caller closes it
        write, written = file.write, []

        def write_until_the_signal(data):
            written.append(data)
            if len(written) == 3:
                raise KeyboardInterrupt
            return write(data)

        file.write = write_until_the_signal
        return file

    monkeypatch.setattr(writing, "NamedTemporaryFile", open_file)
    outcome = bench("fit", *quick)
    assert outcome.status == 130, outcome
    assert json.loads(next((tmp_path / "runs").rglob("record.json")).read_text())["status"] == "interrupted"
    assert not list((tmp_path / "runs").rglob("*.partial"))


def test_a_run_whose_folder_was_renamed_says_its_name(bench, refuse, finished, quick, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "my_best_run")
    line = refuse("fit", *quick, "--resume", folder)
    assert f"my_best_run was renamed, and a run's folder bears its fingerprint; name it {finished.name} again" in line


def test_a_finished_run_is_no_answer_to_a_setting_that_means_nothing(bench, refuse, quick):
    assert bench("fit", *quick).status == 0
    line = refuse("fit", *quick, "--trainer.accelerator", "abacus")
    assert "--trainer.accelerator abacus is unknown; use auto, cpu, gpu, cuda or mps" in line
