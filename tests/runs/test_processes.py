"""Two real processes, started by Lightning itself: the command line runs in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_data import write_category, write_loco
from offline_runs import read_offline_run


def run_processes(count: int, arguments: tuple[str, ...], runs: Path, **environment: str) -> dict:
    command = [sys.executable, "-m", "bench", "fit", *arguments, "--runs", str(runs), "--json"]
    command += ["--trainer.devices", str(count), "--trainer.accelerator", "cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_padim_gives_the_same_figures_on_three_processes_as_on_one(quick_padim, tmp_path):
    alone = run_processes(1, quick_padim, tmp_path / "alone")
    together = run_processes(3, quick_padim, tmp_path / "together", WANDB_MODE="offline")
    assert together["cost"]["processes"] == 3
    assert together["fingerprint"] == alone["fingerprint"]
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name
    # W&B keeps copies of its own.
    (run,) = (path.parent for path in (tmp_path / "together").rglob("record.json") if "wandb" not in path.parts)
    lines = (run / "predictions.csv").read_text().splitlines()[1:]
    images = sum(count for split, count in alone["data"]["counts"].items() if split.startswith("test/"))
    assert images % 2 == 1
    assert len({line.split(",")[0] for line in lines}) == len(lines) == images
    tracked = read_offline_run(tmp_path / "together")
    assert tracked.exit_code == 0
    assert {name: tracked.summary[name] for name in together["metrics"]} == together["metrics"]
    assert len(tracked.table("test_images")[1]) == images


@pytest.mark.slow
def test_a_bank_from_two_processes_gives_the_figures_of_one(data_root, tmp_path):
    # Of all methods in one process group: test_contract.py.
    method = ("--model", "patchcore_mobilenetv2", "--model.projection", "8", "--data.validation_share", "0")
    data = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32")
    arguments = (*method, "--model.weights", "none", *data)
    alone = run_processes(1, arguments, tmp_path / "alone")
    together = run_processes(2, arguments, tmp_path / "together")
    assert together["cost"]["processes"] == 2
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
def test_spro_of_two_processes_is_that_of_one(tmp_path):
    write_loco(tmp_path / "loco")
    method = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--data.image_size", "32")
    arguments = (*method, "--data", "mvtec_loco", "--category", "pushpins", "--data.root", str(tmp_path / "loco"))
    alone = run_processes(1, arguments, tmp_path / "alone")
    together = run_processes(2, arguments, tmp_path / "together")
    assert together["metrics"]["spro_0.05"] is not None
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
def test_an_autoencoder_trains_on_two_processes(quick, tmp_path):
    together = run_processes(2, (*quick, "--data.validation_share", "0.25"), tmp_path / "together")
    assert together["status"] == "finished"
    assert together["cost"]["processes"] == 2


@pytest.mark.slow
def test_pixels_that_only_the_second_process_has_masks_for_are_judged(quick_padim, tmp_path):
    """The first process tests every other image: all of them have a defect, of which nobody drew a mask."""
    part = write_category(tmp_path / "some masks", good=1, defects={"blob": 3, "scratch": 3})
    for name in ("blob/000", "blob/002", "scratch/000", "scratch/002"):
        (part / "ground_truth" / f"{name}_mask.png").unlink()
    words = (*quick_padim, "--data.root", str(part.parent), "--data.masks", "optional")
    alone = run_processes(1, words, tmp_path / "alone")
    together = run_processes(2, words, tmp_path / "together")
    assert together["cost"]["processes"] == 2
    assert together["data"]["without_masks"] == 4
    assert together["metrics"]["pixel_auroc"] is not None
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name
