"""Runs on images that are cut into tiles, from the command line."""

import csv
import json
from pathlib import Path

import pytest

from bench.config.presets import preset_names, read_preset
from runs.test_processes import run_processes

TILES = ("--data.image_size", "64", "--data.crop", "null", "--data.tile", "32", "--data.tile_overlap", "8")
# What makes a preset quick, and fit for tiles of 32 pixels; the others need nothing.
SMALL = {
    "anomaly_dino": ("--model.backbone", "test_vit", "--model.level", "1"),
    "cutpaste_patch": ("--model.patch", "16", "--model.stride", "8"),
    "f_anogan": ("--model.pretrain_epochs", "1"),
    "deep_svdd": ("--model.pretrain_epochs", "1"),
    "efficient_ad_cpu": ("--data.image_size", "128", "--data.tile", "64"),  # its least
    "dinomaly_cpu": ("--model.backbone", "test_vit", "--model.levels", "[0,1]", "--model.depth", "2"),
}
PRESETS = (
    *("padim", "patchcore_r18", "spade_mobilenetv2", "knn_mobilenetv2", "gaussian_mobilenetv2", "ocsvm_mobilenetv2"),
    *("autoencoder", "vae", "deep_svdd", "f_anogan", "cutpaste", "cutpaste_patch", "fastflow_mobilenetv2", "trivial"),
    "anomaly_dino",
    *("stfpm_mobilenetv2", "reverse_distillation_mobilenetv2"),
    *("efficient_ad_cpu", "draem_cpu"),
    "dinomaly_cpu",
    "supersimplenet_mobilenetv2",
)


def fit(bench, *words) -> tuple[dict, Path]:
    outcome = bench("fit", *words, "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    return record, next(Path("runs").rglob(record["fingerprint"]))


def words_of(preset: str, data_root: Path) -> tuple[str, ...]:
    chosen = read_preset("model", preset)
    words = ("--model", preset, "--category", "screw", "--data.root", str(data_root), *TILES)
    words += ("--model.weights", "none") if "weights" in chosen.settings["model"] else ()
    words += ("--model.width", "8") if "width" in chosen.settings["model"] else ()
    words += (
        ("--trainer.max_epochs", "2", "--data.batch_size", "16", "--data.samples_per_epoch", "16")
        if chosen.settings.get("trainer")
        else ()
    )
    return (*words, *SMALL.get(preset, ()))


def check_new_images(bench, run: Path, folder: Path) -> None:
    """The scores of the test images, as `bench predict` finds them, are those of the run's test."""
    outcome = bench("predict", "--run", run, folder / "screw" / "test", "--stdout")
    assert outcome.status == 0, outcome.stderr
    tested = {
        str(folder / row["path"]): float(row["score"]) for row in csv.DictReader((run / "predictions.csv").open())
    }
    found = {row["path"]: row["score"] for row in map(json.loads, outcome.stdout.splitlines())}
    assert found == {path: pytest.approx(score, rel=1e-4, abs=1e-6) for path, score in tested.items()}


def test_a_run_is_tested_and_scores_new_images_alike(bench, quick_padim, data_root):
    record, run = fit(bench, *quick_padim, *TILES)
    assert record["metrics"]["pixel_auroc"] > 0.5
    check_new_images(bench, run, data_root)


def test_a_method_that_trains_is_trained_on_tiles(bench, quick, data_root):
    record, run = fit(bench, *quick, *TILES)
    assert record["status"] == "finished"
    check_new_images(bench, run, data_root)


def test_tiles_are_another_method_and_their_absence_is_none(bench, quick_padim):
    whole, _ = fit(bench, *quick_padim)
    stated, _ = fit(bench, *quick_padim, "--data.tile", "null", "--data.tile_overlap", "0")
    cut, _ = fit(bench, *quick_padim, *TILES)
    assert whole["fingerprint"] == stated["fingerprint"] != cut["fingerprint"]


def test_a_classifier_sees_whole_images(refuse, data_root):
    words = ("--category", "screw", "--data.root", data_root, "--model.weights", "none")
    line = refuse("fit", "--model", "resnet18", *words, "--data.tile", "32")
    assert "resnet18 sees a whole image at once: leave out --data.tile" in line


def test_a_tile_that_is_no_part_of_the_image_is_one_line(refuse, quick_padim):
    assert "tiles are smaller than the image" in refuse("fit", *quick_padim, "--data.tile", "32")


def test_every_class_of_the_track_is_cut():
    classes = {read_preset("model", name).class_path for name in PRESETS}
    presets = [read_preset("model", name) for name in preset_names("model")]
    assert classes == {preset.class_path for preset in presets if preset.track == "one-class"}


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_each_method_learns_from_tiles_and_scores_new_images_alike(preset, bench, data_root):
    record, run = fit(bench, *words_of(preset, data_root))
    assert record["status"] == "finished"
    check_new_images(bench, run, data_root)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["padim", "patchcore_r18"])
def test_two_processes_find_what_one_finds(preset, data_root, tmp_path):
    words = words_of(preset, data_root)
    alone = run_processes(1, words, tmp_path / "alone")
    together = run_processes(2, words, tmp_path / "together")
    assert together["cost"]["processes"] == 2
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-6), name
