"""`bench submit`: what MVTec's server takes of MVTec AD 2, written by finished runs and checked by its rules."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bench.data.datasets import mvtec_ad_2_facts as facts
from fake_data import write_mvtec_ad_2

COUNTS = {"can": 5, "rice": 3}
MODEL = ("--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu", "--data.image_size", "32")


@pytest.fixture(autouse=True)
def two_small_objects(monkeypatch):
    monkeypatch.setattr(facts, "PRIVATE_IMAGES", COUNTS)


@pytest.fixture(scope="module")
def made(bench, tmp_path_factory) -> tuple[Path, list[Path]]:
    """The dataset's folder, and a run of PaDiM for each object."""
    folder = tmp_path_factory.mktemp("submission")
    for name, count in COUNTS.items():
        write_mvtec_ad_2(folder / "data", name, private=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        for name in COUNTS:
            where = ("--data", "mvtec_ad_2", "--data.root", folder / "data", "--category", name)
            outcome = bench("fit", "--model", "padim", *MODEL, *where, "--runs", folder / "runs")
            assert outcome.status == 0, outcome.stderr
    return folder / "data", sorted(path.parent for path in (folder / "runs").rglob("record.json"))


def test_the_maps_and_verdicts_of_all_private_images_are_written_checked_and_packed(bench, made):
    outcome = bench("submit", *made[1], "--json")
    assert outcome.status == 0, outcome.stderr
    files = {path.relative_to("submission").as_posix() for path in Path("submission").rglob("*") if path.is_file()}
    assert len(files) == 4 * sum(COUNTS.values())
    assert "anomaly_images/can/test_private_mixed/004_mixed.tiff" in files
    assert "anomaly_images_thresholded/rice/test_private/002_regular.png" in files
    with tarfile.open("submission.tar.gz") as packed:
        assert set(packed.getnames()) == {f"submission/{name}" for name in files}
    checked = bench("submit", "--check", "submission")
    assert (checked.status, checked.stdout) == (0, "submission: as the server takes it, 32 files\n")
    found = json.loads(outcome.stdout)["objects"]["can"]
    values = tifffile.imread("submission/anomaly_images/can/test_private/000_regular.tiff")
    assert (values.shape, values.dtype) == ((48, 48), np.float16)
    assert found["images"] == 10
    assert 0 < found["marked"] < 0.5


def test_pixels_are_marked_above_mean_and_three_deviations_of_the_maps_of_validation(bench, made):
    outcome = bench("submit", *made[1], "--json")
    run = next(run for run in made[1] if "can" in run.parts)
    photos = made[0] / "can" / "validation"
    assert bench("predict", "--run", run, photos, "--maps", "--out", "maps").status == 0
    maps = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("maps").rglob("*.tiff"))]).astype(np.float64)
    assert len(maps) == 4
    threshold = maps.mean() + 3 * maps.std()
    assert json.loads(outcome.stdout)["objects"]["can"]["threshold"] == pytest.approx(threshold, rel=1e-9)
    assert bench("predict", "--run", run, made[0] / "can" / "test_private", "--maps", "--out", "private").status == 0
    for path in sorted(Path("private").rglob("*.tiff")):
        verdicts = np.asarray(Image.open(f"submission/anomaly_images_thresholded/can/test_private/{path.stem}.png"))
        assert np.array_equal(verdicts == 255, np.asarray(Image.open(path)) > threshold)


def test_the_written_maps_keep_the_order_of_all_pixels_of_an_object(bench, made):
    assert bench("submit", *made[1]).status == 0
    run = next(run for run in made[1] if "can" in run.parts)
    raw, written = [], []
    for private_set in facts.PRIVATE_SETS:
        out = Path(f"raw-{private_set}")
        assert bench("predict", "--run", run, made[0] / "can" / private_set, "--maps", "--out", out).status == 0
        for path in sorted(out.rglob("*.tiff")):
            raw.append(np.asarray(Image.open(path)).ravel())
            written.append(tifffile.imread(f"submission/anomaly_images/can/{private_set}/{path.stem}.tiff").ravel())
    order = np.argsort(np.concatenate(raw), kind="stable")
    assert (np.diff(np.concatenate(written)[order].astype(np.float64)) >= 0).all()
    assert len(np.unique(np.concatenate(written))) > 0.9 * min(len(order), 2**13)


def test_one_run_of_each_object_is_taken_and_no_other(bench, refuse, made, finished):
    can, rice = made[1]
    assert "no run of rice, and MVTec's server takes all 2 objects together" in refuse("submit", can)
    assert "are both of can; name one run for each object" in refuse(
        "submit", can, rice, can.parent / f"../can/{can.name}"
    )
    assert "is of mvtec_ad, screw; MVTec's server takes mvtec_ad_2" in refuse("submit", finished)
    assert "no run of can, rice" in refuse("submit")
    assert "leave out the runs and --out" in refuse("submit", can, "--check", "there")


def test_private_images_that_are_not_those_of_mvtec_are_named_before_any_is_scored(refuse, made):
    missing = made[0] / "rice" / "test_private_mixed" / "001_mixed.png"
    content = missing.read_bytes()
    missing.unlink()
    try:
        line = refuse("submit", *made[1])
    finally:
        missing.write_bytes(content)
    assert "test_private_mixed holds 2 images, and MVTec's server takes 3" in line
    assert "the first that differs is 001_mixed.png" in line
    assert not Path("submission").exists()


def test_nothing_is_overwritten(refuse, made):
    Path("submission.tar.gz").write_bytes(b"mine")
    assert "submission.tar.gz is there already" in refuse("submit", *made[1])
