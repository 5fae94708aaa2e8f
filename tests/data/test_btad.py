"""BTAD: products in folders called ok and ko, as BMP and PNG."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from bench.data.datasets.btad import BTAD
from bench.errors import UsageError
from fake_data import write_btad

PRODUCTS = {"01": (7, 2, 3), "02": (5, 1, 2)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_btad(tmp_path_factory.mktemp("btad"), PRODUCTS)


@pytest.fixture
def own_root(tmp_path) -> Path:
    return write_btad(tmp_path / "btad", PRODUCTS)


def _product(root: Path, name: str = "01", **settings) -> BTAD:
    return BTAD(name, 0, "model", root=str(root), image_size=32, **settings)


def test_ok_images_are_good_and_ko_images_are_the_defects(root):
    category = _product(root).full_category
    assert category.counts == {"train/good": 7, "test/good": 2, "test/ko": 3}
    assert category.test[-1].mask == root / "01/ground_truth/ko/0002.png"


def test_products_are_categories_whatever_their_files_are_called(root):
    assert _product(root).category_names() == ["01", "02"]
    assert _product(root, "02").full_category.train[0].path.suffix == ".png"


def test_a_product_that_is_not_there_is_told_with_the_archive(root, tmp_path):
    with pytest.raises(UsageError, match=r"no category folder .*03; unpack btad.zip"):
        _ = _product(root, "03").full_category
    with pytest.raises(UsageError, match="no product in"):
        _product(tmp_path).category_names()


def test_nobody_says_how_many_images_a_product_has(root):
    data = _product(root)
    assert data.differences == []
    assert not data.official


DAMAGES = {
    "no training images": (lambda folder: shutil.rmtree(folder / "train/ok"), "no training images in .*train/ok"),
    "a mask is missing": (
        lambda folder: (folder / "ground_truth/ko/0001.png").unlink(),
        "no mask for 1 of 3 images in .*test/ko, such as .*0001.bmp",
    ),
    "a mask of another size": (
        lambda folder: Image.new("L", (8, 8), 1).save(folder / "ground_truth/ko/0001.png"),
        "differ in size: 8 x 8 and 48 x 48",
    ),
    "two masks of an image": (
        lambda folder: shutil.copy(folder / "ground_truth/ko/0001.png", folder / "ground_truth/ko/0001.bmp"),
        "0001.bmp and 0001.png are masks of one image",
    ),
    "two images of one name": (
        lambda folder: shutil.copy(folder / "test/ko/0001.bmp", folder / "test/ko/0001.png"),
        "have one name; remove one of them",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_tree_ends_in_one_line_that_names_the_place(refuse, own_root, damage):
    change, words = DAMAGES[damage]
    change(own_root / "01")
    line = refuse("data", "describe", "--data", "btad", "--category", "01", "--data.root", own_root)
    assert re.search(words, line), line


def test_a_method_runs_on_it(bench, root, own_folder):
    model = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    outcome = bench("fit", *model, "--data", "btad", "--category", "01", "--data.root", root, "--image_size", "32")
    assert outcome.status == 0, outcome.stderr
    assert "MVTec" not in outcome.stdout + outcome.stderr
    record = json.loads(next(Path("runs").rglob("record.json")).read_text())
    assert (record["dataset"], record["category"]) == ("btad", "01")
    assert record["metrics"]["pixel_auroc"] is not None


def test_the_check_compares_the_dataset_as_a_whole_and_says_what_no_source_counts(bench, own_root):
    shutil.copytree(own_root / "02", own_root / "03")
    outcome = bench("data", "check", "--data", "btad", "--data.root", own_root)
    assert outcome.status == 1
    assert "01: read; no source counts its images\n" in outcome.stdout
    assert "all categories: train/good: 17 images in all categories, not 1799" in outcome.stdout
