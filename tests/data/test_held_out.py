"""`data.held_out calibration`: the photos of that role set the threshold, and no method learns from them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.datasets.folder import Folder
from bench.data.importing.roles import SPLIT, read_roles
from bench.errors import UsageError
from fake_data import save, write_category
from fake_photos import write_photos


@pytest.fixture
def product(tmp_path, bench) -> Path:
    """An imported category of 12 good photos, 3 of which calibrate, and 4 bad ones."""
    outcome = bench("data", "import", write_photos(tmp_path / "photos"), "--name", "tablet", "--out", tmp_path / "own")
    assert outcome.status == 0, outcome.stderr
    return tmp_path / "own" / "tablet"


def data(product: Path, **settings) -> Folder:
    return Folder(product.name, 0, "model", root=str(product.parent), image_size=32, held_out="calibration", **settings)


def names(found: Folder, indices: list[int]) -> set[str]:
    return {found.category.train[index].relative.partition("/")[2] for index in indices}


def paths(product: Path, role: str) -> set[str]:
    return {photo.path for photo in read_roles(product) if photo.role == role}


def test_exactly_the_photos_that_calibrate_are_held_out_whatever_the_seed_and_share(product):
    for seed in (0, 1):
        found = Folder("tablet", seed, "model", root=str(product.parent), held_out="calibration", validation_share=0.5)
        assert names(found, found.validation_indices) == paths(product, "calibration")
        assert names(found, found.training_indices) == paths(product, "fit")


def test_shots_are_drawn_of_the_photos_to_learn_from_and_all_that_calibrate_stay(product):
    found = data(product, shots=3)
    assert len(found.training_indices) == 3
    assert names(found, found.training_indices) < paths(product, "fit")
    assert names(found, found.validation_indices) == paths(product, "calibration")


def test_another_split_of_the_same_photos_makes_another_digest(product):
    before = data(product).full_category.digest
    change(product, "fit", 1, "calibration")
    assert data(product).full_category.digest != before


def test_a_run_takes_its_threshold_from_them_and_its_record_names_them(product, bench, tmp_path):
    model = ("padim_mobilenetv2", "tablet", "--data", "folder", "--model.weights", "none", "--data.image_size", 32)
    outcome = bench(
        "fit", *model, "--data.root", product.parent, "--data.held_out", "calibration", "--runs", tmp_path / "runs",
        "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    held_out = sorted(f"tablet/{path}" for path in paths(product, "calibration"))
    assert record["data"]["held_out"] == held_out
    with next((tmp_path / "runs").rglob("normal_scores.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == held_out
    assert {row["obtained"] for row in rows} == {"held-out"}


def change(product: Path, role: str, column: int, value: str) -> None:
    """Write a value into the first row of this role in `split.csv`."""
    with (product / SPLIT).open() as file:
        rows = list(csv.reader(file))
    next(row for row in rows if row[1] == role)[column] = value
    with (product / SPLIT).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_photos_of_one_group_count_once_as_the_import_has_it_however_they_look(product, bench, tmp_path):
    groups = [photo.group for photo in read_roles(product) if photo.role == "calibration"]
    change(product, "calibration", 2, str(groups[1]))
    model = ("trivial", "tablet", "--data", "folder", "--data.image_size", 32, "--data.root", product.parent)
    outcome = bench("fit", *model, "--data.held_out", "calibration", "--runs", tmp_path / "runs")
    assert outcome.status == 0, outcome.stderr
    with next((tmp_path / "runs").rglob("normal_scores.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert len({row["group"] for row in rows}) == 2
    assert rows[0]["group"] == rows[1]["group"] == rows[0]["path"]


def test_photos_that_look_alike_and_were_imported_each_as_its_own_all_count(tmp_path, bench):
    photo = write_photos(tmp_path / "photos", {"good": 1}) / "good" / "000.png"
    pixels = np.asarray(Image.open(photo)).copy()
    for index in range(1, 12):  # one pixel tells them apart
        pixels[index, index] += 1
        save(pixels, photo.with_name(f"{index:03}.png"))
    options = ("--name", "tablet", "--out", tmp_path / "own", "--each-its-own")
    assert bench("data", "import", tmp_path / "photos", *options).status == 0
    model = ("trivial", "tablet", "--data", "folder", "--data.image_size", 32, "--data.root", tmp_path / "own")
    outcome = bench("fit", *model, "--data.held_out", "calibration", "--runs", tmp_path / "runs")
    assert outcome.status == 0, outcome.stderr
    with next((tmp_path / "runs").rglob("normal_scores.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["obtained"] for row in rows} == {"held-out"}
    assert len({row["group"] for row in rows}) == len(rows) == 3


def test_other_groups_of_the_same_photos_make_another_digest(product):
    before = data(product).full_category.digest
    change(product, "calibration", 2, "77")
    assert data(product).full_category.digest != before


def test_a_group_with_two_roles_is_refused(product):
    learned = next(photo.group for photo in read_roles(product) if photo.role == "fit")
    change(product, "calibration", 2, str(learned))
    with pytest.raises(UsageError, match=r"another photo of its group, which shows the same part, has not"):
        _ = data(product).full_category


def test_a_folder_that_was_not_imported_is_told_so(tmp_path):
    category = write_category(tmp_path / "data")
    with pytest.raises(UsageError, match=r"nobody knows which photos calibrate; import them"):
        _ = data(category).full_category


def test_photos_of_which_none_calibrates_are_told_so(tmp_path, bench):
    photos = write_photos(tmp_path / "photos")
    outcome = bench(
        "data", "import", photos, "--name", "tablet", "--out", tmp_path / "own", "--calibration-share", "0",
        "--test-share", "0",
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    with pytest.raises(UsageError, match=r"has the role calibration; import the photos with a --calibration-share"):
        _ = data(tmp_path / "own" / "tablet").full_category


def test_defective_images_among_them_are_refused(product):
    with pytest.raises(UsageError, match=r"leaves open which images are defective, those of --data\.held_out too"):
        data(product, contamination=0.2)
