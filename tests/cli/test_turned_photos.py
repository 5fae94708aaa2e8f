"""Photos that a camera stored lying on their side are seen upright by every command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from csv_rows import csv_rows
from fake_data import write_category

SIZE = ("--data.image_size", "32", "--trainer.accelerator", "cpu")
MODEL = ("--model", "padim", "--model.weights", "none", "--model.channels", "8")


@pytest.fixture
def roots(tmp_path) -> tuple[Path, Path]:
    """The same category twice: as it is seen, and with every second test image stored on its side."""
    plain, turned = (tmp_path / name for name in ("plain", "turned"))
    for root in (plain, turned):
        write_category(root)
    for path in sorted((turned / "screw" / "test").rglob("*.png"))[::2]:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(np.rot90(np.asarray(Image.open(path))).copy()).save(path, exif=exif)
    return plain, turned


def fit(bench, root: Path, runs: str) -> tuple[dict, Path]:
    place = ("--category", "screw", "--data.root", root, "--runs", runs)
    outcome = bench("fit", *MODEL, *SIZE, *place, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout), next(Path(runs).rglob("record.json")).parent


def test_a_run_on_turned_photos_has_the_figures_of_upright_ones(bench, roots):
    (upright, _), (turned, _) = (fit(bench, root, root.name) for root in roots)
    assert turned["metrics"] == upright["metrics"]
    assert turned["metrics_by_defect"] == upright["metrics_by_defect"]
    assert turned["data"]["digest"] != upright["data"]["digest"]  # earlier releases read them otherwise


def test_turned_photos_are_predicted_to_score_as_in_their_test(bench, roots):
    _, run = fit(bench, roots[1], "runs")
    outcome = bench("predict", "--run", run, "--stdout", roots[1] / "screw" / "test")
    assert outcome.status == 0, outcome.stderr
    found = {Path(row["path"]).parts[-2:]: row["score"] for row in map(json.loads, outcome.stdout.splitlines())}
    rows = csv_rows(run / "predictions.csv")
    assert len(found) == len(rows)
    for row in rows:
        assert found[Path(row["path"]).parts[-2:]] == pytest.approx(float(row["score"]), rel=1e-5)
